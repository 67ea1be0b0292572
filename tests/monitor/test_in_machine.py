"""A container's image in a machine: one guest per question, and many for one that runs on."""

import os
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from auberge.image import store
from auberge.monitor import guest as guests
from auberge.monitor.guest import NotStarted
from auberge.monitor.machine_root import disk_of, find
from auberge.monitor.options import Options, check
from auberge.refusal import Refusal
from tests.box_in_a_machine import boxes as boxes
from tests.busybox import DIRECTORIES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


class Made:
    """Guests of a test."""

    def __init__(self, folder):
        self.folder, self.guests = folder, []

    def __call__(self, *command, **more):
        more.setdefault("net", "none")
        more.setdefault("isolation", "machine")
        options = check(Options(os.urandom(32).hex(), "box", command, **more))
        made = guests.make(guests.choose(options).options, str(self.folder))
        self.guests.append(made)
        return made

    def said(self, script, data=b"", **more):
        """The status of a script, and what it wrote to its two outputs."""
        made = self("sh", "-c", script, **more)
        return run(lambda streams: made.start(streams) or made, data)


def run(start, data=b"", timeout=100):
    """What a program does with `data`: its status and what it wrote."""
    with Pipes() as pipes:
        running = start(pipes.theirs)
        pipes.hand_over()
        os.write(pipes.keys, data)
        os.close(pipes.keys)
        status = running.wait(timeout)
        return status, *pipes.read()


class Pipes:
    """Three streams; their ends and ours."""

    def __enter__(self):
        (first, self.keys), (self.out, second), (self.err, third) = (os.pipe() for _ in range(3))
        self.theirs = (first, second, third)
        return self

    def hand_over(self):
        for end in self.theirs:
            os.close(end)

    def read(self):
        texts = []
        for end in (self.out, self.err):
            with open(end, "rb") as file:
                texts.append(file.read().decode())
        return texts

    def __exit__(self, *error):
        pass


@pytest.fixture
def make(boxes, tmp_path):
    made = Made(tmp_path)
    yield made
    for each in made.guests:
        each.remove()
        each.remove()
    assert os.listdir(tmp_path) == [] or set(os.listdir(tmp_path)) == {"shared"}


@pytest.fixture(scope="module")
def running(boxes, tmp_path_factory):
    """A guest that runs on, for questions."""
    shared = tmp_path_factory.mktemp("shared")
    (shared / "of host").write_text("hello from the host\n")
    options = check(
        Options(
            os.urandom(32).hex(), "box", ("sleep", "100000"), isolation="machine", pids=60,
            hostname="inn", env=("A=one two",), memory=192 << 20, millicpus=1500,
            volumes=(f"{shared}:/var/linked/shared", f"{shared}:/kept:ro"),
        )
    )  # fmt: skip
    made = guests.make(options, str(shared))
    with open(os.devnull, "r+b") as null:
        made.start((null.fileno(),) * 3)
    made.shared = shared
    yield made
    made.remove()


def asked(running, *command, data=b"", **more):
    return run(lambda streams: running.execute(command, streams, **more), data)


def test_a_command_its_streams_and_its_status(make):
    status, out, err = make.said("cat; echo $MADE; pwd; echo oops >&2; exit 41", b"typed\n")
    assert (status, out, err) == (41, "typed\nby a test\n/home\n", "oops\n")


def test_it_is_another_kernel_and_the_images_own_files(make):
    status, out, _ = make.said("uname -ms; hostname; stat -c '%u %a' 'of guest'; ls /; echo $$")
    assert status == 0
    name = make.guests[0]._options.id[:12]
    assert out.split("\n")[:3] == ["Linux riscv64", name, "1000 600"]
    assert {*DIRECTORIES} - {"var/log"} <= {*out.split()} and out.endswith("\n1\n")


def test_a_guest_that_divides_its_cgroup_can_still_be_asked(make):
    """As systemd does: a cgroup with controllers below it takes no more processes (cgroups(7))."""
    script = """
        mkdir /g && mount -t cgroup2 none /g && cd /g/guest && cat /proc/self/cgroup
        mkdir inner && for p in $(cat cgroup.procs); do echo $p > inner/cgroup.procs; done
        echo +pids > cgroup.subtree_control && echo divided
        sleep 1000
    """
    made = make("sh", "-c", script, cap_add=("ALL",))
    with Pipes() as pipes:
        made.start(pipes.theirs)
        pipes.hand_over()
        with open(pipes.out, "rb") as out:
            assert [out.readline(), out.readline()] == [b"0::/guest\n", b"divided\n"]
            asked_of = run(lambda streams: made.execute(["cat", "/proc/self/cgroup"], streams))
            assert asked_of == (0, "0::/\n", "")


