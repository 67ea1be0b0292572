"""A bell that wakes the one thread that waits for it."""

import threading

LONGEST_WAIT = 3600.0
"""Seconds; whoever waits looks again then. A host may refuse to wait for a guest's centuries."""

SIGNALS = 0.5
"""Seconds after which Python's own signal handlers are heard at the latest, while nothing rings."""


class Bell:
    """Rung from any thread; a ring that nobody waits for is kept, and several are one."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held means silent
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the waiter, or the next one at once; never waits."""
        try:
            self._lock.release()
        except RuntimeError:  # it was rung already
            pass

    def wait(self, seconds: float | None = None) -> None:
        """Return when the bell has been rung since the last wait, or after `seconds`."""
        if seconds is None:
            # Not in one piece: a signal that comes just before would be handled only after it.
            while not self._lock.acquire(timeout=SIGNALS):
                pass
        elif seconds > 0:
            self._lock.acquire(timeout=min(seconds, LONGEST_WAIT))
        else:
            self._lock.acquire(blocking=False)
