"""Raw while the guest runs, as before afterwards: whatever ended it."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GUEST = str(Path(__file__).with_name("echo_guest.py"))
REPOSITORY = str(Path(__file__).parents[2])


class Screen:
    """A pseudo-terminal with a guest on it, in a session of its own."""

    def __init__(self, *arguments):
        self.ours, self.theirs = os.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.seen = b""
        self.guest = subprocess.Popen(
            [sys.executable, GUEST, *arguments],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": REPOSITORY},
            start_new_session=True,
        )

    def __enter__(self):
        self.expect(b"ready")
        return self

    def __exit__(self, *_):
        self.guest.kill()
        self.guest.wait()
        os.close(self.theirs)
        if self.ours is not None:
            os.close(self.ours)

    def expect(self, text):
        """Read until `text` has been printed after what was expected before."""
        while text not in self.seen:
            assert select.select([self.ours], [], [], 60)[0], (text, self.seen)
            self.seen += os.read(self.ours, 4096)
        self.seen = self.seen.split(text, 1)[1]

    def type(self, data):
        os.write(self.ours, data)

    @property
    def is_raw(self):
        return not termios.tcgetattr(self.theirs)[3] & (termios.ICANON | termios.ECHO)

    @property
    def is_as_before(self):
        return termios.tcgetattr(self.theirs) == self.before


def test_after_the_guest_ended():
    with Screen() as screen:
        assert screen.is_raw
        screen.type(b"q")
        assert screen.guest.wait(60) == 0
        assert screen.is_as_before


def test_after_ctrl_a_x():
    with Screen() as screen:
        screen.type(b"\x01x")
        screen.expect(b"leaving")
        assert screen.guest.wait(60) == 0
        assert screen.is_as_before


def test_after_an_exception():
    with Screen() as screen:
        screen.type(b"!")
        assert screen.guest.wait(60) == 1
        assert screen.is_as_before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_after_a_signal(number):
    with Screen() as screen:
        screen.guest.send_signal(number)
        assert screen.guest.wait(60) == 128 + number
        assert screen.is_as_before


def test_after_a_second_signal_to_a_guest_that_does_not_end():
    with Screen("--stubborn") as screen:
        screen.guest.send_signal(signal.SIGTERM)
        screen.expect(b"leaving")
        assert screen.is_raw
        screen.guest.send_signal(signal.SIGTERM)
        assert screen.guest.wait(60) == 128 + signal.SIGTERM
        assert screen.is_as_before


def test_while_it_is_stopped():
    with Screen() as screen:
        screen.guest.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(screen.guest.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert screen.is_as_before
        fcntl.ioctl(screen.theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        screen.guest.send_signal(signal.SIGCONT)
        screen.expect(b"80x24")
        assert screen.is_raw
        screen.type(b"q")
        assert screen.guest.wait(60) == 0
        assert screen.is_as_before


def test_ctrl_c_and_ctrl_z_are_the_guests():
    with Screen() as screen:
        screen.type(b"\x03\x1a")
        screen.expect(b"<\x03\x1a>")


def test_a_new_size_reaches_the_guest():
    with Screen() as screen:
        fcntl.ioctl(screen.theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0))
        screen.guest.send_signal(signal.SIGWINCH)
        screen.expect(b"132x50")


def test_help_is_shown_and_not_typed():
    with Screen() as screen:
        screen.type(b"\x01h")
        screen.expect(b"Ctrl-A X       leave")
        screen.type(b"\x01a")
        screen.expect(b"<\x01>")


def test_a_terminal_that_went_away_ends_the_guest():
    with Screen() as screen:
        os.close(screen.ours)
        screen.ours = None
        assert screen.guest.wait(60) in (99, 128 + signal.SIGHUP)


def piped(stdin, *words, **options):
    return subprocess.Popen(
        [sys.executable, GUEST, *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": REPOSITORY},
        **options,
    )


@pytest.mark.parametrize("words", [(), ("--late",)])  # whose run had not begun when it was asked
def test_the_end_of_a_pipe_is_not_the_end_of_the_guest(words):
    guest = piped(subprocess.DEVNULL, *words)
    assert guest.stdout.read(5) == b"ready"
    guest.send_signal(signal.SIGTERM)
    assert guest.communicate(timeout=60)[0] == b"leaving"
    assert guest.returncode == 128 + signal.SIGTERM


def test_ctrl_a_in_a_pipe_is_the_guests():
    guest = piped(subprocess.PIPE)
    assert guest.stdout.read(5) == b"ready"
    guest.stdin.write(b"\x01x")
    guest.stdin.flush()
    assert guest.stdout.read(4) == b"<\x01x>"
    guest.stdin.write(b"q")
    guest.stdin.flush()
    assert guest.wait(60) == 0
    guest.communicate()


def test_a_reader_that_went_away_ends_the_guest():
    guest = piped(subprocess.PIPE)
    assert guest.stdout.read(5) == b"ready"
    guest.stdout.close()
    guest.stdin.write(b"hello")
    guest.stdin.close()
    assert guest.wait(60) == 99
