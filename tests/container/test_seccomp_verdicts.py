"""Profiles of config.json, and the verdicts of this host's kernel, observed from inside."""

import os
import signal

import pytest

from auberge.container.config import Seccomp, SeccompSyscall, SyscallArg
from auberge.container.seccomp import compile_filter, kernel_flags, make_program
from auberge.container.seccomp_default import default_profile
from auberge.refusal import Refusal
from tests.container.filtered import answers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls by their numbers"),
]
ALLOW, ERRNO, KILL = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"
AF_INET, AF_VSOCK, AF_ALG = 2, 40, 38
CLONE_NEWUSER, SIGCHLD = 0x1000_0000, 17
TIOCSTI, TIOCGWINSZ = 0x5412, 0x5413


def profile(*rules, default=ALLOW, **others):
    return compile_filter(Seccomp(default, syscalls=rules, **others))


def test_errno_of_a_rule():
    made = profile(
        SeccompSyscall(("getppid",), ERRNO), SeccompSyscall(("getuid",), ERRNO, 38),
    )  # fmt: skip
    assert answers(made, ("getppid",), ("getuid",), ("getpid",)) == ["EPERM", "ENOSYS", "ok"]


def test_conditions_on_arguments():
    def when(op, value, two=0):
        rule = SeccompSyscall(("personality",), ERRNO, 5, (SyscallArg(0, value, op, two),))
        made = profile(rule)
        return [
            answer == "EIO" for answer in answers(made, *(("personality", n) for n in (6, 7, 8)))
        ]

    assert when("SCMP_CMP_EQ", 7) == [False, True, False]
    assert when("SCMP_CMP_NE", 7) == [True, False, True]
    assert when("SCMP_CMP_LT", 7) == [True, False, False]
    assert when("SCMP_CMP_LE", 7) == [True, True, False]
    assert when("SCMP_CMP_GT", 7) == [False, False, True]
    assert when("SCMP_CMP_GE", 7) == [False, True, True]
    assert when("SCMP_CMP_MASKED_EQ", 1, 1) == [False, True, False]


def test_conditions_on_two_arguments_must_both_hold():
    both = (SyscallArg(0, 1, "SCMP_CMP_EQ"), SyscallArg(1, 2, "SCMP_CMP_EQ"))
    made = profile(SeccompSyscall(("getppid",), ERRNO, 5, both))
    found = answers(made, ("getppid", 1, 2), ("getppid", 1, 3), ("getppid", 0, 2))
    assert found == ["EIO", "ok", "ok"]


def test_of_two_conditions_on_the_same_argument_one_must_hold():
    either = (SyscallArg(0, 1, "SCMP_CMP_EQ"), SyscallArg(0, 2, "SCMP_CMP_EQ"))
    made = profile(SeccompSyscall(("getppid",), ERRNO, 5, either))
    assert answers(made, ("getppid", 1), ("getppid", 2), ("getppid", 3)) == ["EIO", "EIO", "ok"]


def test_a_kill_is_a_signal():
    made = profile(SeccompSyscall(("getppid",), KILL))
    assert answers(made, ("getpid",), ("getppid",)) == ["ok", f"signal {signal.SIGSYS}"]


def test_names_that_nobody_knows_are_passed_over():
    made = profile(SeccompSyscall(("getppid", "tomorrow"), ERRNO), SeccompSyscall(("x",), ALLOW))
    assert answers(made, ("getppid",)) == ["EPERM"]


def test_calls_that_came_after_the_profile_do_not_exist():
    """Where the profile says EPERM to all it does not name; if it names an errno, that counts."""
    names = ("write", "exit_group", "rt_sigaction", "munmap", "brk", "mmap", "read", "close")
    others = ("fstat", "ioctl", "lseek", "getpid", "rt_sigprocmask", "sigaltstack", "futex")
    allowed = SeccompSyscall((*names, *others, "clone3"), ALLOW)
    asked = ("getpid",), ("getppid",), ("beyond",)
    assert answers(profile(allowed, default=ERRNO), *asked) == ["ok", "EPERM", "ENOSYS"]
    made = profile(allowed, default=ERRNO, default_errno_ret=5)
    assert answers(made, *asked) == ["ok", "EIO", "EIO"]


