"""Who waits at a terminal is told why; nobody else is."""

import io
import threading

import pytest

from auberge.cli import patience as room
from auberge.cli.patience import patience


class Screen(io.StringIO):
    """stderr, on a terminal or not, that says when something was written."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal
        self.written = threading.Event()

    def isatty(self):
        return self.terminal

    def write(self, text):
        count = super().write(text)
        if text.endswith("\n"):
            self.written.set()
        return count


def test_a_long_wait_on_a_terminal_is_explained(monkeypatch):
    screen = Screen(terminal=True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(room, "SOON", 0.001)
    with patience("baking"):
        assert screen.written.wait(60)
    assert screen.getvalue() == "auberge: baking\n"


@pytest.mark.parametrize(("terminal", "soon"), [(True, 1000), (False, 0)])
def test_silence_otherwise(monkeypatch, terminal, soon):
    screen = Screen(terminal)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(room, "SOON", soon)
    with patience("baking"):
        pass
    assert screen.getvalue() == ""
