"""The core-local interruptor: software interrupts and timers for machine mode."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from auberge.machine.device import Property

MSIP = 0x0000  # 4 bytes per hart
MTIMECMP = 0x4000  # 8 bytes per hart
MTIME = 0xBFF8

NEVER = 0xFFFF_FFFF_FFFF_FFFF


class HartPins(Protocol):
    """What the CLINT drives: each hart's MSIP and, on the clock's scale, its timer's deadline."""

    def set_msip(self, hart: int, level: bool) -> None: ...
    def set_mtimecmp(self, hart: int, value: int) -> None: ...


class ClintState(NamedTuple):
    """What the guest wrote; harts that are not listed have MSIP clear and no deadline."""

    offset: int = 0
    msip: tuple[bool, ...] = ()
    mtimecmp: tuple[int, ...] = ()


RESET = ClintState()


class Clint:
    """MSIP, mtimecmp and mtime for `harts` harts, in the layout of SiFive's CLINT.

    Source: SiFive FU540-C000 manual, chapter 9; RISC-V ACLINT specification (MSWI and MTIMER at
    these offsets are compatible). mtime is `now()` plus an offset, which a guest changes by writing
    mtime; the `time` CSR, served by the hart itself, keeps following the clock.
    """

    __slots__ = ("_pins", "_now", "_offset", "_msip", "_mtimecmp")

    size = 0x10000
    widths = frozenset({4, 8})
    compatible = ("sifive,clint0", "riscv,clint0")

    def __init__(
        self, pins: HartPins, now: Callable[[], int], harts: int, state: ClintState = RESET
    ) -> None:
        self._pins = pins
        self._now = now
        self._offset = state.offset
        self._msip = list(state.msip) + [False] * (harts - len(state.msip))
        self._mtimecmp = list(state.mtimecmp) + [NEVER] * (harts - len(state.mtimecmp))
        for hart in range(harts):
            pins.set_msip(hart, self._msip[hart])
        self._arm_all()

    @property
    def state(self) -> ClintState:
        return ClintState(self._offset, tuple(self._msip), tuple(self._mtimecmp))

    def properties(self) -> Mapping[str, Property]:
        return {}

    def read(self, offset: int, width: int) -> int:
        if width == 8:
            return self._read4(offset) | self._read4(offset + 4) << 32
        return self._read4(offset)

    def write(self, offset: int, width: int, value: int) -> None:
        hart, half = divmod(offset - MTIMECMP, 8)
        if 0 <= hart < len(self._mtimecmp):
            self._mtimecmp[hart] = _insert(self._mtimecmp[hart], half, width, value)
            self._arm(hart)
        elif MTIME <= offset < MTIME + 8:
            mtime = _insert(self._mtime(), offset - MTIME, width, value)
            self._offset = mtime - self._now()
            self._arm_all()
        else:
            for word in range(width // 4):
                hart = (offset - MSIP) // 4 + word
                if hart < len(self._msip):
                    self._msip[hart] = bool(value >> 32 * word & 1)
                    self._pins.set_msip(hart, self._msip[hart])

    def _read4(self, offset: int) -> int:
        hart, half = divmod(offset - MTIMECMP, 8)
        if 0 <= hart < len(self._mtimecmp):
            return self._mtimecmp[hart] >> 8 * half & 0xFFFF_FFFF
        if MTIME <= offset < MTIME + 8:
            return self._mtime() >> 8 * (offset - MTIME) & 0xFFFF_FFFF
        hart = (offset - MSIP) // 4
        return int(self._msip[hart]) if hart < len(self._msip) else 0

    def _mtime(self) -> int:
        return self._now() + self._offset & NEVER

    def _arm_all(self) -> None:
        for hart in range(len(self._mtimecmp)):
            self._arm(hart)

    def _arm(self, hart: int) -> None:
        # The hart compares with the clock, not with mtime: a deadline before the clock's zero is
        # due at once, one beyond its range never comes.
        deadline = self._mtimecmp[hart] - self._offset
        self._pins.set_mtimecmp(hart, min(max(deadline, 0), NEVER))


def _insert(word: int, byte: int, width: int, value: int) -> int:
    shift = 8 * byte
    return word & ~((1 << 8 * width) - 1 << shift) | value << shift
