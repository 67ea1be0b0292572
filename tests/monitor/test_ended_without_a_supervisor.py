"""Guests whose supervisor was killed are ended as others are, and all of them is gone after."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.inn import gone, kill
from tests.inn import inn as inn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

WAITS = "sh -c 'sleep 1001' & sleep 1002 & echo up; while :; do wait; done"
DEAF = f"trap '' TERM; {WAITS}"


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_next(inn):
    yield
    inn.close()


def processes(record):
    """What runs in its pid namespace, as the host sees it."""
    space = os.readlink(f"/proc/{record.process.pid}/ns/pid")
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/pid") == space:
                found.append(int(name))
        except OSError:
            continue
    return found


def alive(pids):
    """Those that run: one that waits for its parent does not."""
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] not in "ZX":
                    found.append(pid)
        except FileNotFoundError:
            continue
    return found


def alone(inn, name, script=DEAF, *words):
    """A guest with several processes, one by `exec`, and without its supervisor."""
    inn.runs(name, script, *words)
    inn.until(name, "up\n")
    inn.does("exec", "-d", name, "sleep", "1003")
    record = inn.record(name)
    kill(record.supervisor.pid)
    gone(record.supervisor)
    found = processes(record)
    assert len(found) >= 3
    return record, found


def cgroups_of(inn, record):
    """Its image's layers are held until it is removed."""
    left = inn.left(record.id)
    return [each for each in left if each.startswith("/sys") and record.id in each]


@pytest.mark.parametrize(
    "words", [("stop", "-t", "0.2"), ("stop", "-t", "0"), ("kill",), ("kill", "-s", "KILL")]
)
@pytest.mark.parametrize("paused", [False, True])
def test_it_is_ended(inn, words, paused):
    record, found = alone(inn, "ended")
    if paused:
        inn.does("pause", "ended")
    assert inn.does(*words, "ended") == "ended\n"
    assert alive(found) == [] and not record.process.lives
    assert cgroups_of(inn, record) == []
    seen = inn.seen("ended")
    assert (seen["status"], seen["exit_code"]) == ("exited", None)
    assert "exited (?) (its supervisor was killed)" in inn.does("ps", "-a")
    assert inn.does("stop", "ended") == "ended\n"
    assert inn.refuses("kill", "ended") == "ended: it is exited, not running; start another"
    assert inn.does("rm", "ended") == "ended\n"
    assert inn.left(record.id) == []


@pytest.mark.parametrize("paused", [False, True])
def test_it_is_removed(inn, paused):
    record, found = alone(inn, "removed")
    if paused:
        inn.does("pause", "removed")
    assert inn.does("rm", "-f", "removed") == "removed\n"
    assert alive(found) == [] and inn.left(record.id) == []


def test_its_end_by_itself(inn):
    waits = "until test -e /tmp/end; do sleep 0.02; done"
    record, found = alone(inn, "itself", f"sleep 1001 & echo up; {waits}")
    Path(f"/proc/{record.process.pid}/root/tmp/end").touch()
    gone(record.process)
    assert alive(found) == [] and inn.seen("itself")["status"] == "exited"
    assert inn.does("rm", "-f", "itself") == "itself\n"
    assert inn.left(record.id) == []


def test_what_was_to_be_removed_with_its_end_is(inn):
    record, found = alone(inn, "brief", DEAF, "--rm")
    assert inn.does("stop", "-t", "0", "brief") == "brief\n"
    assert alive(found) == [] and inn.left(record.id) == []


def test_its_changes_are_still_there(inn):
    record, _ = alone(inn, "baker", f"echo bread > /bread; {DEAF}")
    inn.does("kill", "baker")
    assert inn.does("commit", "baker", "bakery").startswith("bakery:")
    inn.does("rm", "baker")
    done = inn("run", "--rm", "--net", "none", "bakery", "cat", "/bread")
    assert done.stdout == "bread\n", done.stderr
    inn.does("image", "rm", "bakery")


@pytest.mark.parametrize("words", [("stop", "-t", "60"), ("kill",), ("rm", "-f")])
def test_killed_before_it_could_say_which_process(inn, words):
    """Its record is as a kill between the container's start and the note of it leaves it."""
    record, found = alone(inn, "early", f"trap 'exit 3' TERM; {WAITS}")
    path = inn.guests / "early/guest.json"
    values = json.loads(path.read_text())
    values["process"] = {"pid": 0, "ticks": 0, "boot": ""}
    values["status"] = "created"
    path.write_text(json.dumps(values))
    assert inn.seen("early")["status"] == "running"
    began = time.monotonic()
    assert inn.does(*words, "early") == "early\n"
    assert alive(found) == [] and time.monotonic() - began < 50
    if words[0] != "rm":
        assert cgroups_of(inn, record) == []
        inn.does("rm", "early")
    assert inn.left(record.id) == []
