"""A guest followed to its end: signals are passed on to it, and its terminal is shown on ours.

One thread waits for the guest's end; the main one, where signals arrive, waits for everything.
"""

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from auberge.cli.raw_terminal import RawTerminal
from auberge.container.light import Protocol
from auberge.refusal import Refusal

CHUNK = 1 << 16
ENDS = (signal.SIGINT, signal.SIGTERM)
IMPATIENT = 3
"""So many of ENDS, and the guest is killed: the first process of a container hears none of them
unless it has asked to."""
AGAIN = 100
"""Milliseconds after which a terminal that nobody had open is looked at again."""

OWN = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU,
    signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG, signal.SIGSEGV, signal.SIGBUS,
    signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP, signal.SIGABRT,
}  # fmt: skip
"""Not passed on (signal(7)): what only we can be told, what stops us, and our own faults."""


class Followed(Protocol):
    """A guest, or one more command in it: see guest.py."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status."""

    def signal(self, number: int) -> None:
        """Send it a signal."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""


def follow(guest: Followed, heard: int, master: int | None, keys: bool) -> None:
    """Until the guest has ended. `heard` is what `signals` gives; `master` is the guest's terminal,
    if it has one, which is closed in the end; `keys` is whether what is typed is its input. Raises
    OSError if nobody reads our output."""
    with _end_of(guest) as ended:
        if master is None:
            _Follower(guest, heard, ended).run()
            return
        try:
            with RawTerminal(keys) as terminal:
                _Shown(guest, heard, ended, master, terminal, keys).run()
        finally:
            os.close(master)


@contextmanager
def signals() -> Iterator[int]:
    """A pipe with a byte for each signal that arrives, from before there is a guest to hear it;
    afterwards all is as before."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    numbers = [n for n in signal.valid_signals() if n not in OWN and n not in (32, 33)]
    numbers += [signal.SIGWINCH, signal.SIGTSTP]
    handlers = [(number, signal.signal(number, lambda *_: None)) for number in numbers]
    try:
        yield heard
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(heard)
        os.close(told)


@contextmanager
def _end_of(guest: Followed) -> Iterator[int]:
    """A descriptor that can be read when the guest has ended."""
    ended, tells = os.pipe()

    def wait() -> None:
        try:
            guest.wait()
        finally:
            os.close(tells)

    threading.Thread(target=wait, name="end", daemon=True).start()
    try:
        yield ended
    finally:
        os.close(ended)


class _Follower:
    """Passes signals on."""

    def __init__(self, guest: Followed, heard: int, ended: int) -> None:
        self._guest, self._heard, self._ended = guest, heard, ended
        self._asked = 0
        self._poll = select.poll()
        self._poll.register(heard, select.POLLIN)
        self._poll.register(ended, select.POLLIN)

    def run(self) -> None:
        """Until the guest has ended."""
        while True:
            ready = dict(self._poll.poll(self._patience()))
            if self._heard in ready:
                for number in os.read(self._heard, 64):
                    self._hear(number)
            self._turn(ready)
            if self._ended in ready:
                return

    def _patience(self) -> int | None:
        return None

    def _turn(self, ready: dict[int, int]) -> None:
        """What else is to be done."""

    def _hear(self, number: int) -> None:
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif number != signal.SIGWINCH:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        self._asked += number in ENDS
        try:
            self._guest.signal(signal.SIGKILL if self._asked >= IMPATIENT else number)
        except Refusal:  # it has ended
            pass


class _Shown(_Follower):
    """And shows the guest's terminal."""

    def __init__(
        self,
        guest: Followed,
        heard: int,
        ended: int,
        master: int,
        terminal: RawTerminal,
        keys: bool,
    ) -> None:
        super().__init__(guest, heard, ended)
        self._master, self._terminal = master, terminal
        self._typed = b""
        self._keys = 0 if keys else -1
        self._away = False
        os.set_blocking(master, False)
        self._poll.register(master, select.POLLIN)
        if keys:
            self._poll.register(0, select.POLLIN)
        self._resize()

    def run(self) -> None:
        """Until it has ended, and all that it wrote is shown."""
        super().run()
        while self._show():
            pass

    def _patience(self) -> int | None:
        return AGAIN if self._away else None

    def _turn(self, ready: dict[int, int]) -> None:
        if self._away:
            self._away = False
            self._poll.register(self._master, select.POLLIN)
        events = ready.get(self._master, 0)
        if events & ~select.POLLOUT and not self._show() and events & select.POLLHUP:
            # nobody has its other side open; somebody may open it again
            self._poll.unregister(self._master)
            self._away = True
        if events & select.POLLOUT:
            self._type(b"")
        if self._keys in ready:
            self._take()

    def _show(self) -> bool:
        """Show what there is; whether there was anything."""
        try:
            data = os.read(self._master, CHUNK)
        except OSError:  # nothing now, or EIO: the other side is closed
            return False
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(1, rest) :]
        return bool(data)

    def _take(self) -> None:
        try:
            data = os.read(self._keys, CHUNK)
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(self._keys)
            if os.isatty(self._keys):
                self._keys = -1
                return
            data = b"\4"  # what a terminal knows as the end
            self._keys = -1
        self._type(data)

    def _type(self, data: bytes) -> None:
        """Give the guest what was typed; what it does not take waits, and so do keys."""
        self._typed += data
        try:
            self._typed = self._typed[os.write(self._master, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:  # it has ended
            self._typed = b""
        if not self._away:
            more = select.POLLOUT if self._typed else 0
            self._poll.register(self._master, select.POLLIN | more)
        if self._keys >= 0:
            self._poll.register(self._keys, 0 if self._typed else select.POLLIN)

    def _hear(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        elif number == signal.SIGTSTP:
            self._terminal.suspend()
            self._resize()
        else:
            self._pass_on(number)

    def _resize(self) -> None:
        size = self._terminal.size()
        if size is not None:
            self._guest.resize(*size)
