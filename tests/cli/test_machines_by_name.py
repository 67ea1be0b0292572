"""The verbs of guests, of machines: those of `auberge run`, and what `auberge boot` runs."""

import json
import os
import select
import signal
import subprocess

import pytest

from auberge.monitor import guests
from tests.box_in_a_machine import boxes as boxes
from tests.cli.guests import SPIN, write_elf
from tests.command import AUBERGE
from tests.inn import gone, kill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SCRIPT = "echo up; trap 'exit 9' TERM; while :; do sleep 0.05; done"


@pytest.fixture
def auberge(boxes, tmp_path):
    """Runs a command in the home of `boxes`, with a runtime folder of this test's own."""
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}

    def call(*words, status=0, **more):
        done = subprocess.run(
            [*AUBERGE, *words], env=environment, text=True, capture_output=True, timeout=120,
            check=False, **{"stdin": subprocess.DEVNULL, **more},
        )  # fmt: skip
        assert done.returncode == status, done
        return done.stdout

    call.environment = environment
    yield call
    for seen in json.loads(call("ps", "--all", "--json")):
        call("rm", "-f", seen["name"])


def seen(auberge, name):
    (found,) = json.loads(auberge("ps", "--all", "--json", "--filter", f"name={name}"))
    return found


def test_a_life_from_end_to_end(auberge):
    auberge(
        "run", "-d", "--name", "farm", "--isolation", "machine", "box:riscv64", "sh", "-c", SCRIPT
    )
    assert (seen(auberge, "farm")["isolation"], seen(auberge, "farm")["status"]) == (
        "machine", "running",
    )  # fmt: skip
    assert auberge("exec", "-e", "A=1", "farm", "sh", "-c", "uname -m; echo $A") == "riscv64\n1\n"
    assert auberge("exec", "-i", "farm", "cat", stdin=None, input="typed\n") == "typed\n"
    auberge("exec", "farm", "sh", "-c", "exit 5", status=5)
    auberge("exec", "farm", "nope", status=127)
    assert "sleep 0.05" in auberge("top", "farm") or "sh -c echo up" in auberge("top", "farm")
    (used,) = json.loads(auberge("stats", "--no-stream", "--json", "farm"))
    assert used["memory"] and used["cpu_percent"] is not None
    auberge("pause", "farm")
    assert seen(auberge, "farm")["status"] == "paused"
    auberge("resume", "farm")
    assert auberge("logs", "farm") == "up\n"
    auberge("stop", "farm")
    assert seen(auberge, "farm")["exit_code"] == 9 and auberge("wait", "farm") == "9\n"
    auberge("rm", "farm")
    assert auberge("ps", "-aq") == ""


def test_a_killed_supervisor_is_a_killed_machine(auberge, boxes):
    auberge("run", "-d", "--name", "lost", "--isolation", "machine", "box:riscv64", "sleep", "1000")
    record = guests.find("lost").load()
    kill(record.supervisor.pid)
    gone(record.supervisor)
    assert (seen(auberge, "lost")["status"], seen(auberge, "lost")["exit_code"]) == ("exited", None)
    auberge("rm", "lost")
    assert auberge("ps", "-aq") == ""


def test_one_in_the_foreground_takes_orders_too(auberge):
    front = subprocess.Popen(
        [*AUBERGE, "run", "--rm", "--name", "front", "--isolation", "machine", "box:riscv64", "sh",
         "-c", SCRIPT], env=auberge.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert front.stdout.readline() == b"up\n"
    assert auberge("exec", "front", "echo", "hi") == "hi\n"
    auberge("pause", "front")
    assert seen(auberge, "front")["status"] == "paused"
    auberge("resume", "front")
    auberge("attach", "front", status=125)
    auberge("rm", "-f", "front")
    assert front.wait(60) == 137
    front.stdout.close()
    assert auberge("ps", "-aq") == ""


def test_a_machine_of_boot_is_listed(auberge, tmp_path):
    kernel = write_elf(tmp_path / "spin", "li a0, 0x10000000; li a1, 'U'; sb a1, 0(a0);" + SPIN)
    booted = subprocess.Popen(
        [*AUBERGE, "boot", "--engine", "reference", "--kernel", kernel, "--name", "bare"],
        env=auberge.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert (
            select.select([booted.stdout], [], [], 60)[0]
            and os.read(booted.stdout.fileno(), 1) == b"U"
        )
        assert (seen(auberge, "bare")["isolation"], seen(auberge, "bare")["status"]) == (
            "machine", "running",
        )  # fmt: skip
        assert "bare" in auberge("ps") and "harts" in auberge("inspect", "--json", "bare")
        for verb in ("stop", "logs", "rm"):
            auberge(verb, "bare", status=125)
        auberge("run", "--name", "bare", "box:riscv64", status=125)
    finally:
        booted.send_signal(signal.SIGTERM)
        booted.wait(60)
        booted.stdout.close()
    assert auberge("ps", "-aq") == ""