def test_a_root_file_system_that_is_only_read(make):
    status, _, err = make.said("touch /home/x", read_only=True)
    assert status == 1 and "Read-only file system" in err


def test_a_program_that_is_not_there(make):
    with open(os.devnull, "r+b") as null:
        with pytest.raises(NotStarted) as refused:
            make("nothing").start((null.fileno(),) * 3)
        assert refused.value.status == 127
        with pytest.raises(NotStarted) as refused:
            make("/home/data").start((null.fileno(),) * 3)
    assert refused.value.status == 126
    assert str(refused.value) == "/home/data: cannot be executed: permission denied"


def test_a_terminal_of_its_own(make):
    made = make("sh", "-c", "tty; read x; stty size; echo got $x", terminal=True)
    screen = made.start(())
    with open(screen, "r+b", buffering=0) as ours:
        seen = read_until(ours, b"/dev/pts/0\r\n")
        made.resize(50, 132)
        ours.write(b"keys\n")
        seen += read_until(ours, b"got keys\r\n")
        assert b"50 132\r\n" in seen and b"keys\r\n" in seen  # echoed
    assert made.wait(60) == 0


def read_until(file, text):
    seen = b""
    while text not in seen:
        assert select.select([file], [], [], 60)[0], seen
        piece = file.read(1000)
        assert piece, seen
        seen += piece
    return seen


def test_a_server_in_it_is_reached(make):
    made = make("nc", "-l", "-p", "80", "-e", "echo", "served", net="user", ports=("0:80",))
    with open(os.devnull, "r+b") as null:
        made.start((null.fileno(),) * 3)
    [port] = made.ports
    number = int(port.split(":")[-2])
    deadline = time.monotonic() + 60
    said = b""
    while not said and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", number), 10) as client:
                said = client.recv(100)
        except OSError:
            pass
    assert said == b"served\n"
    assert made.wait(60) == 0


def test_killed_from_outside(make):
    made = make("sleep", "1000")
    with open(os.devnull, "r+b") as null:
        made.start((null.fileno(),) * 3)
    assert made.wait(0) is None and made.pid == os.getpid()
    made.signal(9)
    assert made.wait(30) == 137 and made.wait() == 137
    with pytest.raises(Refusal, match="does not run"):
        made.execute(["true"], ())


def test_a_signal_that_it_handles(make):
    made = make("sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; while :; do :; done")
    with Pipes() as pipes:
        made.start(pipes.theirs)
        pipes.hand_over()
        assert os.read(pipes.out, 100) == b"ready\n"
        made.signal(15)
        assert made.wait(60) == 3
        assert pipes.read()[0] == "caught\n"


def test_a_signal_to_everybody(make):
    child = "trap 'echo child; exit' TERM; echo ready; while :; do :; done"
    made = make("sh", "-c", f"trap : TERM; ({child}) & wait; wait; echo parent")
    with Pipes() as pipes:
        made.start(pipes.theirs)
        pipes.hand_over()
        assert os.read(pipes.out, 100) == b"ready\n"
        made.signal(15, everyone=True)
        assert made.wait(60) == 0
        assert pipes.read()[0] == "child\nparent\n"


def test_a_machine_that_ends_by_itself(make):
    made = make("sh", "-c", "mount -t proc proc /mnt; echo b > /mnt/sysrq-trigger; sleep 1000",
                cap_add=("CAP_SYS_ADMIN",))  # fmt: skip
    with open(os.devnull, "r+b") as null:
        made.start((null.fileno(),) * 3)
    assert made.wait(60) == 137


def test_more_programs(running):
    assert asked(running, "cat", data=b"more") == (0, "more", "")
    assert asked(running, "sh", "-c", "kill -15 $$")[0] == 143
    assert asked(running, "sh", "-c", "echo $A $B; pwd", env=["B=2"], cwd="/tmp") == (
        0, "one two 2\n/tmp\n", "",
    )  # fmt: skip
    assert asked(running, "id", user="guest")[1] == (
        "uid=1000(guest) gid=1000(guest) groups=2000(players)\n"
    )
    assert asked(running, "hostname")[1] == "inn\n"
    with pytest.raises(NotStarted) as refused:
        asked(running, "missing")
    assert refused.value.status == 127


