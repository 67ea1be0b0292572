"""`auberge attach`: be at the streams of a guest that runs by itself; Ctrl-P Ctrl-Q leaves."""

import argparse
import os
import select
import signal
import sys
from contextlib import suppress

from auberge.cli.following import ENDS, IMPATIENT
from auberge.cli.raw_terminal import RawTerminal
from auberge.monitor import roster
from auberge.monitor.client import Attached
from auberge.monitor.frames import ERRORS, EXIT, INPUT
from auberge.monitor.guest import Guest
from auberge.refusal import Refusal

CTRL_P, CTRL_Q = b"\x10", b"\x11"
CHUNK = 1 << 14


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guest."""
    add = parser.add_argument
    add("name", metavar="NAME", help="a guest of `auberge run -d`, or the beginning of its id")
    add("--no-stdin", action="store_true", help="watch only: nothing that is typed is its input")


def run(args: argparse.Namespace) -> int:
    """Until it ends, whose status this is, or until Ctrl-P Ctrl-Q, which is 0."""
    _, record, folder = roster.running(args.name)
    terminal = RawTerminal()
    with Attached(record, not args.no_stdin, terminal.size()) as attached:
        guest = roster.guest(record, folder)
        if not attached.terminal or args.no_stdin:
            return _Session(attached, guest, terminal, record.name).run()
        if os.isatty(0):
            print("auberge: attached; Ctrl-P Ctrl-Q leaves", file=sys.stderr)
        with terminal:
            status = _Session(attached, guest, terminal, record.name).run()
        return status


class Keys:
    """What is typed, with Ctrl-P Ctrl-Q taken out of it: the two may come in two reads."""

    def __init__(self) -> None:
        self._held = b""
        self.leaving = False

    def take(self, typed: bytes) -> bytes:
        """What the guest gets. A Ctrl-P waits for the next key."""
        typed, self._held = self._held + typed, b""
        before, found, _ = typed.partition(CTRL_P + CTRL_Q)
        if found:
            self.leaving = True
            return before
        if typed.endswith(CTRL_P):
            self._held = CTRL_P
            return typed[:-1]
        return typed


class _Session:
    def __init__(self, attached: Attached, guest: Guest, terminal: RawTerminal, name: str) -> None:
        self._attached, self._guest, self._terminal, self._name = attached, guest, terminal, name
        self._keys = Keys()
        self._asked = 0
        self._takes_keys = attached.input
        self._raw = attached.terminal and os.isatty(0)

    def run(self) -> int:
        heard, told = os.pipe()
        os.set_blocking(told, False)
        before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        numbers = (
            signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH,
            signal.SIGTSTP, signal.SIGUSR1, signal.SIGUSR2,
        )  # fmt: skip
        handlers = [(number, signal.signal(number, lambda *_: None)) for number in numbers]
        try:
            return self._loop(heard)
        finally:
            for number, handler in handlers:
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(heard)
            os.close(told)

    def _loop(self, heard: int) -> int:
        poll = select.poll()
        poll.register(heard, select.POLLIN)
        poll.register(self._attached.fileno(), select.POLLIN)
        if self._takes_keys:
            poll.register(0, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if heard in ready:
                for number in os.read(heard, 64):
                    self._hear(number)
            if self._attached.fileno() in ready:
                for kind, data in self._attached.receive():
                    if kind == EXIT:
                        return data[0]
                    _write(2 if kind == ERRORS else 1, data)
            if 0 in ready and not self._take():
                poll.unregister(0)
            if self._keys.leaving:
                ending = "\r\n" if self._raw else "\n"
                text = f"auberge: {self._name} goes on; `auberge attach {self._name}` comes back"
                with suppress(OSError):  # nobody may be there any more
                    _write(2, f"{ending}{text}{ending}".encode())
                return 0

    def _take(self) -> bool:
        """Pass on what was typed; whether more may come."""
        try:
            data = os.read(0, CHUNK)
        except OSError:
            data = b""
        if not data:
            self._keys.leaving |= os.isatty(0)  # it hung up
            return False
        typed = self._keys.take(data) if os.isatty(0) else data
        if typed:
            self._attached.send(INPUT, typed)
        return True

    def _hear(self, number: int) -> None:
        if number == signal.SIGWINCH:
            size = self._terminal.size()
            if size is not None:
                self._attached.resize(*size)
        elif number == signal.SIGHUP:
            self._keys.leaving = True
        elif number == signal.SIGTSTP:
            self._terminal.suspend()
            self._hear(signal.SIGWINCH)
        else:
            self._asked += number in ENDS
            self._keys.leaving |= self._asked >= IMPATIENT  # it does not end of them
            try:
                self._guest.signal(number)
            except Refusal:  # it has ended, which is read next
                pass


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
