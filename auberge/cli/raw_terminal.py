"""Our terminal while a guest's is shown on it: raw, and put back on every way out."""

import os
import signal
import termios
import tty


class RawTerminal:
    """Standard input, if it is a terminal; a context in which every key is the guest's."""

    def __init__(self, keys: int = 0) -> None:
        self._keys = keys
        self._saved: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> "RawTerminal":
        if os.isatty(self._keys):
            mode = termios.tcgetattr(self._keys)
            self._saved = [*mode[:6], list(mode[6])]
            self._raw()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def size(self) -> tuple[int, int] | None:
        """Rows and columns; None if it is no terminal, or does not know."""
        try:
            columns, rows = os.get_terminal_size(self._keys)
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
                tty.setraw(self._keys, termios.TCSANOW)
            except termios.error:  # it hung up
                pass

    def _restore(self) -> None:
        if self._saved is not None:
            try:
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._saved)
            except termios.error:  # it hung up
                pass
