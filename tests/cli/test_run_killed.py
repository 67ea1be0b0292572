"""`auberge run` killed at any moment: what it has left can be removed, by `rm` or by the next."""

import os
import signal
import subprocess
import time

import pytest

from tests.box import auberge, left
from tests.box import box as box
from tests.box import filled as filled
from tests.command import AUBERGE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), pytest.mark.usefixtures("box")]


def begin(*words):
    return subprocess.Popen(
        [*AUBERGE, "run", "--net", "none", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def took(*words):
    """Seconds of a run that is not killed."""
    start = time.monotonic()
    program = begin("--rm", *words)
    assert program.wait() == 0
    return time.monotonic() - start


def test_whatever_is_left_can_be_removed(filled):
    whole = took("box", "true")
    moments = 14
    for moment in range(moments):
        program = begin("--name", "victim", "box", "sleep", "100")
        time.sleep(whole * 1.2 * moment / moments)
        program.kill()
        program.wait()
        for name in auberge("ps", "--all", "--quiet").stdout.split():
            done = auberge("rm", "--force", name)
            assert done.returncode == 0, done.stderr
        # a folder that never had a name goes with the next one that is made
        assert auberge("run", "--rm", "--net", "none", "box", "true").returncode == 0
        assert left(filled) == [], moment


def test_killed_while_it_is_removed(filled):
    for moment in range(5):
        program = begin("--rm", "--name", "victim", "box", "sleep", "100")
        while "victim" not in auberge("ps").stdout:
            assert program.poll() is None
        for _ in range(3):
            program.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        time.sleep(0.006 * moment)
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        for name in auberge("ps", "--all", "--quiet").stdout.split():
            assert auberge("rm", "--force", name).returncode == 0
        assert auberge("run", "--rm", "--net", "none", "box", "true").returncode == 0
        assert left(filled) == [], moment
