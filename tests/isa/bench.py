"""A hart on a table: one instruction at a time, and what became of it."""

from functools import cache
from typing import NamedTuple

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.describe import layout_of, steady
from auberge.engine.exits import Exit, Spent
from auberge.engine.explore import Explorer
from auberge.engine.lowering import Context
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram
from tests.engine import regions

RAM = 0x8000_0000
CODE, M_HANDLER, S_HANDLER, TABLES, DATA = (RAM + n for n in (0, 0x1000, 0x2000, 0x4000, 0x20000))
SIZE = 0x40000
U, S, M = 0, 1, 3
ALL = (1 << 64) - 1
ILLEGAL = 2
NUMBER = {csr.name: number for number, csr in rv64.csrs.items()}
A0, A1 = 10, 11
NOP = rv64["addi"].encode(rd=0, rs1=0, imm=0)


class Trap(NamedTuple):
    """An exception taken: to which mode, why, and about what."""

    to: int
    cause: int
    tval: int


@cache
def explorer() -> Explorer:
    """What knows which instructions regions have."""
    context = Context.of(rv64, layout_of(rv64), fuses=True)
    return Explorer(rv64, context.watched, steady())


def can_be_in_a_region(word: int) -> bool:
    """Whether it is plain, and goes on at what follows, unless it traps."""
    step = explorer().step(word.to_bytes(4, "little"), 0)
    return step is not None and not step.manner.jumps and not step.manner.branches


class Bench:
    """Nothing is delegated, PMP is open, and both trap handlers are nops."""

    engine_name = "reference"

    def __init__(self, **cells: int) -> None:
        self.ram, self.clock = Ram(RAM, SIZE), ManualClock(1000)
        kind = choose(self.engine_name)
        self.hart = kind.hart(0)
        self.engine = kind.engine(self.hart, self.ram, self.clock)
        open_pmp = {"pmpcfg0": 0x1F, "pmpaddr0": (1 << 54) - 1}
        defaults = {"pc": CODE, "mtvec": M_HANDLER, "stvec": S_HANDLER} | open_pmp
        for name, value in (defaults | cells).items():
            self.hart[name] = value
        for page in (CODE, M_HANDLER, S_HANDLER, DATA, DATA + 4096):
            self.ram.write(page, NOP.to_bytes(4, "little") * 1024)

    def __getitem__(self, cell: str) -> int:
        return self.hart[cell]

    def __setitem__(self, cell: str, value: int) -> None:
        """Change state as no instruction does: whatever an engine derived from it is void."""
        self.hart[cell] = value
        self.hart.request("sfence")

    def put(self, *words: int, at: int = CODE) -> None:
        """Write instructions, and have the hart stand at the first."""
        self.ram.write(at, b"".join(word.to_bytes(4, "little") for word in words))
        self.hart["pc"] = at
        self.hart.request("fence_i")

    def run(self, word: int) -> Trap | None:
        """Execute one instruction at CODE; the trap that it took."""
        self.put(word)
        if self.engine_name == regions.ALONE and can_be_in_a_region(word):
            # One is entered if more than it is left of the budget; what follows it is a nop.
            assert self.engine.run(2) == Spent()
            self.hart["pc"] -= 4
        else:
            assert self.engine.run(1) == Spent()
        return self.trap(CODE)

    def trap(self, pc: int) -> Trap | None:
        """The trap that the instruction at `pc` took, if one."""
        for mode, to in (("m", M), ("s", S)):
            handler = self.hart[mode + "tvec"] & ~3
            if self.hart["pc"] == handler and self.hart["priv"] == to:
                assert self.hart[mode + "epc"] == pc
                return Trap(to, self.hart[mode + "cause"], self.hart[mode + "tval"])
        return None

    def insn(self, name: str, **operands: int) -> Trap | None:
        """Execute one instruction by name."""
        return self.run(rv64[name].encode(**operands))

    def step(self, count: int = 1) -> Exit:
        """Go on from where the hart is."""
        return self.engine.run(count)

    def in_mode(self, priv: int) -> "Bench":
        """The same hart in another mode."""
        self.hart["priv"] = priv
        return self

    # -- CSRs by instruction, as a guest uses them ----------------------------------------------
    def write(self, csr: str | int, value: int) -> None:
        """csrw, which is legal."""
        assert self.try_write(csr, value) is None

    def read(self, csr: str | int) -> int:
        """csrr, which is legal."""
        assert self.try_read(csr) is None
        return self.hart.x[A0]

    def try_write(self, csr: str | int, value: int) -> Trap | None:
        self.hart.x[A1] = value
        return self.insn("csrrw", rd=0, csr=_number(csr), rs1=A1)

    def try_read(self, csr: str | int) -> Trap | None:
        return self.insn("csrrs", rd=A0, csr=_number(csr), rs1=0)

    def set(self, csr: str | int, mask: int) -> int:
        """csrrs: what it read."""
        self.hart.x[A1] = mask
        assert self.insn("csrrs", rd=A0, csr=_number(csr), rs1=A1) is None
        return self.hart.x[A0]

    def clear(self, csr: str | int, mask: int) -> int:
        """csrrc: what it read."""
        self.hart.x[A1] = mask
        assert self.insn("csrrc", rd=A0, csr=_number(csr), rs1=A1) is None
        return self.hart.x[A0]


def _number(csr: str | int) -> int:
    return NUMBER[csr] if isinstance(csr, str) else csr
