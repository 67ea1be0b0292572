"""kill -9 of a supervisor at any point: `ps` tells the truth, and `rm -f` removes everything."""

import os
import random
import signal
import time

import pytest

from tests.inn import gone, kill
from tests.inn import inn as inn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def test_the_guest_goes_on_and_is_found(inn):
    inn.runs("alone", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done")
    inn.until("alone", "up\n")
    record = inn.record("alone")
    kill(record.supervisor.pid)
    gone(record.supervisor)
    seen = inn.seen("alone")
    assert (seen["status"], seen["supervisor"]) == ("running", 0)
    assert seen["note"] == "its supervisor was killed"
    assert inn.does("logs", "alone") == "up\n"
    assert inn.does("exec", "alone", "echo", "hi") == "hi\n"
    assert str(record.process.pid) in inn.does("top", "alone")
    assert inn.refuses("attach", "alone").startswith("alone: its supervisor does not answer")
    inn.does("pause", "alone")
    assert inn.seen("alone")["status"] == "paused"
    inn.does("resume", "alone")
    assert "already" not in inn.does("stop", "alone")
    assert inn.seen("alone")["status"] == "exited" and inn.seen("alone")["exit_code"] is None
    assert "exited (?) (its supervisor was killed)" in inn.does("ps", "-a")
    done = inn("wait", "alone")
    assert done.returncode == 125 and "nobody has seen how" in done.stderr
    inn.does("rm", "alone")
    assert inn.left(record.id) == []


def test_rm_ends_what_nobody_supervises(inn):
    inn.runs("alone", "sleep 1000")
    record = inn.record("alone")
    kill(record.supervisor.pid)
    gone(record.supervisor)
    assert inn.refuses("rm", "alone") == "alone: it is running; stop it first, or use --force"
    inn.does("rm", "-f", "alone")
    assert not record.process.lives and inn.left(record.id) == []


def test_a_supervisor_is_small_and_has_what_it_needs(inn):
    inn.runs("small", "sleep 1000", "--rm")
    record = inn.record("small")
    with open(f"/proc/{record.supervisor.pid}/status") as file:
        status = dict(line.rstrip().split(":", 1) for line in file)
    assert status["Threads"].strip() == "1" and int(status["VmRSS"].split()[0]) < 16 << 10
    open_now = os.listdir(f"/proc/{record.supervisor.pid}/fd")
    assert len(open_now) <= 8, "three of its own, a socket, two pipes, the process, perhaps a log"
    inn.does("rm", "-f", "small")


def test_a_supervisor_that_is_asked_to_end_asks_its_guest(inn):
    inn.runs("asked", "trap 'exit 4' TERM; echo up; while :; do sleep 0.02; done")
    inn.until("asked", "up\n")
    record = inn.record("asked")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(record.supervisor.pid, number)
    gone(record.supervisor)
    assert inn.seen("asked")["exit_code"] == 4
    inn.does("rm", "asked")


def test_its_name_can_be_had_again(inn):
    inn.runs("again", "sleep 1000")
    record = inn.record("again")
    kill(record.supervisor.pid)
    gone(record.supervisor)
    inn.does("rm", "-f", "again")
    inn.runs("again", "exit 0")
    assert inn.does("wait", "again") == "0\n"
    inn.does("rm", "again")


def begun(inn, delay):
    """The command that starts the guest `early`, so many seconds after there was a supervisor, or
    after all that if we were too late to see it."""
    starting = inn.start("run", "-d", "--net", "none", "--name", "early", "box", "sleep", "1000")
    deadline = time.monotonic() + 60
    while not (inn.guests / "early/supervisor.errors").exists():
        assert time.monotonic() < deadline and starting.poll() in (None, 0)
        if starting.returncode == 0:
            break
    time.sleep(delay)
    return starting


@pytest.mark.parametrize("seed", range(10))
def test_killed_while_it_starts(inn, seed):
    """The whole start takes some 0.2 seconds on an idle host."""
    starting = begun(inn, random.Random(seed).uniform(0.0, 0.25))
    for pid in supervisors(inn):
        kill(pid)
    out, errors = starting.communicate(timeout=60)
    assert (starting.returncode, out) == (0, b"early\n") or starting.returncode == 125
    assert b"Traceback" not in errors
    found = [name for name in inn.names() if name == "early"]
    assert found == ([] if starting.returncode else ["early"])
    if found:
        identity = inn.record("early").id
        inn.does("rm", "-f", "early")
        assert inn.left(identity) == []
    assert inn.left("none") == [] and not supervisors(inn)


@pytest.mark.parametrize("seed", range(4))
def test_removed_while_it_starts(inn, seed):
    starting = begun(inn, random.Random(seed).uniform(0.0, 0.25))
    identity = inn.record("early").id
    inn("rm", "-f", "early")
    _, errors = starting.communicate(timeout=60)
    assert b"Traceback" not in errors
    assert inn.names() == [] and inn.left(identity) == [] and not supervisors(inn)


def supervisors(inn):
    """The processes of this inn's guests that are supervisors, or become ones."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(os.fsencode(inn.guests)) for word in words):
            found.append(int(name))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_killed_while_its_guest_ends(inn, seed):
    delay = random.Random(seed).uniform(0.0, 0.15)
    inn.runs("late", "sleep 1000", "--rm")
    record = inn.record("late")
    kill(record.process.pid)
    time.sleep(delay)
    kill(record.supervisor.pid)
    gone(record.supervisor)
    if "late" in inn.names():
        seen = inn.seen("late")
        assert seen["status"] == "exited" and seen["exit_code"] in (137, None)
        inn.does("rm", "late")
    inn.does("rm", inn.runs("next", "true"), "--force")  # it tidies up what was half removed
    assert inn.left(record.id) == []


def test_a_damaged_record_is_shown_and_removed(inn):
    inn.runs("hurt", "sleep 1000")
    record = inn.record("hurt")
    (inn.guests / "hurt/guest.json").write_text('{"format": 1, "name')
    assert inn.seen("hurt")["status"] == "damaged"
    line = f"{inn.guests}/hurt/guest.json: not JSON; remove it with `auberge rm -f hurt`"
    for verb in ("logs", "stop", "inspect", "top"):
        assert inn.refuses(verb, "hurt") == line
    assert inn.refuses("rm", "hurt") == "hurt: it is damaged; stop it first, or use --force"
    inn.does("rm", "-f", "hurt")
    gone(record.process)
    gone(record.supervisor)
    assert inn.left(record.id) == []
