"""Signals at any moment of a boot: its end is one that is documented, and the terminal's as before.

A status is the guest's; or 128 and the number of a signal that was sent, be it that we ended by it
or, before and after the guest runs, that the kernel ended us.
"""

import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from tests.cli.guests import FLOOD, write_elf
from tests.command import AUBERGE

REPOSITORY = str(Path(__file__).parents[2])
HARMLESS = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200, method="thread")]


BEGINS = """\
import os, sys
from auberge.cli.main import main
os.write(int(sys.argv[1]), b"!")
os.close(int(sys.argv.pop(1)))
sys.exit(main())
"""


class Boot:
    """`auberge boot` on a pseudo-terminal that somebody reads."""

    def __init__(self, *words):
        self.ours, self.theirs = os.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.printed = bytearray()
        self.over = False
        self.begun, begun = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGINS, str(begun), "boot", *words],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            start_new_session=True,
            pass_fds=(begun,),
        )
        os.close(begun)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        while not self.over or select.select([self.ours], [], [], 0)[0]:
            if select.select([self.ours], [], [], 0.05)[0]:
                self.printed += os.read(self.ours, 4096)

    def wait_for_us(self):
        """Until Python has started and our program begins: before that, Python answers signals."""
        assert os.read(self.begun, 1) == b"!"

    def send(self, number):
        self.process.send_signal(number)
        if number == signal.SIGTSTP:  # whoever is stopped stays so until somebody continues it
            time.sleep(0.005)
            self.process.send_signal(signal.SIGCONT)

    def end(self):
        """The status as a shell has it, and what stderr has."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.printed[-500:]
            self.process.send_signal(signal.SIGCONT)  # a stop may come after what continued it
            time.sleep(0.05)
        said = self.process.stderr.read()
        self.process.stderr.close()
        self.over = True
        self.reader.join()
        after = termios.tcgetattr(self.theirs)
        for descriptor in (self.ours, self.theirs, self.begun):
            os.close(descriptor)
        assert after == self.before
        status = self.process.returncode
        return (status if status >= 0 else 128 - status), said


@pytest.fixture(scope="module", autouse=True)
def tiny():
    from auberge.image import store

    if store.find("tiny", "riscv64") is None:
        pytest.skip("no image tiny here; `auberge image build tiny`")


@pytest.mark.parametrize("cpus", ["1", "3"])
def test_signals_that_end_nothing(cpus):
    r = random.Random(int(cpus))
    boot = Boot("tiny", "--append", "auberge.report", "--cpus", cpus)
    while b"Linux version" not in boot.printed and b"guest says" not in boot.printed:
        if boot.process.poll() is not None:
            break
        time.sleep(0.01)
    for _ in range(200):
        boot.send(r.choice(HARMLESS))
        time.sleep(r.random() * 0.005)
    assert boot.end() == (0, b"")
    assert b"guest says:" in boot.printed and b"riscv64 GNU/Linux" in boot.printed


@pytest.mark.parametrize("keys", [b"\x01x", b"\x01hhh\x01h\x01x"], ids=["leave", "help"])
def test_leaving_a_guest_whose_output_nobody_reads(tmp_path, keys):
    ours, theirs = os.openpty()
    kernel = write_elf(tmp_path / "k", FLOOD)
    boot = subprocess.Popen(
        [*AUBERGE, "boot", "--kernel", kernel],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    looks = [0]
    while not looks[-1] or len(set(looks[-20:])) > 1:  # until the pipe takes no more
        time.sleep(0.02)
        looks += struct.unpack("i", fcntl.ioctl(boot.stdout, termios.FIONREAD, bytes(4)))
    os.write(ours, keys)
    try:
        assert boot.wait(60) == 0
        assert boot.stderr.read() == b""
    finally:
        boot.kill()
        boot.communicate()
        os.close(ours)
        os.close(theirs)


def test_a_pipe_full_of_signals_does_not_keep_the_terminal():
    """More signals than the pipe has room for, while the thread that hears them is busy."""
    done = subprocess.run(
        [sys.executable, "-c", STORMED],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=REPOSITORY,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"over\n", b"")


STORMED = """
import os, signal, threading, time
from auberge.cli.terminal import Guest, Terminal

busy, free = threading.Event(), threading.Event()
class Slow(Terminal):
    def _hear(self, number):
        if not busy.is_set():
            busy.set()
            free.wait()

with Slow().serving(Guest(lambda data: None, lambda: 0, lambda *size: None, lambda: None)):
    signal.raise_signal(signal.SIGWINCH)
    busy.wait()
    for _ in range(70_000):
        signal.raise_signal(signal.SIGWINCH)
    threading.Timer(0.1, free.set).start()
print("over")
"""


@pytest.mark.parametrize("seed", range(6))
def test_signals_of_all_kinds(seed):
    """The first one of `ENDS` leaves the guest, a second one ends a guest that does not."""
    r = random.Random(seed)
    boot = Boot("tiny", "--cpus", "2")
    boot.wait_for_us()
    time.sleep(r.random() * 1.3)
    sent = set()
    while boot.process.poll() is None:
        number = r.choice(HARMLESS + ENDS)
        boot.send(number)
        if number in ENDS:
            sent.add(128 + number)
        time.sleep(r.random() * 0.01)
    status, said = boot.end()
    assert status in sent
    assert said == b""
