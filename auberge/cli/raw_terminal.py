"""Our terminal while a guest's is shown on it: raw, and put back on every way out."""

import os
import signal
import termios
import tty


class RawTerminal:
    """Our terminal, if there is one; a context in which what the guest writes is shown as it is,
    and every key is the guest's unless `keys` is false."""

    def __init__(self, keys: bool = True) -> None:
        self._raw_keys = keys
        self._fd = 0 if keys else 1
        self._saved: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> "RawTerminal":
        if os.isatty(self._fd):
            mode = termios.tcgetattr(self._fd)
            self._saved = [*mode[:6], list(mode[6])]
            self._raw()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def size(self) -> tuple[int, int] | None:
        """Rows and columns; None if it is no terminal, or does not know."""
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:
            return None
        return (rows, columns) if rows and columns else None

    def suspend(self) -> None:
        """Stop this process, as whoever sent SIGTSTP wants; on return it goes on."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._raw()

    def _raw(self) -> None:
        if self._saved is not None:
            try:
                if self._raw_keys:
                    tty.setraw(self._fd, termios.TCSANOW)
                else:  # its own terminal has made its lines' ends already
                    mode = termios.tcgetattr(self._fd)
                    mode[1] &= ~termios.OPOST
                    termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
            except termios.error:  # it hung up
                pass

    def _restore(self) -> None:
        if self._saved is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
            except termios.error:  # it hung up
                pass
