"""A real terminal for tests: a tmux server, and what is on its screen."""

import os
import shutil
import subprocess
import time

import pytest

needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


class Tmux:
    """A tmux server of this test's own, with one shell in it."""

    def __init__(self, folder):
        self.command = ["tmux", "-S", str(folder / "socket"), "-f", os.devnull]
        self("new-session", "-d", "-x", "90", "-y", "28", "sh")

    def __call__(self, *words):
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def type(self, *keys):
        self("send-keys", *keys)

    def expect(self, text, seconds=60):
        """Wait until a line of the screen is `text`."""
        deadline = time.monotonic() + seconds
        while True:
            screen = self("capture-pane", "-p")
            if text in [line.rstrip() for line in screen.splitlines()]:
                return
            assert time.monotonic() < deadline, f"{text!r} is not on the screen:\n{screen}"
