"""Which addresses stay near to each other, from one time around a loop to the next."""

from __future__ import annotations

from collections.abc import Iterable

from auberge.bits.bits import Bits, signed
from auberge.engine.explore import Step
from auberge.isa.hart import PC, ZERO, Spy
from auberge.isa.spec import Cell, Isa

NEAR = 1 << 32  # bytes: known distances from an address, within which others are near to it


def near(va: Bits) -> tuple[Bits, int]:
    """What an address is near, and how far it is from that: the distances that are known."""
    distance = 0
    while va.op == "add" and va.args[1].value is not None:
        further = distance + signed(va.args[1].value, 64)
        if not -NEAR < further < NEAR:
            break
        va, distance = va.args[0], further
    return va, distance


class Drift(Spy):
    """Which registers one instruction sets to anything but an address plus a known distance."""

    def __init__(self, isa: Isa, step: Step) -> None:
        self.addresses: set[Bits] = set()
        self.others: set[str] = set()
        super().__init__(isa, lambda h, *_: step.execute(h))

    @classmethod
    def of_all(cls, isa: Isa, steps: Iterable[Step]) -> set[str]:
        """Those that any of the instructions sets so."""
        return set[str]().union(*(cls(isa, step).others for step in steps))

    def read(self, cell: Cell) -> Bits:
        return self.address() if cell == PC else self.unknown()

    def read_register(self, file: str, i: Bits) -> Bits:
        return self.address() if int(i) else ZERO

    def address(self) -> Bits:
        new = self.unknown()
        self.addresses.add(new)
        return new

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        base, _ = near(v)
        if base.value is None and base not in self.addresses:
            self.others.add(f"{file}{int(i)}")
