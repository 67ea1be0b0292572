"""Keys from our stdin, while a machine runs that is on it."""

import os
import select
import sys
import threading
from collections.abc import Callable
from types import TracebackType


class StandardInput:
    """In its context, a thread hands what stdin has to `feed`; there may be no stdin."""

    def __init__(self, feed: Callable[[bytes], None]) -> None:
        self._feed = feed
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        try:
            keys = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):  # none, not a file, or closed
            return
        stopped, self._stop = os.pipe()
        self._thread = threading.Thread(
            target=self._listen, args=(keys, stopped), name="stdin", daemon=True
        )
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            os.close(self._stop)  # which makes the other end readable
            self._thread.join()

    def _listen(self, keys: int, stopped: int) -> None:
        try:
            poll = select.poll()
            poll.register(keys, select.POLLIN)
            poll.register(stopped, select.POLLIN)
            while True:
                ready = [descriptor for descriptor, _ in poll.poll()]
                if stopped in ready:
                    return
                data = os.read(keys, 4096)
                if not data:
                    poll.unregister(keys)
                self._feed(data)
        except OSError:  # it hung up: the guest runs on without keys
            pass
        finally:
            os.close(stopped)
