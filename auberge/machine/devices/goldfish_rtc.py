"""The Goldfish real-time clock: nanoseconds since 1970, with an alarm."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from auberge.machine.device import Line, Property

TIME_LOW = 0x00  # reading it latches TIME_HIGH
TIME_HIGH = 0x04
ALARM_LOW = 0x08  # writing it arms the alarm, so ALARM_HIGH comes first
ALARM_HIGH = 0x0C
IRQ_ENABLED = 0x10
CLEAR_ALARM = 0x14
ALARM_STATUS = 0x18
CLEAR_INTERRUPT = 0x1C

_LOW = 0xFFFF_FFFF
_WORD = 0xFFFF_FFFF_FFFF_FFFF


class RtcState(NamedTuple):
    """What the clock adds to the host's time, what it latched, and its alarm."""

    offset: int = 0
    time_high: int = 0
    alarm: int = 0
    armed: bool = False
    pending: bool = False
    enabled: bool = False


RESET = RtcState()


class GoldfishRtc:
    """A clock of 64-bit nanoseconds that reads `now_ns` plus what the guest has set.

    Source: "Goldfish virtual platform" (Android), RTC; hw/rtc/goldfish_rtc.c of QEMU.
    The machine calls `tick` when `now_ns` reaches `deadline()`.
    """

    __slots__ = (
        "_irq", "_now_ns", "_offset", "_time_high", "_alarm", "_armed", "_pending", "_enabled"
    )  # fmt: skip

    size = 0x1000
    widths = frozenset({4})
    compatible = "google,goldfish-rtc"

    def __init__(self, irq: Line, now_ns: Callable[[], int], state: RtcState = RESET) -> None:
        self._irq = irq
        self._now_ns = now_ns
        (
            self._offset,
            self._time_high,
            self._alarm,
            self._armed,
            self._pending,
            self._enabled,
        ) = state
        if self._pending and self._enabled:
            irq(True)

    @property
    def state(self) -> RtcState:
        return RtcState(
            self._offset, self._time_high, self._alarm, self._armed, self._pending, self._enabled
        )

    def properties(self) -> Mapping[str, Property]:
        return {}

    def deadline(self) -> int | None:
        """When, on the scale of `now_ns`, the alarm is to ring; None while no alarm is armed."""
        return self._alarm - self._offset if self._armed else None

    def tick(self) -> None:
        """Ring the alarm if its time has come; early or needless calls do nothing."""
        if self._armed and self._time() >= self._alarm:
            self._armed = False
            self._pending = True
            self._irq(self._enabled)

    def read(self, offset: int, width: int) -> int:
        if offset == TIME_LOW:
            time = self._time()
            self._time_high = time >> 32
            return time & _LOW
        if offset == TIME_HIGH:
            return self._time_high
        if offset == ALARM_LOW:
            return self._alarm & _LOW
        if offset == ALARM_HIGH:
            return self._alarm >> 32
        if offset == IRQ_ENABLED:
            return int(self._enabled)
        if offset == ALARM_STATUS:
            self.tick()
            return int(self._armed)
        return 0

    def write(self, offset: int, width: int, value: int) -> None:
        if offset == TIME_LOW:
            self._set_time(self._time() & ~_LOW | value)
        elif offset == TIME_HIGH:
            self._set_time(self._time() & _LOW | value << 32)
        elif offset == ALARM_LOW:
            self._alarm = self._alarm & ~_LOW | value
            self._armed = True
            self.tick()
        elif offset == ALARM_HIGH:
            self._alarm = self._alarm & _LOW | value << 32
        elif offset == IRQ_ENABLED:
            self._enabled = bool(value & 1)
            self._irq(self._pending and self._enabled)
        elif offset == CLEAR_ALARM:
            self._armed = False
        elif offset == CLEAR_INTERRUPT:
            self._pending = False
            self._irq(False)

    def _time(self) -> int:
        return self._now_ns() + self._offset & _WORD

    def _set_time(self, time: int) -> None:
        self._offset = time - self._now_ns()
        self.tick()
