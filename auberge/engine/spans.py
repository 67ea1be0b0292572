"""Which accesses of a block are near to each other: whether all are in one page is asked once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from auberge.bits.bits import Bits
from auberge.engine.drift import near
from auberge.engine.explore import Step
from auberge.isa.hart import LOAD, STORE, ZERO, Spy
from auberge.isa.spec import Isa

FEWEST = 4  # accesses: the first finds the page, the second asks for the rest
WIDEST = 1024  # bytes: one span in four leaves a page, and is asked about in vain


class Span(NamedTuple):
    """Bytes from `low` to before `high`, by their distances from an address."""

    low: int
    high: int

    @property
    def width(self) -> int:
        """How many they are."""
        return self.high - self.low


class Accesses(Spy):
    """The loads and stores of instructions in a row, by what they are near to."""

    def __init__(self, isa: Isa, steps: Iterable[Step]) -> None:
        self.registers_now: dict[tuple[str, int], Bits] = {}
        self.before: dict[Bits, str] = {}  # what a register held at first: the register
        self.of: dict[tuple[Bits, str], list[tuple[int, Span]]] = {}  # offset of each instruction
        self.offset, self.steps = 0, steps
        super().__init__(isa, Accesses.follow)

    def follow(self) -> None:
        """All instructions, each with what those before it have written."""
        for step in self.steps:
            self.offset = step.offset
            step.execute(self)

    def read_register(self, file: str, i: Bits) -> Bits:
        number = int(i)
        if file == "x" and not number:
            return ZERO
        if (file, number) not in self.registers_now:
            new = self.registers_now[file, number] = self.unknown()
            self.before[new] = f"{file}{number}"
        return self.registers_now[file, number]

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        # What is written on some ways only may be either.
        self.registers_now[file, int(i)] = self.unknown() if self.depth else v

    def load(self, va: Bits, size: int) -> Bits:
        self._note(va, LOAD, size)
        return super().load(va, size)

    def store(self, va: Bits, size: int, v: Bits) -> None:
        self._note(va, STORE, size)

    def _note(self, va: Bits, access: str, size: int) -> None:
        if not self.depth:
            base, distance = near(va)
            here = self.offset, Span(distance, distance + size)
            self.of.setdefault((base, access), []).append(here)


def span_of(isa: Isa, steps: Iterable[Step]) -> tuple[int, Span] | None:
    """Where in a block to ask for what the most of its accesses span; None if it is not worth it.

    That is the offset of an instruction, and the span of what it and those after it access.
    """
    most = max(Accesses(isa, steps).of.values(), key=len, default=[])
    if len(most) < FEWEST:
        return None
    offset, span = most[1][0], span_around(most[1:])
    return (offset, span) if span.width <= WIDEST else None


def span_around(accesses: Sequence[tuple[int, Span]]) -> Span:
    """What accesses near to one address span together."""
    return Span(min(s.low for _, s in accesses), max(s.high for _, s in accesses))
