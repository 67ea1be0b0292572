"""Which code makes up a region: instructions that are reached from one, without leaving its page.

A region has one entry. It ends where a call, an indirect jump, the end of the page, or what is
not plain would lead on: that a region of its own, or is interpreted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from auberge.bits.bits import Bits, signed
from auberge.engine.access import Watched
from auberge.isa.hart import PC, ZERO, Place, Spy
from auberge.isa.spec import Cell, Csr, Form, Insn, Isa, Part

PAGE = 4096
STEADY_ROUNDING = (0, 7)  # to nearest, as frm has it where regions run; and "the one in frm"
LIMIT = 128  # instructions of a region


class Manner(Spy):
    """How an instruction behaves, seen in a dry run."""

    def __init__(self, isa: Isa, insn: Insn, watched: Watched, steady: Steady) -> None:
        self.depth, self.is_plain = 0, True
        self.jumps = self.branches = self.rounds = False
        self.steady = steady
        self.uses_steady = False
        names = insn.encoding.operands
        super().__init__(isa, lambda h, *_: insn.execute(h, **self.operands(insn)))
        each = (watched.walk, watched.rare, watched.interrupt, watched.timers)
        self.is_plain &= not any(self.touches(cells) for cells in each)
        self.goes_to = "offset" in names

    def operands(self, insn: Insn) -> dict[str, Bits]:
        """Operands of which nothing is known."""
        return {name: self.unknown(o.width) for name, o in insn.encoding.operands.items()}

    def __getitem__(self, place: Place | Cell | Part | Csr) -> Bits:
        self.uses_steady |= is_steady(place, self.steady)
        return super().__getitem__(place)

    def __setitem__(self, place: Place | Cell | Part | Csr, v: Bits) -> None:
        if is_steady(place, self.steady):
            self.uses_steady = True
        else:
            super().__setitem__(place, v)

    def write(self, cell: Cell, v: Bits) -> None:
        if cell == PC:
            self.branches |= self.depth > 0
            self.jumps |= self.depth == 0

    @contextmanager
    def when(self, cond: Bits) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        self.is_plain &= self.depth > 0

    def fpu(self, op: str, fmt: int, rm: Bits, *operands: Bits) -> Bits:
        self.rounds |= not op.startswith("to_")
        return super().fpu(op, fmt, rm, *operands)

    def retire(self) -> None:
        self.is_plain = False

    def call(self, routine: str, *args: Bits) -> Bits:
        self.is_plain = False
        return super().call(routine, *args)

    def wait(self) -> None:
        self.is_plain = False

    def flush(self, va: Bits | None = None) -> None:
        self.is_plain = False

    def fence_i(self) -> None:
        self.is_plain = False

    def time(self) -> Bits:
        self.is_plain = False
        return super().time()

    def retired(self) -> Bits:
        self.is_plain = False
        return super().retired()


Steady = dict[tuple[Cell, int, int], int]
"""Parts of cells that no plain instruction changes, and what a region takes them to be."""


def is_steady(place: Place, steady: Steady) -> bool:
    """Whether this place is one of them."""
    return (place.cell, place.hi, place.lo) in steady


class Step(NamedTuple):
    """One instruction of a region, at `offset` in its page."""

    offset: int
    form: Form
    word: int
    manner: Manner

    @property
    def next(self) -> int:
        """The offset of what follows it."""
        return self.offset + self.form.encoding.length

    @property
    def links(self) -> bool:
        """Whether it is a call: it notes where to come back to."""
        return self.form.values(self.word).get("rd", 0) != 0

    def target(self) -> int | None:
        """The offset, within the page or beyond, that it may jump to, if that is known."""
        if not self.manner.goes_to:
            return None
        return self.offset + signed(self.form.values(self.word)["offset"] & (1 << 64) - 1, 64)


class Shape(NamedTuple):
    """The instructions of a region by their offsets, and which of them begin a block."""

    steps: dict[int, Step]
    starts: list[int]
    ends: set[int]  # where it was to end: behind instructions that are not plain, at the limit

    def neighbours(self) -> list[int]:
        """Where in the page code goes on that may be as hot.

        That is where calls lead, and come back to; and behind what ends a region.
        """
        found = set(self.ends)
        for step in self.steps.values():
            if step.manner.jumps and step.links:
                target = step.target()
                found |= {step.next} if target is None else {step.next, target}
        return sorted(offset for offset in found if 0 <= offset < PAGE)


class Explorer:
    """Finds regions in pages of code."""

    def __init__(self, isa: Isa, watched: Watched, steady: Steady) -> None:
        self.isa, self.watched, self.steady = isa, watched, steady
        self.manners: dict[str, Manner] = {}

    def manner(self, insn: Insn) -> Manner:
        """How an instruction behaves."""
        if insn.name not in self.manners:
            self.manners[insn.name] = Manner(self.isa, insn, self.watched, self.steady)
        return self.manners[insn.name]

    def step(self, page: bytes, offset: int) -> Step | None:
        """The instruction there, if it may be part of a region."""
        word = int.from_bytes(page[offset : offset + 4], "little")
        if word & 3 != 3:
            word &= 0xFFFF
        elif offset + 4 > PAGE:
            return None
        form = self.isa.decode(word)
        if form is None:
            return None
        manner = self.manner(form.insn)
        if manner.rounds and form.values(word).get("rm", 0) not in STEADY_ROUNDING:
            return None
        return Step(offset, form, word, manner) if manner.is_plain else None

    def shape(
        self, page: bytes, entry: int, others: Collection[int] = (), limit: int = LIMIT
    ) -> Shape:
        """The region that begins at `entry`; one without steps, if that is not plain.

        It does not go on where one of the `others` begins.
        """
        steps: dict[int, Step] = {}
        others = frozenset(others) - {entry}
        starts, todo = {entry}, deque([entry])
        ends: set[int] = set()
        while todo:
            offset = todo.popleft()
            while offset < PAGE and offset not in steps and offset not in others:
                if len(steps) == limit:
                    ends.add(offset)
                    break
                step = self.step(page, offset)
                if step is None:
                    ends.add(offset + (4 if page[offset] & 3 == 3 else 2))
                    break
                steps[offset] = step
                follows = following(step)
                if step.manner.jumps or step.manner.branches:
                    starts.update(follows)
                    todo.extend(follows)
                    break
                offset = step.next
        return Shape(steps, sorted(starts & steps.keys()), ends)


def following(step: Step) -> list[int]:
    """Where a region goes on after a step: not into calls."""
    manner, target = step.manner, step.target()
    inside = [] if target is None or not 0 <= target < PAGE else [target]
    if manner.jumps:
        return [] if step.links else inside
    return [step.next, *inside] if manner.branches else [step.next]
