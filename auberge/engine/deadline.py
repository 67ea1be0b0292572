"""The end of a process that takes too long, by the kernel's hand: also of one that was stopped.

SIGALRM would stay pending for a process that someone has stopped (SIGSTOP); SIGKILL does not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time


class _Event(ctypes.Structure):  # sigevent(3type); the rest is of other ways to be told
    _fields_ = (
        ("value", ctypes.c_void_p), ("signal", ctypes.c_int), ("notify", ctypes.c_int),
        ("rest", ctypes.c_int * 12),
    )  # fmt: skip


class _Times(ctypes.Structure):  # itimerspec(3type): the interval, then how long from now
    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "s", "ns"))


class Deadline:
    """A timer (timer_create(2)) that kills this process, unless it is set again before.

    Raises OSError if there can be none.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = ctypes.c_void_p()
        event = _Event(signal=signal.SIGKILL)
        where = ctypes.byref(event), ctypes.byref(self._timer)
        if self._libc.timer_create(time.CLOCK_MONOTONIC, *where):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def set(self, seconds: int) -> None:
        """Be killed so long from now; 0: not at all."""
        times = _Times(s=seconds)
        if self._libc.timer_settime(self._timer, 0, ctypes.byref(times), None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