def test_our_own_profile():
    made = compile_filter(default_profile("x86_64"))
    expected = {
        ("getppid",): "ok",
        ("sync",): "ok",
        ("clone", SIGCHLD | CLONE_NEWUSER): "ENOSYS",
        ("clone3", 0, 0): "ENOSYS",
        ("unshare", CLONE_NEWUSER): "EPERM",
        ("mount", 0, 0, 0, 0, 0): "EPERM",
        ("sethostname", 0, 0): "EPERM",
        ("keyctl", 0, 0): "EPERM",
        ("bpf", 0, 0, 0): "EPERM",
        ("io_uring_setup", 0, 0): "EPERM",
        ("open_by_handle_at", 0, 0, 0): "EPERM",
        ("socket", AF_INET, 1, 0): "ok",
        ("socket", AF_VSOCK, 1, 0): "ENOSYS",
        ("socket", AF_ALG, 5, 0): "ENOSYS",
        ("socket", 1 << 32 | AF_VSOCK, 1, 0): "ENOSYS",
        ("socket", 1 << 32 | AF_INET, 1, 0): "ok",
        ("ioctl", 99, TIOCSTI, 0): "ENOSYS",
        ("ioctl", 99, 1 << 32 | TIOCSTI, 0): "ENOSYS",
        ("ioctl", 99, TIOCGWINSZ, 0): "EBADF",
        ("personality", 0xFFFF_FFFF): "ok",
        ("personality", 0x004_0000): "ENOSYS",
        ("beyond",): "ENOSYS",
    }
    assert dict(zip(expected, answers(made, *expected), strict=True)) == expected


def test_a_whole_program_runs_under_our_own_profile():
    import subprocess
    import sys

    from tests.container.filtered import INSIDE

    made = compile_filter(default_profile("x86_64"))
    code = INSIDE + (
        "\nimport subprocess, threading, socket, os"
        "\nthread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()"
        "\nprint(subprocess.run(['sh', '-c', 'echo child | cat'], capture_output=True).stdout)"
        "\nsocket.create_server(('127.0.0.1', 0)).close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=f'["{made.program.hex()}", 0, []]',
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "thread\nb'child\\n'\n"), done.stderr


# -- refusals -------------------------------------------------------------------------------------

