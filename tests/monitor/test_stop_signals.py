"""An image says with which signal its program is ended; what is none of signal(7) is TERM."""

import os
import signal

import pytest

from tests.box import write_box
from tests.inn import gone
from tests.inn import inn as inn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
SCRIPT = "trap 'exit 37' 37; trap 'exit 15' TERM; echo up; while :; do sleep 0.02; done"


def image(inn, name, word):
    """An image that says so."""
    inn.does("image", "import", write_box(inn.path, name, StopSignal=word), "--name", name)
    inn.does("run", "-d", "--net", "none", "--name", name, name, "sh", "-c", SCRIPT)
    inn.until(name, "up\n")
    return inn.record(name)


@pytest.mark.parametrize(
    ("name", "word", "status"), [("init", "SIGRTMIN+3", 37), ("odd", "\u00b2", 15)]
)
def test_who_stops_it_and_who_asks_its_supervisor(inn, name, word, status):
    image(inn, f"{name}-one", word)
    inn.does("stop", f"{name}-one")
    assert inn.seen(f"{name}-one")["exit_code"] == status
    record = image(inn, f"{name}-two", word)
    os.kill(record.supervisor.pid, signal.SIGTERM)
    gone(record.supervisor)
    assert inn.seen(f"{name}-two")["exit_code"] == status
    inn.does("rm", f"{name}-one", f"{name}-two")


def test_who_waits_for_ever(inn):
    inn.runs("polite", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done")
    inn.until("polite", "up\n")
    inn.does("stop", "-t", "inf", "polite")
    assert inn.seen("polite")["exit_code"] == 3
    inn.does("rm", "polite")
