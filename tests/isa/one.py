"""One instruction, as assembly, on the reference: what it leaves in a0."""

import functools

from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import CODE, Bench

A0, A1, A2 = 10, 11, 12
MASK64 = (1 << 64) - 1


@functools.cache
def bench() -> Bench:
    """One hart for all: making one costs as much as hundreds of instructions."""
    return Bench()


def result(text: str, a1: int = 0, a2: int = 0, a0: int = 0) -> int:
    """a0 after `text` with these operands; the instruction must not trap."""
    hart = bench().hart
    for register, value in ((A0, a0), (A1, a1), (A2, a2)):
        hart.x[register] = value
    assert bench().run(int.from_bytes(assemble(rv64, text, CODE), "little")) is None, "it trapped"
    return hart.x[A0]
