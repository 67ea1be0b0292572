"""The guest's console on our stdin and stdout: raw on a terminal, and put back on every way out."""

import os
import select
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from auberge.cli.escape import HELP, LEAVE, LEGEND, Escape

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HEARD = (*ENDS, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)

TYPED_AHEAD = 1 << 16
"""Bytes that may wait for the guest; whoever pipes more into us waits."""

CHUNK = select.PIPE_BUF
"""A pipe that polls as writable takes this much without blocking (pipe(7))."""

QUIT = b"\0"  # no signal has this number

PATIENCE = 100
"""Milliseconds until a full guest or a full pipe is looked at again."""

LONGEST_WAIT = 3_600_000.0
"""Milliseconds; a host may refuse to wait for the end of a guest that may run for years."""


class Guest(NamedTuple):
    """What a terminal needs of the machine behind it; all for any thread."""

    type: Callable[[bytes], None]
    waiting: Callable[[], int]  # bytes typed that the guest has not taken
    resize: Callable[[int, int], None]  # columns, rows
    leave: Callable[[], None]  # end the run soon; asked again until it has, if the machine agrees


class Terminal:
    """Two descriptors, `keys` and `screen`; `with terminal.serving(guest):` joins them to a guest.

    A thread of its own does the reading. Signals reach it through a pipe, because Python's handlers
    wait for the main thread, which may be inside the guest for long. A second signal or Ctrl-A X,
    when the first has not ended the run, ends the process at once.
    """

    def __init__(self, keys: int = 0, screen: int = 1) -> None:
        self._keys = keys
        self._screen = screen
        self._guest: Guest | None = None
        self._saved: list[int | list[bytes | int]] | None = None
        self._paper: int | None = None
        self._escape = Escape()
        self._leaving = False
        self._late = False
        self.is_terminal = os.isatty(keys)
        self.signal = 0
        """The signal that ended the run, if one did."""
        self.failure: OSError | None = None
        """Why nothing can be written any more, if so."""

    # -- the screen -----------------------------------------------------------------------------

    def size(self) -> tuple[int, int] | None:
        """Columns and rows; None if this is not a terminal or it does not know."""
        for descriptor in (self._screen, self._keys):
            try:
                columns, rows = os.get_terminal_size(descriptor)
            except OSError:
                continue
            if columns and rows:
                return columns, rows
        return None

    def write(self, data: bytes, waits: bool = True) -> None:
        """Show what the guest printed; if nobody reads it any more, ask the run to end.

        Whoever prints more than is read waits here, and with it the guest; but not for longer than
        the run may last. What then cannot be written is lost. The thread that hears signals
        never `waits`: it would not hear the one that ends that.
        """
        screen = self._screen if self._paper is None else self._paper
        ready = select.poll()
        ready.register(screen, select.POLLOUT)
        while data and self.failure is None:
            if not ready.poll(PATIENCE):
                if self._leaving or self._late or not waits:
                    return
                continue
            try:
                data = data[os.write(screen, data[:CHUNK]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                self.failure = error
                self._leave()

    # -- raw mode -------------------------------------------------------------------------------

    def _raw(self) -> None:
        """cfmakeraw(3): every key is the guest's, and so is every byte on the screen."""
        if not self.is_terminal:
            return
        try:
            mode = termios.tcgetattr(self._keys)
            if self._saved is None:
                self._saved = [*mode[:6], list(mode[6])]
            mode[0] &= ~(
                termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
                | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
            )  # fmt: skip
            mode[1] &= ~termios.OPOST
            mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            mode[3] &= ~(
                termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
            )
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._keys, termios.TCSANOW, mode)
        except termios.error:  # it hung up
            pass

    def _restore(self) -> None:
        if self._saved is None:
            return
        try:
            termios.tcsetattr(self._keys, termios.TCSANOW, self._saved)
        except termios.error:  # it hung up
            pass

    # -- serving --------------------------------------------------------------------------------

    @contextmanager
    def serving(self, guest: Guest, timeout: float | None = None) -> Iterator[None]:
        """A context in which keys reach `guest`; afterwards everything is as it was before.

        After `timeout` seconds `write` waits for nobody any more, so that the run can end.
        """
        self._guest = guest
        deadline = None if timeout is None else time.monotonic() + timeout
        self._paper = _without_waiting(self._screen)
        heard, told = os.pipe()
        os.set_blocking(told, False)
        wakeup = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        # All that matters is the byte in the pipe.
        handlers = [(number, signal.signal(number, lambda *_: None)) for number in HEARD]
        listener = threading.Thread(
            target=self._listen, args=(heard, deadline), name="terminal", daemon=True
        )
        try:
            self._raw()
            listener.start()
            yield
        finally:
            if listener.ident is not None:
                _tell(told, QUIT)
                listener.join()
            self._restore()
            signal.set_wakeup_fd(wakeup)
            for number, handler in handlers:
                signal.signal(number, handler)
            os.close(heard)
            os.close(told)
            if self._paper is not None:
                os.close(self._paper)
                self._paper = None

    def _leave(self) -> None:
        self._leaving = True
        if self._guest is not None:
            self._guest.leave()

    def _hear(self, number: int) -> None:
        if number in ENDS:
            self._end(number)
        elif number == signal.SIGTSTP:
            self._restore()
            os.kill(os.getpid(), signal.SIGSTOP)
        elif number == signal.SIGCONT:
            self._raw()
            self._resized()
        elif number == signal.SIGWINCH:
            self._resized()

    def _end(self, number: int) -> None:
        if self._leaving:
            self._restore()
            os._exit(128 + number)
        self.signal = number
        self._leave()

    def _resized(self) -> None:
        size = self.size()
        if self._guest is not None and size is not None:
            self._guest.resize(*size)

    def _take(self) -> bool:
        """Pass on what was typed; say whether more may come."""
        try:
            typed = os.read(self._keys, CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            typed = b""
        if not typed:
            if self.is_terminal:  # it hung up, and whoever should have been told was not us
                self._end(signal.SIGHUP)
            return False
        ours = b""
        if self.is_terminal:
            typed, ours = self._escape.split(typed)
        if typed and self._guest is not None:
            self._guest.type(typed)
        for command in ours:
            if command == LEAVE:
                self._end(0)  # first: perhaps nobody reads what is written
                self.write(b"\r\n")  # where the shell's prompt will be
            elif command == HELP:
                self.write(LEGEND.encode(), waits=False)
        return True

    def _listen(self, signals: int, deadline: float | None) -> None:
        """The thread: until `QUIT` comes out of `signals`."""
        ready = select.poll()
        ready.register(signals, select.POLLIN)
        open_ended = True
        while True:
            full = self._guest is not None and self._guest.waiting() >= TYPED_AHEAD
            if open_ended and not full:
                ready.register(self._keys, select.POLLIN)
            events = dict(ready.poll(self._patience(full or self._leaving, deadline)))
            if self._leaving and not events:  # the run may not have begun when it was asked to end
                self._leave()
            if signals in events:
                for number in os.read(signals, 64):
                    if number == QUIT[0]:
                        return
                    self._hear(number)
            if self._keys in events:
                open_ended = self._take()
                ready.unregister(self._keys)

    def _patience(self, full: bool, deadline: float | None) -> float | None:
        """Milliseconds to listen; notes that `deadline` has come."""
        if deadline is not None and not self._late:
            left = max(0.0, 1000 * (deadline - time.monotonic()))
            self._late = not left
            if left:
                return min(left, PATIENCE if full else LONGEST_WAIT)
        return PATIENCE if full else None


def _tell(told: int, what: bytes) -> None:
    """Write into the pipe of signals, which a storm of them may have filled: it is being read."""
    while True:
        try:
            os.write(told, what)
            return
        except BlockingIOError:
            time.sleep(PATIENCE / 1000)


def _without_waiting(screen: int) -> int | None:
    """Another descriptor of a terminal, on which writing never waits; None if there is none.

    A terminal that polls as writable may take less than is written, and then waits; to set
    O_NONBLOCK on the descriptor that we were given would set it for our shell too.
    """
    try:
        name = os.ttyname(screen)
        return os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
