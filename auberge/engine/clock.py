"""Guest time, in ticks: handed to engines and devices, which never ask the host themselves."""

from __future__ import annotations

import time

FREQUENCY = 10_000_000
NANOSECONDS = 1_000_000_000 // FREQUENCY

HOST, INSTRUCTIONS, MANUAL = range(3)


class Clock:
    """`ticks()` at `FREQUENCY`. `kind` and `base` are what native code computes the same from."""

    FREQUENCY = FREQUENCY
    kind = MANUAL

    def __init__(self, base: int = 0) -> None:
        self.base = base

    def ticks(self) -> int:
        """Guest time now."""
        return self.base


class ManualClock(Clock):
    """Stands still until told otherwise: for tests, and for harts on their own."""

    def advance(self, ticks: int) -> None:
        """Let `ticks` pass."""
        self.base += ticks


class HostClock(Clock):
    """Follows the host's CLOCK_MONOTONIC (clock_gettime(2)); starts at `start` ticks."""

    kind = HOST

    def __init__(self, start: int = 0) -> None:
        super().__init__(start - time.monotonic_ns() // NANOSECONDS)

    def ticks(self) -> int:
        return time.monotonic_ns() // NANOSECONDS + self.base


class InstructionClock(Clock):
    """Counts what its one hart retires, 2**SHIFT instructions to a tick: the same on every run."""

    kind = INSTRUCTIONS
    SHIFT = 4

    def __init__(self, base: int = 0) -> None:
        super().__init__(base)
        self.spent = 0

    def ticks(self) -> int:
        return self.base + (self.spent >> self.SHIFT)

    def skip_to(self, ticks: int) -> None:
        """Let time pass in which no instruction retires: the hart sleeps."""
        self.base += max(0, ticks - self.ticks())