ONE = SyscallArg(6, 1, "SCMP_CMP_EQ")
REFUSED = [
    (
        Seccomp(ALLOW, default_errno_ret=1),
        "defaultErrnoRet: SCMP_ACT_ALLOW has no errno; leave it out",
    ),
    (
        Seccomp(ALLOW, syscalls=(SeccompSyscall(("sync",), KILL, 1),)),
        "syscalls[0].errnoRet: SCMP_ACT_KILL_PROCESS has no errno; leave it out",
    ),
    (
        Seccomp(ALLOW, architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_Z80")),
        "architectures[1]: libseccomp does not know 'SCMP_ARCH_Z80'; write a name such as "
        "'SCMP_ARCH_X86_64'",
    ),
    (
        Seccomp(ALLOW, syscalls=(SeccompSyscall(("sync",), ERRNO, None, (ONE,)),)),
        "syscalls[0].args[0].index: a system call has six arguments; write a number from 0 to 5",
    ),
    (
        Seccomp("SCMP_ACT_NOTIFY"),
        "defaultAction: SCMP_ACT_NOTIFY would ask about the calls that start the container; give "
        "it to some system calls only",
    ),
    (
        Seccomp(ALLOW, syscalls=(SeccompSyscall(("write",), "SCMP_ACT_NOTIFY"),)),
        "syscalls[0].names: SCMP_ACT_NOTIFY cannot be for 'write', which starts the container; "
        "leave it out",
    ),
    (
        Seccomp(ALLOW, syscalls=(SeccompSyscall(("sync",), "SCMP_ACT_NOTIFY"),)),
        "listenerPath: SCMP_ACT_NOTIFY needs a listener; give the path of its socket",
    ),
    (
        Seccomp(ALLOW, listener_metadata="x"),
        "listenerMetadata: there is no listener; give listenerPath",
    ),
]


@pytest.mark.parametrize("wanted, complaint", REFUSED)
def test_a_profile_that_cannot_be(wanted, complaint):
    with pytest.raises(Refusal) as refusal:
        compile_filter(wanted)
    assert str(refusal.value) == f"config.json: $.linux.seccomp: {complaint}".replace(
        "seccomp: ", "seccomp.", 1
    )


# -- kept -----------------------------------------------------------------------------------------


def test_a_filter_is_kept_by_its_profile(tmp_path):
    from auberge.container import seccomp

    cache = str(tmp_path / "cache")
    one = Seccomp(ALLOW, syscalls=(SeccompSyscall(("sync",), ERRNO, 77),))
    first = compile_filter(one, cache)
    (file,) = (tmp_path / "cache").iterdir()
    seccomp._kept.clear()
    assert compile_filter(one, cache) == first
    seccomp._kept.clear()
    file.write_bytes(file.read_bytes()[:-3])  # a write that was cut short
    assert compile_filter(one, cache) == first
    seccomp._kept.clear()
    another = file.read_bytes().replace(b"77", b"76")[:-8] + bytes(8)
    file.write_bytes(another)  # a profile with the same checksum
    assert compile_filter(one, cache) == first
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / "file").touch()
    one = Seccomp(ALLOW, syscalls=(SeccompSyscall(("sync",), ERRNO, 78),))
    assert compile_filter(one, str(tmp_path / "file" / "x")).program == make_program(one)


@pytest.mark.parametrize(
    "flags, asks, expected", [(0, False, 0), (0, True, 8), (1, True, 25), (39, False, 7)]
)
def test_flags_are_what_the_kernel_takes(flags, asks, expected):
    """seccomp(2): NEW_LISTENER with TSYNC needs TSYNC_ESRCH, WAIT_KILLABLE_RECV a listener."""
    assert kernel_flags(flags, asks) == expected


@pytest.mark.parametrize(
    "default, action, good",
    [
        (ALLOW, None, True), (ALLOW, "SCMP_ACT_LOG", True), ("SCMP_ACT_ERRNO", None, False),
        ("SCMP_ACT_ERRNO", ALLOW, True), (ALLOW, "SCMP_ACT_NOTIFY", False),
    ],
)  # fmt: skip
def test_a_listener_can_be_sent_or_the_profile_is_refused(default, action, good):
    rules = [SeccompSyscall(("sync",), "SCMP_ACT_NOTIFY")]
    if action is not None:
        rules.append(SeccompSyscall(("sendmsg",), action))
    profile = Seccomp(default, listener_path="/run/agent", syscalls=tuple(rules))
    if good:
        assert compile_filter(profile).listener == "/run/agent"
        return
    with pytest.raises(Refusal) as caught:
        compile_filter(profile)
    assert str(caught.value) == (
        "config.json: $.linux.seccomp: SCMP_ACT_NOTIFY needs sendmsg(2) for the listener to be "
        "sent; give 'sendmsg' the action SCMP_ACT_ALLOW"
    )


def test_flags_and_listener():
    rule = SeccompSyscall(("sync",), "SCMP_ACT_NOTIFY")
    made = compile_filter(
        Seccomp(
            ALLOW,
            flags=("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
            listener_path="/run/agent.sock",
            listener_metadata="hello",
            syscalls=(rule,),
        )
    )
    assert made[1:] == (6, "/run/agent.sock", "hello")
