"""`auberge run` and `commit`, as users call them: streams, statuses, names, what is left."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.box import auberge
from tests.box import box as box
from tests.box import filled as filled
from tests.command import AUBERGE
from tests.signals import send
from tests.until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), pytest.mark.usefixtures("box")]


def guests():
    """What `auberge ps --all --json` says, by name."""
    return {each["name"]: each for each in json.loads(auberge("ps", "--all", "--json").stdout)}


def run(*words, **more):
    """Run a container that is removed with its end, without a network."""
    return auberge("run", "--rm", "--net", "none", *words, **more)


def test_streams_and_status():
    done = run("box", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    done = run("-i", "box", "cat", stdin=None, input="typed")
    assert (done.stdout, done.returncode) == ("typed", 0)
    done = run("box", "cat", stdin=None, input="not asked for")
    assert (done.stdout, done.returncode) == ("", 0)
    assert run("box", "sh", "-c", "kill -9 $$; sleep 9 & kill -9 $!; wait $!").returncode == 137
    assert guests() == {}


def test_the_images_own_command():
    done = run("-i", "box", stdin=None, input="echo $MADE; pwd\n")
    assert done.stdout == "by a test\n/home\n"


def test_options_reach_the_guest(tmp_path):
    (tmp_path / "file").write_text("of the host\n")
    done = run(
        "-e", "A=1", "-e", "OURS", "-e", "NONE", "-w", "/tmp", "-u", "guest", "--hostname", "inn",
        "-v", "file:/v:ro", "--read-only", "--memory", "64m", "--pids", "9", "--cpus", "0.5",
        "--cap-drop", "ALL", "box", "sh", "-c", "echo $A $OURS ${NONE-none}; pwd; id -u; hostname;"
        "cat /v; touch /x; grep CapBnd /proc/self/status",
        cwd=tmp_path, env=os.environ | {"OURS": "ours"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines == ["1 ours none", "/tmp", "1000", "inn", "of the host", "CapBnd:\t" + "0" * 16]
    assert "Read-only file system" in done.stderr


def test_words_after_the_image_are_the_commands():
    done = run("box", "echo", "--rm", "-t", "--", "-x")
    assert done.stdout == "--rm -t -- -x\n"


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["box", "none"], 127, "box:ARCH: none: no such file or directory; "
         "give a program that is in the image"),
        (["box", "x\x1b[2J"], 127, "box:ARCH: x\\x1b[2J: no such file or directory; "
         "give a program that is in the image"),
        (["box", "/etc"], 126, "box:ARCH: /etc: permission denied; "
         "give a program that this host can execute"),
        (["./program"], 125, "./program: a program, and those are not run yet, but images alone; "
         "name one, as debian, and show it the program with -v"),
        (["--isolation", "process", "box"], 125, "box: a program, and those are not run yet, but "
         "images alone; name one, as debian, and show it the program with -v"),
        (["--label", "=x", "box"], 125, "--label: '=x' is not NAME=VALUE; write it so"),
        (["-p", "1:2", "box"], 125, "ports: 127.0.0.1:1:2: with --net none no port is forwarded; "
         "use --net user, or leave it out"),
        (["--memory", "lots", "box"], 125, "--memory: 'lots' is not a size; "
         "write it as 256M or 2G"),
        (["-i", "-t", "box"], 125, "-t: standard input is no terminal; leave -t out"),
        (["-v", "/none:/x", "box"], 125, "-v: /none: no such file or directory; make it first"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_leaves_nothing(words, status, text):
    from auberge.image.oci.names import host_architecture

    done = run(*words)
    expected = f"auberge: {text.replace('ARCH', host_architecture())}\n"
    assert (done.returncode, done.stderr, done.stdout) == (status, expected, "")
    assert guests() == {}


def test_it_is_seen_while_it_runs_and_kept_when_it_has_ended():
    words = ["run", "--name", "seen", "--label", "a=b", "--net", "none", "box", "sleep", "100"]
    program = subprocess.Popen([*AUBERGE, *words])
    try:
        while guests().get("seen", {}).get("status") != "running":
            assert program.poll() is None
            time.sleep(0.02)
        assert guests()["seen"]["labels"] == {"a": "b"}
        assert auberge("exec", "seen", "hostname").stdout.strip() == guests()["seen"]["id"][:12]
        second = auberge("run", "--name", "seen", "box", "true")
        assert second.returncode == 125 and second.stderr.startswith("auberge: seen: a guest has")
        assert auberge("kill", "seen").returncode == 0
        assert program.wait(60) == 137
    finally:
        program.kill()
        program.wait()
    seen = guests()["seen"]
    assert (seen["status"], seen["exit_code"]) == ("exited", 137)
    assert auberge("rm", "seen").returncode == 0 and guests() == {}


def test_its_changes_are_committed():
    script = "echo new > /home/new; rm /etc/group; mkdir -p /a/b; chmod 700 /a/b"
    assert (
        auberge("run", "--name", "before", "--net", "none", "box", "sh", "-c", script).returncode
        == 0
    )
    done = auberge("commit", "before", "after", "-m", "by a test")
    name = done.stdout.strip()
    assert name.startswith("after:") and not done.stderr
    assert auberge("rm", "before").returncode == 0
    script = "cat /home/new; ls /etc/group; stat -c %a /a/b"
    done = run("after", "sh", "-c", script)
    assert done.stdout == "new\n700\n" and "No such file" in done.stderr
    assert auberge("image", "rm", name).returncode == 0
    done = auberge("commit", "before", "after")
    assert done.stderr == "auberge: before: no such guest; see `auberge ps --all`\n"


def test_what_a_running_one_has_changed_is_committed():
    script = "echo early > /home/early; sleep 100"
    name = auberge("run", "-d", "--net", "none", "box", "sh", "-c", script).stdout.strip()
    try:
        until(lambda: auberge("exec", name, "cat", "/home/early").stdout == "early\n")
        image = auberge("commit", name, "snap").stdout.strip()
        assert auberge("exec", name, "echo", "goes on").stdout == "goes on\n"
    finally:
        auberge("rm", "--force", name)
    assert run("snap", "cat", "/home/early").stdout == "early\n"
    assert auberge("image", "rm", image).returncode == 0


TRAP = "trap 'echo heard; exit 9' INT TERM HUP USR1; echo ready; while :; do sleep 0.05; done"


def started(*words):
    program = subprocess.Popen(
        [*AUBERGE, "run", "--rm", "--net", "none", *words],
        stdout=subprocess.PIPE,
    )
    assert program.stdout.readline() == b"ready\n"
    return program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(number):
    with started("box", "sh", "-c", TRAP) as program:
        program.send_signal(number)
        assert program.wait(60) == 9
        assert program.stdout.read() == b"heard\n"


def test_who_asks_three_times_is_heard():
    with started("box", "sh", "-c", "echo ready; exec sleep 100") as program:
        for _ in range(3):
            assert program.poll() is None
            send(program.pid, signal.SIGTERM)
        assert program.wait(60) == 137
    assert guests() == {}


def test_killed_it_leaves_a_guest_that_can_be_removed():
    with started("--name", "orphan", "box", "sh", "-c", TRAP) as program:
        program.kill()
        program.wait()
        assert guests()["orphan"]["status"] == "running"
        assert auberge("exec", "orphan", "echo", "here").stdout == "here\n"
        assert auberge("rm", "--force", "orphan").returncode == 0
    assert guests() == {}


def test_a_reader_that_goes_away_ends_nothing_but_itself():
    with started("box", "sh", "-c", "echo ready; yes || exit 5") as program:
        program.stdout.close()
        assert program.wait(60) in (5, 141)
