"""A guest in a container is what its options say: observed from inside, on this host's kernel."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from auberge.monitor import guest as guests
from auberge.monitor.guest import NotStarted, Usage
from auberge.monitor.options import Options, check
from auberge.refusal import Refusal
from tests.box import box as box
from tests.box import filled as filled
from tests.container.bridge import need_libraries
from tests.until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


class Made:
    """Guests of a test: made, run, and removed with it."""

    def __init__(self, folder):
        self.folder = folder
        self.guests = []

    def __call__(self, *command, **more):
        id = os.urandom(32).hex()
        place = self.folder / id
        place.mkdir()
        more.setdefault("net", "none")
        options = check(Options(id, "box", command, **more))
        made = guests.make(guests.choose(options).options, str(place))
        self.guests.append((made, place))
        return made

    def said(self, script, streams=None, **more):
        """The status of a script, and what it wrote."""
        made = self("sh", "-c", script, **more)
        with open(self.folder / "said", "w+b") as file, open(os.devnull) as null:
            made.start((null.fileno(), file.fileno(), file.fileno()))
            status = made.wait()
            file.seek(0)
            return status, file.read().decode()


@pytest.fixture
def make(box, tmp_path):
    made = Made(tmp_path)
    yield made
    for each, place in made.guests:
        each.remove()
        each.remove()  # it can be said twice
        assert os.listdir(place) == []


def said(make, script, **more):
    status, text = make.said(script, **more)
    assert status == 0, text
    return text


def test_the_image_says_what_is_not_said(make):
    made = make()
    assert made.command == ("/bin/sh",) and made.isolation == "container"
    assert made.image.startswith("box:") and made.stop_signal == "SIGUSR1"
    text = said(make, "pwd; echo $MADE $HOME; id -u")
    assert text == "/home\nby a test /root\n0\n"


def test_environment_folder_and_user(make):
    script = "env | sort; pwd; id; touch mine; ls -ln mine"
    text = said(
        make, script, env=("A=b c", "MADE=now"), cwd="/tmp/new/folder", user="0:2000",
        hostname="inn",
    ).splitlines()  # fmt: skip
    assert {"A=b c", "MADE=now", "HOSTNAME=inn", "HOME=/root"} < set(text)
    assert "/tmp/new/folder" in text and text[-1].split()[2:4] == ["0", "2000"]
    assert said(make, "id", user="guest").startswith("uid=1000(guest) gid=1000(guest)")
    assert "groups=1000(guest),2000(players)" in said(make, "id", user="guest")
    with pytest.raises(Refusal, match="no user 'nobody2' in the image's /etc/passwd"):
        make("true", user="nobody2").start((0, 1, 2))


def test_its_namespaces_are_its_own(make):
    text = said(
        make, "for n in pid ipc uts mnt cgroup net user; do readlink /proc/self/ns/$n; done"
    )
    inside = text.split()
    ours = [os.readlink(f"/proc/self/ns/{n}") for n in
            ("pid", "ipc", "uts", "mnt", "cgroup", "net", "user")]  # fmt: skip
    assert [a == b for a, b in zip(inside, ours, strict=True)] == [False] * 6 + [True]
    host = said(make, "readlink /proc/self/ns/net; hostname", net="host").split()
    assert host[0] == ours[5] and host[1] == make.guests[-1][1].name[:12]


def test_it_may_do_what_containers_of_docker_may(make):
    status = dict(
        line.split(":\t", 1) for line in said(make, "cat /proc/self/status").splitlines()
        if ":\t" in line
    )  # fmt: skip
    # chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw
    # sys_chroot audit_write setfcap; but not mknod
    numbers = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31)
    mask = f"{sum(1 << n for n in numbers):016x}"
    assert [status[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [
        "0" * 16, mask, mask, mask, "0" * 16
    ]  # fmt: skip
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "0"
    none = said(make, "grep CapBnd /proc/self/status", cap_drop=("ALL",), cap_add=("CHOWN",))
    assert none.split() == ["CapBnd:", f"{1:016x}"]
    status, text = make.said("mount -t tmpfs x /mnt", cap_add=("ALL",))
    assert status == 1 and "permission denied" in text  # the filter says so
    assert make.said("mknod /dev/mine b 8 0")[0] == 1
    status, text = make.said("mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk", cap_add=("MKNOD",))
    assert status == 1 and "Operation not permitted" in text  # devices are limited then


def test_what_it_must_not_see_is_hidden(make):
    assert said(make, "cat /proc/keys /proc/timer_list 2>/dev/null | wc -c") == "0\n"
    assert said(make, "ls -A /sys/firmware") == ""
    for path in ("/proc/sys/kernel/hostname", "/proc/irq/default_smp_affinity", "/sys/x"):
        status, text = make.said(f"echo x > {path}")
        assert status == 1 and "Read-only file system" in text


def test_files_of_its_own(make):
    text = said(make, "cat /etc/hostname /etc/hosts; echo more >> /etc/hosts", hostname="inn")
    assert text.startswith("inn\n127.0.0.1\tlocalhost\n") and text.endswith("127.0.0.1\tinn\n")
    mine = make.folder / "hosts"
    mine.write_text("10.0.0.1 elsewhere\n")
    assert said(make, "cat /etc/hosts", volumes=(f"{mine}:/etc/hosts:ro",)) == mine.read_text()
    with open("/etc/resolv.conf") as file:
        assert said(make, "cat /etc/resolv.conf", net="host") == file.read()


def test_volumes(make):
    shared = make.folder / "shared"
    (shared / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", shared / "below"], check=True)
    try:
        script = "echo in > /deep/er/file; touch /deep/er/below/x; ls -A /deep/er/below"
        assert said(make, script, volumes=(f"{shared}:/deep/er",)) == "x\n"
        assert (shared / "file").read_text() == "in\n"
        script = "cat /v/file; for f in /v/y /v/below/y; do touch $f || echo no; done 2>/dev/null"
        assert said(make, script, volumes=(f"{shared}:/v:ro",)) == "in\nno\nno\n"
        os.mknod(shared / "null", 0o666 | 0o020000, os.makedev(1, 3))
        status, text = make.said("cat /v/null", volumes=(f"{shared}:/v",))
        assert status == 1 and "Permission denied" in text
    finally:
        subprocess.run(["umount", shared / "below"], check=True)
    with pytest.raises(Refusal) as refusal:
        make("true", volumes=("/no/such:/x",)).start((0, 1, 2))
    assert str(refusal.value) == "-v: /no/such: no such file or directory; make it first"


def test_read_only_is_all_of_its_root(make):
    script = "touch /x || echo no; touch /etc/new || echo no; echo yes > /dev/shm/x; cat /dev/shm/x"
    assert said(make, f"{{ {script}; }} 2>/dev/null", read_only=True) == "no\nno\nyes\n"


def test_limits_bite(make):
    status, _ = make.said("dd if=/dev/zero bs=64M count=1 | tail -c 1", memory=16 << 20)
    made = make.guests[-1][0]
    assert made.oom_killed
    assert make.said("true", memory=16 << 20)[0] == 0 and not make.guests[-1][0].oom_killed
    status, text = make.said("for n in 1 2 3 4 5 6; do sleep 1 & done; wait", pids=4)
    assert "Resource temporarily unavailable" in text or "can't fork" in text
    with open("/proc/stat") as file:
        processors = sum(line.startswith("cpu") for line in file) - 1
    if processors:
        made = make("sh", "-c", "while :; do :; done", millicpus=100)
        made.start((0, 1, 2))
        until(lambda: throttled(made))


def throttled(made):
    return made._running().stats().cpu.throttled_periods


@pytest.mark.parametrize(
    ("command", "more", "status", "text"),
    [
        (("none",), {}, 127, "box:amd64: none: no such file or directory; "
         "give a program that is in the image"),
        (("/bin/none",), {}, 127, "box:amd64: /bin/none: no such file or directory; "
         "give a program that is in the image"),
        (("",), {}, 127, "box:amd64: : no such file or directory; "
         "give a program that is in the image"),
        (("/etc/passwd",), {}, 126, "box:amd64: /etc/passwd: permission denied; "
         "give a program that is in the image"),
        (("/home",), {}, 126, "box:amd64: /home: permission denied; "
         "give a program that this host can execute"),
        (("true",), {"cwd": "/etc/passwd"}, 126, "box:amd64: /etc/passwd: not a directory; "
         "give another folder with -w"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_has_dockers_status(make, command, more, status, text):
    made = make(*command, **more)
    with pytest.raises(NotStarted) as refusal:
        made.start((0, 1, 2))
    arch = made.image.partition(":")[2]
    assert refusal.value.status == status
    assert str(refusal.value) == text.replace("amd64", arch)
    with pytest.raises(Refusal, match="does not run"):
        made.signal(9)


def test_its_status(make):
    assert [make.said(f"exit {n}")[0] for n in (0, 3, 255)] == [0, 3, 255]
    assert make.said("kill -TERM $$; sleep 9 & kill -KILL $!; wait $!")[0] == 137
    made = make("sleep", "100")
    made.start((0, 1, 2))
    assert made.wait(0.01) is None
    made.signal(signal.SIGKILL)
    assert made.wait() == made.wait(0) == 137


def test_one_more_program(make):
    made = make("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done", env=("A=a", "B=b"))
    with pytest.raises(Refusal, match="does not exist|does not run|not running"):
        made.execute(("true",), (0, 1, 2))
    made.start((0, 1, 2))

    def run(*command, **more):
        with open(make.folder / "said", "w+b") as file, open(os.devnull) as null:
            more = made.execute(command, (null.fileno(), file.fileno(), file.fileno()), **more)
            status = more.wait()
            file.seek(0)
            return status, file.read().decode()

    script = "echo $A $B $C; pwd; id; grep -E 'Seccomp:|CapBnd' /proc/self/status; exit 4"
    status, text = run("sh", "-c", script, env=("B=2", "C=3"), cwd="/etc", user="guest")
    lines = text.splitlines()
    assert status == 4 and lines[:2] == ["a 2 3", "/etc"]
    assert lines[2] == "uid=1000(guest) gid=1000(guest) groups=1000(guest),2000(players)"
    assert lines[3:] == ["CapBnd:\t00000000a00425fb", "Seccomp:\t2"]
    for command, expected in ((("none",), 127), (("/etc/passwd",), 126)):
        with pytest.raises(NotStarted) as refusal:
            run(*command)
        assert refusal.value.status == expected
    more = made.execute(("sleep", "100"), (0, 1, 2))
    assert more.wait(0.01) is None
    names = [task.command for task in made.processes()]
    assert "sleep 100" in names and any("trap" in name for name in names)
    assert {task.user for task in made.processes()} == {"root"}
    more.signal(signal.SIGTERM)
    assert more.wait() == 143
    made.signal(signal.SIGTERM)
    assert made.wait() == 7


def test_paused_it_does_nothing(make):
    counts = make.folder / "counts"
    counts.mkdir()
    script = "n=0; while :; do n=$((n+1)); echo $n > /c/n; sleep 0.01; done"
    made = make("sh", "-c", script, volumes=(f"{counts}:/c",))
    made.start((0, 1, 2))
    until(lambda: (counts / "n").exists())
    made.pause()
    assert made.paused
    before = (counts / "n").read_bytes()
    time.sleep(0.2)
    assert (counts / "n").read_bytes() == before
    made.resume()
    assert not made.paused
    until(lambda: (counts / "n").read_bytes() not in (b"", before))
    made.signal(signal.SIGSTOP, everyone=True)
    made.signal(signal.SIGKILL, everyone=True)
    assert made.wait() == 137


def test_what_it_uses(make):
    made = make("sh", "-c", "sleep 100 & while :; do :; done", memory=32 << 20, pids=9)
    made.start((0, 1, 2))
    first = made.stats()
    assert isinstance(first, Usage)
    until(lambda: made.stats().cpu_seconds > 0.01)
    now = made.stats()
    assert now.memory_limit == 32 << 20 and 0 < now.memory < 32 << 20
    assert (now.pids, now.pids_limit) == (2, 9)
    assert (now.received, now.sent) == (0, 0)


def test_another_process_can_do_all_but_wait(make, box):
    made = make("sleep", "100")
    made.start((0, 1, 2))
    place = make.guests[-1][1]
    code = (
        "import json, sys\n"
        "from auberge.monitor.guest import make\n"
        "from auberge.monitor.options import read_options\n"
        "made = make(read_options(json.loads(sys.argv[1])), sys.argv[2])\n"
        "more = made.execute(['sh', '-c', 'grep Seccomp: /proc/self/status; echo $$'], (0, 1, 2))\n"
        "assert more.wait() == 0\n"
        "print(made.pid, made.image, len(made.processes()), made.stats().pids, made.paused)\n"
        "made.pause(); print(made.paused); made.resume()\n"
        "made.remove()\n"
    )
    from auberge.monitor.options import written

    options = written(made._options._replace(isolation="container"))
    # which image it is was noted: its name may mean another by now
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(options), str(place)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Seccomp:\t2" and int(lines[1]) > 1
    assert lines[2:] == [f"{made.pid} {made.image} 1 1 False", "True"]
    assert made.wait() == 137 and os.listdir(place) == []


def test_changes_become_an_image(make):
    made = make("sh", "-c", "echo new > /home/new; rm /etc/group; sleep 100")
    made.start((0, 1, 2))
    until(lambda: made.execute(("test", "-e", "/etc/group"), (0, 1, 2)).wait() == 1)
    reference = made.commit("changed", "a test")
    assert reference == f"changed:{made.image.partition(':')[2]}" and not made.paused
    from auberge.image.oci import content, removal

    record = content.find(*reference.split(":"))
    assert len(record.layers) == 2
    removal.remove(record)


def test_a_network_with_a_forwarded_port(make):
    need_libraries()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = "cat /etc/hosts; echo hello | nc -l -p 80"
    made = make("sh", "-c", script, net="user", ports=(f"{port}:80",), hostname="inn")
    assert made.ports == (f"{port}:80",)
    with open(make.folder / "said", "w+b") as file:
        made.start((0, file.fileno(), file.fileno()))
        assert made.ports == (f"127.0.0.1:{port}:80",)
        heard = b""
        deadline = time.monotonic() + 60
        while heard != b"hello\n" and time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    heard = client.recv(100)
            except OSError:
                time.sleep(0.05)
        assert heard == b"hello\n"
        made.wait()
        file.seek(0)
        assert file.read().decode().splitlines()[-1].endswith("\tinn")
