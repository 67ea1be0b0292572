"""A board for directed tests: assembly, a hart, RAM and tables, on any engine."""

import struct
from collections.abc import Callable
from functools import partial

from auberge.engine.choose import Engine, choose
from auberge.engine.clock import Clock, ManualClock
from auberge.engine.exits import Exit, Idle, Spent
from auberge.engine.lockstep import first_difference
from auberge.engine.state import HartState
from auberge.isa.assembler import assembly
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram
from tests.engine import eager, regions

BASE, SIZE = 0x8000_0000, 1 << 20
CODE, DATA, TABLES = BASE, BASE + 0x4_0000, BASE + 0x8_0000
DEVICE = 0x1000_0000
PAGE = 4096
XL = 2 << 34 | 2 << 32
FS = 3 << 13
ENGINES = ("reference", "interpreter", regions.NAME, eager.NAME)
V, R, W, X, U, G, A, D = (1 << n for n in range(8))
RWX = V | R | W | X | A | D
SV39 = 8 << 60 | TABLES >> 12
ASID = 44


class Board:
    """In M-mode at the start of `text`; PMP is open. Cells may be given as labels of the text.

    A text ends in `wfi`: with mie clear, that is `Idle(None)`.
    """

    def __init__(
        self,
        engine: str,
        text: str,
        clock: Callable[[], Clock] = ManualClock,
        setup: Callable[["Board"], None] | None = None,
        **cells: int | str,
    ) -> None:
        kind = choose(engine)
        self.hart: HartState = kind.hart(0)
        self.ram = Ram(BASE, SIZE)
        self.clock = clock()
        self.engine: Engine = kind.engine(self.hart, self.ram, self.clock)
        program = assembly(rv64, text, CODE)
        self.labels = program.symbols
        self.ram.write(CODE, program.code)
        self.next_table = TABLES + PAGE
        opened: dict[str, int | str] = {"pc": CODE, "pmpcfg0": 0x1F, "pmpaddr0": (1 << 54) - 1}
        for name, value in (opened | cells).items():
            self.hart[name] = self.labels[value] if isinstance(value, str) else value
        if setup:
            setup(self)

    def __getitem__(self, name: str) -> int:
        """A cell, or an integer register by its ABI name."""
        return self.hart.x[ABI.index(name)] if name in ABI else self.hart[name]

    def __setitem__(self, name: str, value: int) -> None:
        if name in ABI:
            self.hart.x[ABI.index(name)] = value
        else:
            self.hart[name] = value

    def word(self, at: int, size: int = 8) -> int:
        return int.from_bytes(self.ram.read(at, size), "little")

    def put(self, at: int, value: int, size: int = 8) -> None:
        self.ram.write(at, value.to_bytes(size, "little"))

    def map(self, va: int, pa: int, flags: int = RWX, level: int = 0, root: int = TABLES) -> int:
        """Have an Sv39 leaf at that level map `va`; gives the address of the entry."""
        table = root
        for above in range(2, level, -1):
            at = table + 8 * (va >> 12 + 9 * above & 511)
            if not self.word(at):
                self.put(at, self.next_table >> 2 | V)
                self.next_table += PAGE
            table = self.word(at) << 2 & ~0xFFF
        at = table + 8 * (va >> 12 + 9 * level & 511)
        self.put(at, pa >> 2 | flags)
        return at

    def run(self, budget: int) -> Exit:
        """Retire at most `budget` instructions."""
        return self.engine.run(budget)

    def exit(self, limit: int = 100_000) -> Exit:
        """Run to the next exit that is not the end of a budget; there is one."""
        out = self.run(limit)
        assert not isinstance(out, Spent), f"{limit} instructions, and no end"
        return out

    def finish(self) -> "Board":
        """Run to the `wfi` at the end."""
        assert self.exit() == Idle(None)
        return self


ABI = ("zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
       "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6").split()  # fmt: skip


def finished(
    text: str,
    clock: Callable[[], Clock] = ManualClock,
    setup: Callable[[Board], None] | None = None,
    **cells: int | str,
) -> Board:
    """Run `text` to its `wfi` on each engine, in lockstep with the reference; then a board."""

    def make(engine: str) -> Board:
        return Board(engine, text, clock, setup, **cells)

    for engine in ENGINES[1:]:
        makers = partial(make, "reference"), partial(make, engine)
        wrong = first_difference(*makers, 20_000, stride=64)
        assert wrong is None, f"{engine}: {wrong}\n{wrong.pc:#x}: {disassemble(rv64, wrong.word)}"
    return make("interpreter").finish()


def quads(*values: int) -> bytes:
    """Doublewords, as memory has them."""
    return struct.pack(f"<{len(values)}Q", *values)
