"""How an instruction behaves, as a region has to know: seen in a dry run, never declared."""

from __future__ import annotations

from auberge.bits.bits import Bits
from auberge.engine.access import Watched
from auberge.isa.hart import PC, ZERO, Place, Spy
from auberge.isa.spec import Cell, Csr, Insn, Isa, Part


class Manner(Spy):
    """How an instruction behaves, seen in a dry run."""

    def __init__(self, isa: Isa, insn: Insn, watched: Watched, steady: Steady) -> None:
        self.is_plain = True
        self.jumps = self.branches = self.rounds = False
        self.steady = steady
        self.uses_steady = False
        self.files: set[str] = set()  # those that it writes registers of
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

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        self.files.add(file)
        super().write_register(file, i, v)

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
