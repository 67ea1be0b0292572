"""What is said to a program in a guest and what it says, through pipes, until it has ended."""

import os
import select
import time
from typing import NamedTuple

from auberge.refusal import Refusal

CHUNK = 1 << 16


class Said(NamedTuple):
    """What it wrote to its standard output and errors."""

    stdout: bytes
    stderr: bytes


class Late(Exception):
    """The time was up; `said` is what had been said until then."""

    def __init__(self, said: Said) -> None:
        super().__init__()
        self.said = said


class Conversation:
    """Three pipes: `streams` are a program's, and closed when it has them (`begun`)."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        try:
            theirs_in, self._input = self._pipe()
            self._output, theirs_out = self._pipe()
            self._errors, theirs_errors = self._pipe()
        except BaseException:
            self.close()
            raise
        self.streams = (theirs_in, theirs_out, theirs_errors)

    def _pipe(self) -> tuple[int, int]:
        both = os.pipe()
        self._open.update(both)
        return both

    def begun(self) -> None:
        """The program has its ends: ours of them are closed, so that we hear that it closes its."""
        for fd in self.streams:
            self._close(fd)

    def close(self) -> None:
        """Close what is open; can be said twice."""
        for fd in list(self._open):
            self._close(fd)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    def hold(self, said: bytes, limit: int, deadline: float | None) -> Said:
        """Say all of `said`, and hear until everyone has closed the other ends.

        Raises Late at `deadline` (time.monotonic), and Refusal if more than `limit` bytes come of
        one stream.
        """
        heard = {self._output: bytearray(), self._errors: bytearray()}
        rest = memoryview(said)
        poll = select.poll()
        for fd in heard:
            poll.register(fd, select.POLLIN)
        if rest:
            os.set_blocking(self._input, False)
            poll.register(self._input, select.POLLOUT)
        else:
            self._close(self._input)
        talking = set(heard)
        while talking:
            patience = None if deadline is None else (deadline - time.monotonic()) * 1000
            if patience is not None and patience <= 0:
                raise Late(self._both(heard))
            for fd, _ in poll.poll(patience):
                if fd == self._input:
                    rest = self._say(rest)
                    if not rest:
                        poll.unregister(fd)
                        self._close(fd)
                    continue
                data = os.read(fd, CHUNK)
                if not data:
                    poll.unregister(fd)
                    talking.remove(fd)
                heard[fd] += data
                if len(heard[fd]) > limit:
                    raise Refusal(
                        f"output: more than {limit} bytes; it was ended. Have it write to a file "
                        "of a volume, or give a higher max_output"
                    )
        return self._both(heard)

    def _say(self, rest: memoryview) -> memoryview:
        try:
            return rest[os.write(self._input, rest[:CHUNK]) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:  # nobody reads it any more, as in subprocess
            return rest[:0]

    def _both(self, heard: dict[int, bytearray]) -> Said:
        return Said(bytes(heard[self._output]), bytes(heard[self._errors]))
