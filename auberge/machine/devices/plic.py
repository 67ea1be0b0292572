"""The platform-level interrupt controller: from lines of devices to those of harts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from auberge.machine.device import Line, Property

SOURCES = 96  # source 0 does not exist
PRIORITIES = 7

PENDING = 0x1000
ENABLE = 0x2000  # 0x80 bytes per context
ENABLE_END = 0x200000
CONTEXT = 0x200000  # 0x1000 bytes per context: threshold, claim/complete

_WORDS = SOURCES // 32
_REAL = (1 << SOURCES) - 2


class PlicState(NamedTuple):
    """Sets of sources are integers with bit n for source n. Contexts not listed are as at reset."""

    priority: tuple[int, ...] = (0,) * SOURCES
    level: int = 0
    pending: int = 0
    claimed: int = 0
    enable: tuple[int, ...] = ()
    threshold: tuple[int, ...] = ()


RESET = PlicState()


class Plic:
    """95 sources with priorities 0 to 7, one context per line (on virt: M and S of each hart).

    Source: RISC-V Platform-Level Interrupt Controller Specification 1.0.0; the memory map's size
    and the number of sources are those of QEMU's board virt.
    """

    __slots__ = (
        "_lines", "_outputs", "_priority", "_level", "_pending", "_claimed", "_enable", "_threshold"
    )  # fmt: skip

    size = 0x600000
    widths = frozenset({4})
    compatible = ("sifive,plic-1.0.0", "riscv,plic0")

    def __init__(self, lines: Sequence[Line], state: PlicState = RESET) -> None:
        contexts = len(lines)
        self._lines = tuple(lines)
        self._outputs = [False] * contexts
        self._priority = list(state.priority)
        self._level = state.level
        self._pending = state.pending
        self._claimed = state.claimed
        self._enable = list(state.enable) + [0] * (contexts - len(state.enable))
        self._threshold = list(state.threshold) + [0] * (contexts - len(state.threshold))
        self._update()

    @property
    def state(self) -> PlicState:
        return PlicState(
            tuple(self._priority),
            self._level,
            self._pending,
            self._claimed,
            tuple(self._enable),
            tuple(self._threshold),
        )

    def properties(self) -> Mapping[str, Property]:
        return {
            "interrupt-controller": True,
            "#interrupt-cells": 1,
            "#address-cells": 0,
            "riscv,ndev": SOURCES - 1,
        }

    def source(self, number: int) -> Line:
        """The line of source `number`, for a device to raise and lower."""
        if not 0 < number < SOURCES:
            raise ValueError(f"plic: no source {number}; choose one of 1 to {SOURCES - 1}")
        bit = 1 << number

        def line(level: bool) -> None:
            if level:
                self._level |= bit
                # "the gateway ... will not forward another interrupt request until the interrupt is
                # completed"; once forwarded, a request stays pending even if the line falls again.
                if not (self._claimed | self._pending) & bit:
                    self._pending |= bit
                    self._update()
            else:
                self._level &= ~bit

        return line

    def read(self, offset: int, width: int) -> int:
        if offset < PENDING:
            number = offset // 4
            return self._priority[number] if number < SOURCES else 0
        if offset < ENABLE:
            word = (offset - PENDING) // 4
            return self._pending >> 32 * word & 0xFFFF_FFFF
        if offset < ENABLE_END:
            context, word = divmod((offset - ENABLE) // 4, 32)
            if context < len(self._lines) and word < _WORDS:
                return self._enable[context] >> 32 * word & 0xFFFF_FFFF
            return 0
        context, register = divmod(offset - CONTEXT, 0x1000)
        if context >= len(self._lines):
            return 0
        if register == 0:
            return self._threshold[context]
        if register == 4:
            return self._claim(context)
        return 0

    def write(self, offset: int, width: int, value: int) -> None:
        if offset < PENDING:
            number = offset // 4
            if 0 < number < SOURCES:
                self._priority[number] = value & PRIORITIES
        elif offset < ENABLE:
            return  # the pending bits belong to the gateways
        elif offset < ENABLE_END:
            context, word = divmod((offset - ENABLE) // 4, 32)
            if context >= len(self._lines) or word >= _WORDS:
                return
            others = self._enable[context] & ~(0xFFFF_FFFF << 32 * word)
            self._enable[context] = (others | value << 32 * word) & _REAL
        else:
            context, register = divmod(offset - CONTEXT, 0x1000)
            if context >= len(self._lines):
                return
            if register == 0:
                self._threshold[context] = value & PRIORITIES
            elif register == 4:
                self._complete(context, value)
        self._update()

    def _claim(self, context: int) -> int:
        """Take the pending source of highest priority, the lowest number first."""
        number = self._best(context)
        if number:
            bit = 1 << number
            self._pending &= ~bit
            self._claimed |= bit
            self._update()
        return number

    def _complete(self, context: int, number: int) -> None:
        # "If the completion ID does not match an interrupt source that is currently enabled for the
        # target, the completion is silently ignored."
        bit = 1 << number if number < SOURCES else 0
        if self._enable[context] & self._claimed & bit:
            self._claimed &= ~bit
            self._pending |= self._level & bit

    def _best(self, context: int) -> int:
        candidates = self._pending & self._enable[context]
        best = priority = 0
        while candidates:
            number = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            if self._priority[number] > priority:
                best, priority = number, self._priority[number]
        return best

    def _update(self) -> None:
        for context, line in enumerate(self._lines):
            level = self._priority[self._best(context)] > self._threshold[context]
            if level != self._outputs[context]:
                self._outputs[context] = level
                line(level)
