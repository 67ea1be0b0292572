"""Loops of one block are in good code several times in a row.

Then whether a loop goes on is all that is asked each time around: for time and for pages, once for
all of them. A page is that which the loop found last, for a register that only drifts in it.
"""

from __future__ import annotations

from typing import NamedTuple

from auberge.engine.drift import Drift
from auberge.engine.explore import PAGE, Shape, Step
from auberge.engine.spans import WIDEST, Accesses, Span, span_around
from auberge.isa.spec import Isa

MOST = 4  # times; with eight, programs take as long
LONGEST = 32  # instructions in a row; with twice as many, some take a fourth more time


class Near(NamedTuple):
    """What a loop accesses near to what a register holds before it."""

    register: str  # as `x5`
    access: str
    span: Span

    @property
    def room(self) -> int:
        """In how many places of a page the span may begin."""
        return PAGE + 1 - self.span.width


class Repeat(NamedTuple):
    """A loop of one block, and how often it is to be there in a row."""

    block: list[Step]
    times: int
    near: list[Near]

    @property
    def more(self) -> int:
        """Instructions that are there only because it is repeated."""
        return len(self.block) * (self.times - 1)


def repeats_of(isa: Isa, shape: Shape) -> dict[int, Repeat]:
    """The loops of a region that are worth it, by where they begin."""
    found = {}
    for start in shape.starts:
        block = shape.block(start)
        times = min(MOST, LONGEST // len(block))
        if times > 1 and block[-1].manner.branches and block[-1].target() == start:
            found[start] = Repeat(block, times, _near(isa, block, times))
    return found


def _near(isa: Isa, block: list[Step], times: int) -> list[Near]:
    """What may be asked for once: little enough, and near to registers that only drift."""
    others = Drift.of_all(isa, block)
    accesses = Accesses(isa, block * times)
    found = []
    for (base, access), those in accesses.of.items():
        register, span = accesses.before.get(base), span_around(those)
        if register is not None and register not in others and span.width <= WIDEST:
            found.append(Near(register, access, span))
    return found