def test_many_programs_at_once(running):
    answers = []

    def ask(number):
        answers.append(asked(running, "sh", "-c", f"sleep 0.2; cat; exit {number}", data=b"x"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(number, "x", "") for number in range(6)]


def test_too_many_programs_at_once(running):
    with open(os.devnull, "r+b") as null:
        streams = (null.fileno(),) * 3
        commands = [running.execute(["sleep", "1000"], streams) for _ in range(9)]
        with pytest.raises(Refusal, match="too many programs run in this machine"):
            running.execute(["true"], streams)
    for command in commands:
        command.signal(9)
    assert [command.wait(60) for command in commands] == [137] * 9
    assert asked(running, "true")[0] == 0


def test_folders_of_the_host(running):
    shared = Path(running.shared)
    script = "cat '/run/shared/of host'; echo back > /run/shared/new; echo no > /kept/new"
    status, out, err = asked(running, "sh", "-c", script)
    assert (status, out) == (1, "hello from the host\n") and "Read-only" in err
    assert (shared / "new").read_text() == "back\n"


def test_limits_and_what_it_may(running):
    _, out, _ = asked(running, "sh", "-c", "nproc; free -k; grep CapBnd /proc/self/status")
    lines = out.split("\n")
    assert lines[0] == "2"
    assert 100 << 10 < int(lines[2].split()[1]) < 192 << 10
    assert lines[-2].split()[1] == "00000000a00425fb"


def test_processes_are_limited_and_go_with_the_first(make):
    script = "for i in $(seq 30); do sleep 1000 & done; echo all"
    status, out, err = make.said(script, pids=20)
    assert (status, out) == (2, "") and "can't fork" in err


def test_what_it_says_of_itself(running):
    first = running.processes()[0]
    assert (first.pid, first.parent, first.user, first.command) == (1, 0, "0", "sleep 100000")
    use = running.stats()
    assert use.memory_limit == 192 << 20 and use.pids_limit == 60
    assert use.pids >= 1 and use.memory > 0 and use.cpu_seconds > 0 and use.received is not None


def test_a_pause(running):
    running.pause()
    running.pause()
    assert running.paused
    with pytest.raises(Refusal, match="it is paused; resume it first"):
        running.execute(["true"], ())
    running.resume()
    assert not running.paused
    assert asked(running, "echo", "on")[1] == "on\n"


def test_much_output_and_nobody_who_reads(running):
    status, out, _ = asked_whole(running, "yes | head -c 3000000")
    assert (status, len(out)) == (0, 3_000_000)
    with Pipes() as pipes:
        command = running.execute(["yes"], pipes.theirs)
        pipes.hand_over()
        os.read(pipes.out, 10)
        os.close(pipes.out)
        assert command.wait(60) == 141  # SIGPIPE


def asked_whole(running, script):
    with Pipes() as pipes:
        command = running.execute(["sh", "-c", script], pipes.theirs)
        pipes.hand_over()
        out, err = pipes.read()
        return command.wait(60), out, err


def test_the_disk_of_an_image_is_made_once(boxes):
    options = check(Options("a" * 64, "box", isolation="machine"))
    root = find(options)
    assert root.reference == "box:riscv64" and root.defaults.args == ("/bin/sh",)
    before = os.stat(root.disk)
    assert before.st_blocks * 512 < 64 << 20
    from auberge.image.oci.names import existing

    assert disk_of(existing("box:riscv64")) == root.disk
    assert os.stat(root.disk).st_ino == before.st_ino
    assert sorted(os.listdir(boxes / "disks")) == [os.path.basename(root.disk)]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"net": "host"}, "--net: a machine has no part in the host's network; use --net user"),
        ({"memory": 8 << 20}, "--memory: a machine takes 96M at least; give it more"),
    ],
)
def test_what_a_machine_cannot_have(make, more, complaint):
    with pytest.raises(Refusal) as refused, open(os.devnull, "r+b") as null:
        make("true", **more).start((null.fileno(),) * 3)
    assert str(refused.value) == complaint


def test_images_for_others_are_refused(boxes, tmp_path):
    options = Options("a" * 64, "box:arm64")
    chosen = guests.choose(check(options))
    ours = store.parse_reference("box", "x")[0]
    assert chosen.options.isolation == "machine" and ours == "box"
    assert "box:arm64: another architecture than this host's" in chosen.why
    with pytest.raises(Refusal) as refused:
        guests.make(chosen.options, str(tmp_path)).start(())
    assert str(refused.value) == (
        "box:arm64: machines execute riscv64 alone, and this is for others; "
        "name box:riscv64, if there is one"
    )
