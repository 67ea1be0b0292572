"""A process that this one has started, to be waited for by several threads."""

import os
import select
import threading

from auberge.container.light import Protocol
from auberge.refusal import Refusal


class Ended(Protocol):
    """What is called once, when the process has been waited for."""

    def __call__(self) -> None: ...


class Offspring:
    """A child process. It stays a zombie until somebody waits, so its number is its own."""

    def __init__(self, pid: int, ended: Ended = lambda: None) -> None:
        self.pid = pid
        self._lock = threading.Lock()
        self._status: int | None = None
        self._ended = ended

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status, 128+N if signal N ended it; None if it runs after `timeout` seconds."""
        with self._lock:
            if self._status is not None:
                return self._status
            try:
                watch = os.pidfd_open(self.pid)
            except ProcessLookupError:
                raise self._taken() from None
        try:
            poll = select.poll()
            poll.register(watch, select.POLLIN)
            milliseconds = None if timeout is None else max(0.0, timeout) * 1000
            if not poll.poll(milliseconds):
                return None
        finally:
            os.close(watch)
        with self._lock:
            if self._status is None:
                self._reap()
            return self._status

    def _reap(self) -> None:
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            raise self._taken() from None
        code = os.waitstatus_to_exitcode(status)
        self._status = code if code >= 0 else 128 - code
        self._ended()

    def _taken(self) -> Refusal:
        return Refusal(
            f"process {self.pid}: this program has let others wait for it; "
            "do not ignore SIGCHLD, nor wait for any child"
        )

    def signal(self, number: int) -> bool:
        """Send it a signal; False if it has ended."""
        with self._lock:
            if self._status is not None:
                return False
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return False
            return True
