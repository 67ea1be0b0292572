"""Who waits for an image sees all stages: as bars on a terminal, as lines elsewhere."""

import os
import pty
import sys

import pytest

from auberge.cli.image import Lines
from auberge.image import stages

BARS = """
from auberge.cli.image import shown_progress
with shown_progress("x", ["one", "two"]) as progress:
    progress("waiting", 0, 1)
    progress("waiting", 1, 1)
    progress("one", 1, 2)
"""


def test_a_line_for_each_stage_and_for_quarters_that_took_long(capsys):
    clock = iter([10.0, 10.1, 20.0, 20.0, 21.0, 29.0, 30.0, 31.0])
    lines = Lines("debian", ["fetch", "install"], lambda: next(clock))
    lines.hear("fetch", 0, 8)  # a line, at 10.0
    lines.hear("fetch", 1, 8)
    lines.hear("fetch", 2, 8)  # at 10.1: too soon
    lines.hear("install", 0, 8)  # at 20.0
    lines.hear("install", 2, 8)  # at 20.0: too soon
    lines.hear("install", 2, 8)  # at 21.0: still
    lines.hear("install", 3, 8)  # at 29.0, said at 30.0
    lines.hear("waiting", 0, 1)  # at 31.0
    assert capsys.readouterr().err == (
        "debian: 1/2 fetch\ndebian: 2/2 install\ndebian: 2/2 install: 37 %\ndebian: waiting\n"
    )


@pytest.mark.slow
def test_on_a_terminal_all_that_is_to_come_is_there():
    said = b""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", BARS])
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            break
        said += data
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    text = said.decode()
    drawn = [name for name in ("waiting", "one", "two") if f"x: {name}" in text]
    assert drawn == ["waiting", "one", "two"]
    assert "50 %" in text and "100 %" in text


def test_every_image_has_stages():
    assert [len(stages(name)) for name in ("tiny", "debian", "other")] == [4, 6, 0]
