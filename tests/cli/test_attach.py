"""Terminals of guests in a real terminal (tmux): attach, exec -it, run -it; and streams without."""

import os
import signal
import subprocess

import pytest

from tests.cli.tmux import Tmux, needs_tmux
from tests.command import AUBERGE
from tests.inn import inn as inn
from tests.signals import send

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture
def tmux(tmp_path, inn, monkeypatch):
    for name, value in inn.environment.items():
        monkeypatch.setenv(name, value)
    alias = tmp_path / "auberge"
    alias.write_text(f'#!/bin/sh\nexec {" ".join(AUBERGE)} "$@"\n')
    alias.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    server = Tmux(tmp_path)
    server.type("PS1=; clear", "Enter")
    yield server
    server("kill-server")


SHELL = "PS1='in$ ' exec sh -i"


@needs_tmux
def test_attach_leaves_and_comes_back(inn, tmux, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    inn.runs("tty", SHELL, "-i", "-t")
    tmux.type(f"stty -g > {before}; auberge attach tty; echo left $?", "Enter")
    tmux.expect("auberge: attached; Ctrl-P Ctrl-Q leaves")
    tmux.type("", "Enter")
    tmux.expect("in$")
    tmux.type("stty size; tty", "Enter")
    tmux.expect("28 90")
    tmux.expect("/dev/pts/0")
    tmux.type("sh -c 'echo as''leep; exec sleep 1000'", "Enter")
    tmux.expect("asleep")  # the terminal is its own by now
    tmux.type("C-c")
    tmux.type("echo inter''rupted", "Enter")
    tmux.expect("interrupted")
    tmux.type("C-p")
    tmux.type("C-q")
    tmux.expect("auberge: tty goes on; `auberge attach tty` comes back")
    tmux.expect("left 0")
    tmux.type(f"clear; stty -g > {after}; echo put''back", "Enter")
    tmux.expect("putback")
    assert before.read_text() == after.read_text()
    assert inn.seen("tty")["status"] == "running"
    tmux.type("auberge attach tty; echo ended $?", "Enter")
    tmux.expect("auberge: attached; Ctrl-P Ctrl-Q leaves")
    tmux("resize-window", "-x", "70", "-y", "20")
    tmux.type("", "Enter")
    # tmux itself takes its time over the size, and keys may be faster
    tmux.type("until stty size | grep -q '20 70'; do sleep 0.02; done; clear; stty size", "Enter")
    tmux.expect("20 70")
    tmux.type("exit 7", "Enter")
    tmux.expect("ended 7")
    inn.does("rm", "tty")


@needs_tmux
def test_exec_and_run_have_job_control(inn, tmux):
    inn.runs("host", "sleep 1000")
    for command in ("auberge exec -it host", "auberge run -it --rm --net none box"):
        tmux.type(f'clear; {command} sh -c "{SHELL}"; echo ended $?', "Enter")
        tmux.expect("in$")
        tmux.type("stty size; sh -c 'echo as''leep; exec sleep 1000'", "Enter")
        tmux.expect("28 90")
        tmux.expect("asleep")
        tmux.type("C-z")
        tmux.type("jobs | grep -c Stop''ped", "Enter")
        tmux.expect("1")
        tmux.type("kill %1; fg; exit 4", "Enter")
        tmux.expect("ended 4")
    inn.does("rm", "-f", "host")


def test_streams_without_a_terminal(inn):
    inn.runs("cat", "cat; echo never; sleep 0.2", "-i", "--rm")
    attached = inn.start("attach", "cat", stdin=subprocess.PIPE)
    attached.stdin.write(b"typed\n")
    attached.stdin.flush()
    assert attached.stdout.readline() == b"typed\n"
    attached.stdin.close()  # which is the end of who is attached alone
    second = inn.start("attach", "cat", stdin=subprocess.PIPE)
    second.stdin.write(b"second\n")
    second.stdin.flush()
    assert attached.stdout.readline() == second.stdout.readline() == b"second\n"
    attached.send_signal(signal.SIGKILL)
    inn.does("exec", "cat", "killall", "cat")
    assert second.stdout.readline() == b"never\n" and second.wait(60) == 0
    second.stdin.close()
    for process in (attached, second):
        process.stdin = None
        process.communicate(timeout=60)


def test_errors_are_errors_and_a_signal_is_passed_on(inn):
    inn.runs("loud", "trap 'echo int >&2; exit 5' INT; while :; do echo up; sleep 0.02; done")
    attached = inn.start("attach", "loud")
    assert attached.stdout.readline() == b"up\n"  # what is heard now, it hears
    attached.send_signal(signal.SIGINT)
    out, errors = attached.communicate(timeout=60)
    assert (attached.returncode, errors) == (5, b"int\n") and set(out.split()) <= {b"up"}
    inn.does("rm", "loud")


@pytest.mark.parametrize(("number", "times"), [("HUP", 1), ("INT", 3), ("TERM", 3)])
def test_a_guest_outlives_who_is_attached(inn, number, times):
    inn.runs("stays", "trap '' INT TERM; while :; do echo here; sleep 0.02; done")
    attached = inn.start("attach", "stays")
    assert attached.stdout.readline() == b"here\n"
    for _ in range(times):
        assert attached.poll() is None
        send(attached.pid, signal.Signals[f"SIG{number}"])
    _, errors = attached.communicate(timeout=60)
    assert errors == b"\nauberge: stays goes on; `auberge attach stays` comes back\n"
    assert attached.returncode == 0 and inn.seen("stays")["status"] == "running"
    inn.does("rm", "-f", "stays")


def test_a_megabyte_comes_through_and_into_the_log(inn):
    inn.runs("much", "read line; seq 1 200000; sleep 0.2", "-i")
    attached = inn.start("attach", "much", stdin=subprocess.PIPE)
    out, _ = attached.communicate(b"go\n", timeout=100)
    wanted = "".join(f"{number}\n" for number in range(1, 200001))
    assert out.decode() == wanted and attached.returncode == 0
    logged = inn.does("logs", "much")
    assert logged and wanted.endswith(logged)  # it keeps the end of what is long
    inn.does("rm", "much")


def test_nobody_can_attach_to_what_runs_in_a_foreground(inn):
    running = inn.start("run", "--name", "front", "--net", "none", "box", "sh", "-c",
                        "echo up; sleep 1000")  # fmt: skip
    assert running.stdout.readline() == b"up\n"
    line = "front: runs in somebody's foreground; `auberge logs` and `exec` work"
    assert inn.refuses("attach", "front") == line
    assert inn.does("exec", "front", "echo", "hi") == "hi\n"
    waiting = inn.start("wait", "front")
    inn.does("kill", "front")
    assert running.wait(60) == 137
    assert waiting.communicate(timeout=60)[0] == b"137\n"
    running.communicate()
    inn.does("rm", "front")
