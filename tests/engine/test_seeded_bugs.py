"""The comparison bites: bugs planted in the native interpreter only are found, and shrunk."""

from collections.abc import Callable

import pytest

from auberge.bits.bits import Bits
from auberge.engine.cache import Entry
from auberge.engine.clock import InstructionClock
from auberge.engine.describe import layout_of
from auberge.engine.handlers import Handler
from auberge.engine.host import Host
from auberge.engine.interpreter import Interpreter, Library
from auberge.engine.llvm_text import TRAPPED
from auberge.engine.lockstep import compare
from auberge.engine.lowering import Register, Trace
from auberge.engine.module import module
from auberge.engine.state import HartState
from auberge.isa.disassembler import disassemble
from auberge.isa.hart import LOAD, STORE
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Cell
from tests.engine.world import World, nop, program

pytestmark = pytest.mark.slow
BUDGET = 150


class Planted(World):
    """A world on an interpreter of its own, which is not in the cache."""

    def __init__(self, library: Library, seed: int, words: list[int]) -> None:
        super().__init__("reference", seed, words)
        other = HartState(library.layout, {}, 0)
        for cell in library.layout.cells:
            other[cell] = self.hart[cell]
        for i in range(32):
            other.x[i], other.f[i] = self.hart.x[i], self.hart.f[i]
        self.hart, self.clock = other, InstructionClock()
        self.engine = Interpreter(library, other, self.ram, self.clock)


def differs(library: Library, seed: int, words: list[int]) -> bool:
    """Whether the planted bug shows, in a program that leaves its own code alone."""
    good, bad = World("reference", seed, words), Planted(library, seed, words)
    same_exit = good.run(BUDGET) == bad.run(BUDGET)
    return (not same_exit or bool(compare(good, bad))) and good.code_is_whole()


def found(library: Library) -> list[int]:
    """The first random program that shows it, made as short as it can be."""
    seed = next(s for s in range(300) if differs(library, s, program(s)))
    words = program(seed)
    size = len(words) // 2
    while size:  # halves first, then less: no-operations for whatever is not needed
        for at in range(0, len(words), size):
            fewer = [*words[:at], *[nop()] * len(words[at : at + size]), *words[at + size :]]
            if fewer != words and differs(library, seed, fewer):
                words = fewer
        size //= 2
    return [word for word in words if word != nop()]


# -- the bugs -----------------------------------------------------------------------------------
refill, touches = Trace.refill, Trace.touches
fail, branch, destination, store = Handler.fail, Handler.branch, Handler.destination, Handler.store
sext = Bits.sext


def refills_both(self: Trace, va: Bits, pa: Bits, access: str) -> None:
    for each in {LOAD: (LOAD, STORE)}.get(access, (access,)):
        refill(self, va, pa, each)


def keeps_the_bank(self: Trace, watched: dict[Cell, int]) -> bool:
    if watched is self.context.watched.walk:
        watched = {cell: bits for cell, bits in watched.items() if cell.name != "mstatus"}
    return touches(self, watched)


def traps_too_late(self: Handler, status: str) -> None:
    if status == str(TRAPPED):
        self.put("pc", self.low(self.next_pc))
        self.jump("@trap_stored", "%rec", "%left")
    else:
        fail(self, status)


def one_less(self: Handler, left: str) -> str:
    less = self.op(f"sub i64 {left}, 1")
    return self.op(f"select i1 {self.op(f'icmp eq i64 {left}, 0')}, i64 0, i64 {less}")


def jumps_cost_two(self: Handler, target: Bits, left: str) -> None:
    branch(self, target, one_less(self, left))


def writes_x0(self: Handler, key: Register) -> str:
    return self.register(*key) if key.file == "x" else destination(self, key)


def stores_zero_extended(self: Handler, va: Bits, size: int, v: Bits) -> None:
    store(self, va, 8 if size == 4 else size, v.zext(64) if size == 4 else v)


def loses_signs(self: Bits, width: int) -> Bits:
    return self.zext(width) if self.width == 32 and self.op == "extract" else sext(self, width)


BUGS: dict[str, tuple[type, str, Callable[..., object], int]] = {
    "a load's refill admits stores": (Trace, "refill", refills_both, 6),
    "writes of mstatus keep the TLB bank": (Trace, "touches", keeps_the_bank, 6),
    "a trap is of the next instruction": (Handler, "fail", traps_too_late, 4),
    "jumps cost two of the budget": (Handler, "branch", jumps_cost_two, 3),
    "x0 is written": (Handler, "destination", writes_x0, 3),
    "the sign of words is lost": (Bits, "sext", loses_signs, 2),
    "word stores write eight bytes": (Handler, "store", stores_zero_extended, 3),
}


def built(*patch: object) -> Library:
    """An interpreter with that bug, compiled here and now."""
    from auberge.engine.compiler import EXPORTS, compile_text  # LLVM, in this test alone

    host, layout = Host.ours(), layout_of(rv64)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(*patch)
        text = module(rv64, layout, host)
    code = compile_text(text, host, level=1)
    symbols = {name: code.symbols[name] for name in EXPORTS}
    return Library(Entry(code.text, symbols, layout.cells, {}, ""))


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_and_shrunk(bug: str) -> None:
    *patch, most = BUGS[bug]
    listing = [disassemble(rv64, word) for word in found(built(*patch))]
    assert len(listing) <= most, listing


def test_without_a_bug_nothing_is_found() -> None:
    library = built(Trace, "refill", refill)
    assert not any(differs(library, seed, program(seed)) for seed in range(20))
