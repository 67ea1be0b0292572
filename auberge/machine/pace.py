"""What is looked at while a hart runs, because no exit of its engine tells of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from auberge.engine.clock import NANOSECONDS, InstructionClock
from auberge.machine.outcome import PoweredOff
from auberge.memory.ram import Ram


class Alarm(Protocol):
    """A device that wants `tick` to be called at `deadline()` nanoseconds."""

    def deadline(self) -> int | None: ...
    def tick(self) -> None: ...


class Pace(Protocol):
    """A reason to interrupt `Engine.run`."""

    def budget(self) -> int:
        """How many instructions may pass before the next look."""
        ...

    def look(self) -> None:
        """Called after every exit."""
        ...

    def wake(self, deadline: int | None) -> int | None:
        """When a sleep until `deadline` ticks must end for this pace's sake."""
        ...


class Tohost:
    """Ends the machine when a test program writes an odd word to `tohost` (riscv-tests, "env/p").

    Slices grow: the end of a short program is noticed at once, and a long one is not slowed.
    """

    SHORTEST, LONGEST = 1 << 10, 1 << 20

    def __init__(self, ram: Ram, address: int, end: Callable[[PoweredOff], None]) -> None:
        self._ram, self._address, self._end = ram, address, end
        self._slice = self.SHORTEST

    def budget(self) -> int:
        """As `Pace`."""
        self._slice = min(2 * self._slice, self.LONGEST)
        return self._slice

    def look(self) -> None:
        """As `Pace`."""
        value = int.from_bytes(self._ram.read(self._address, 8), "little")
        if value & 1:
            self._end(PoweredOff(value >> 1))

    def wake(self, deadline: int | None) -> int | None:
        """As `Pace`."""
        return deadline


class InstructionAlarm:
    """Ticks an alarm at its instruction, when instructions are the clock; under `lock`.

    An alarm may be due and stay silent: a guest can have set it to a time that its clock, which
    wraps, has left behind.
    """

    LATER = 1 << 16
    """Instructions until such an alarm is looked at again."""

    def __init__(
        self,
        clock: InstructionClock,
        now_ns: Callable[[], int],
        alarm: Alarm,
        lock: AbstractContextManager[object],
    ) -> None:
        self._clock, self._now_ns, self._alarm, self._lock = clock, now_ns, alarm, lock

    def _ticks(self) -> int | None:
        """Until the alarm; not negative."""
        deadline = self._alarm.deadline()
        if deadline is None:
            return None
        return max(0, -((self._now_ns() - deadline) // NANOSECONDS))

    def budget(self) -> int:
        """As `Pace`."""
        ticks = self._ticks()
        if ticks is None:
            return 1 << 40
        return ticks << self._clock.SHIFT or self.LATER

    def look(self) -> None:
        """As `Pace`."""
        if self._ticks() == 0:
            self._tick()

    def _tick(self) -> None:
        with self._lock:  # what is typed is delivered by another thread, and interrupts too
            self._alarm.tick()

    def wake(self, deadline: int | None) -> int | None:
        """As `Pace`."""
        ticks = self._ticks()
        if ticks == 0:
            self._tick()
            return deadline if self._ticks() == 0 else self._clock.ticks()
        if ticks is None:
            return deadline
        alarm = self._clock.ticks() + ticks
        return alarm if deadline is None else min(alarm, deadline)


class Paces:
    """Several at once."""

    def __init__(self, paces: list[Pace]) -> None:
        self._paces = paces

    def budget(self) -> int:
        """As `Pace`."""
        return min(pace.budget() for pace in self._paces)

    def look(self) -> None:
        """As `Pace`."""
        for pace in self._paces:
            pace.look()

    def wake(self, deadline: int | None) -> int | None:
        """As `Pace`."""
        for pace in self._paces:
            deadline = pace.wake(deadline)
        return deadline
