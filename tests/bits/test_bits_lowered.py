"""Every operation does natively what folding does: all in one module, called through ctypes."""

import ctypes
from collections.abc import Callable

import pytest

from auberge.bits.bits import Bits, concat, const, select
from auberge.bits.rounding import to_integer
from auberge.engine.describe import layout_of
from auberge.engine.host import Host
from auberge.engine.llvm_text import METADATA
from auberge.engine.lowering import Context, Trace
from auberge.engine.module import INTRINSICS
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.arena import Arena

pytestmark = pytest.mark.slow
WIDTHS = (1, 8, 13, 32, 64)
Make = Callable[[Bits, Bits], Bits]

BINARY: dict[str, Make] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "and": lambda a, b: a & b,
    "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b, "shl": lambda a, b: a << b,
    "shr": Bits.shr, "sar": Bits.sar, "mul": Bits.mul, "eq": Bits.eq, "ne": Bits.ne,
    "ult": Bits.ult, "slt": Bits.slt, "ule": Bits.ule, "sle": Bits.sle,
    "udiv": lambda a, b: select(b.eq(0), const(-1, b.width), a.udiv(b)),
    "urem": lambda a, b: select(b.eq(0), a, a.urem(b)),
    "sdiv": lambda a, b: select(_undefined(a, b), a, a.sdiv(b)),
    "srem": lambda a, b: select(_undefined(a, b), b, a.srem(b)),
    "select": lambda a, b: select(a[0], a, b),
    "concat": lambda a, b: concat(b[0], a, b)[a.width : 1],
    "sext": lambda a, b: a.sext(64), "zext": lambda a, b: a.zext(64),
    "insert": lambda a, b: a.insert(a.width - 1, 0, b),
    "not": lambda a, b: ~a, "shl 3": lambda a, b: a << 3, "shr 70": lambda a, b: a.shr(70),
    "sar 63": lambda a, b: a.sar(63), "add -1": lambda a, b: a + -1,
}  # fmt: skip
COUNTS: dict[str, Make] = {
    "clz": lambda a, b: a.clz(), "ctz": lambda a, b: a.ctz(), "popcount": lambda a, b: a.popcount(),
}  # fmt: skip
SWAPS: dict[str, Make] = {"bswap": lambda a, b: a.bswap()}


def _undefined(a: Bits, b: Bits) -> Bits:
    return b.eq(0) | a.eq(1 << a.width - 1) & b.eq(-1)


def _rounded(op: tuple[int, bool], flags: bool) -> Make:
    def make(a: Bits, b: Bits) -> Bits:
        return to_integer(64, a, b[2:0], *op)[flags]

    return make


ROUNDS = {
    f"to_integer {width} {is_signed} {flags}": _rounded((width, is_signed), flags)
    for width in (32, 64) for is_signed in (False, True) for flags in (False, True)
}  # fmt: skip


class Function(Trace):
    """`make` as a native function of two 64-bit words, of which the low bits count."""

    def __init__(self, context: Context, name: str, make: Make, width: int) -> None:
        super().__init__(context)
        a, b = (self.leaf(64, f"%{n}")[width - 1 : 0] for n in "ab")
        result = self.low(make(a, b).zext(64))
        body = "\n".join(self.lines)
        self.text = f"define i64 @{name}(i64 %a, i64 %b) #0 {{\n{body}\nret i64 {result}\n}}\n"


def cases() -> list[tuple[str, Make, int]]:
    found = [(name, make, width) for width in WIDTHS for name, make in BINARY.items()]
    found += [(name, make, width) for width in (32, 64) for name, make in COUNTS.items()]
    found += [(name, make, width) for width in (16, 32, 64) for name, make in SWAPS.items()]
    return found + [(name, make, 64) for name, make in ROUNDS.items()]


def values(width: int) -> list[int]:
    ones = (1 << width) - 1
    floats = [
        0x3FF << 52,
        0xBFE << 52,
        0x41DF_FFFF_FFE0_0000,
        0x43E0 << 48,
        0x7FF8 << 48,
        0xFFF << 52,
    ]
    some = [0, 1, 2, 3, 4, 7, 31, 32, 33, 63, 64, 255, 1 << width - 1, (1 << width - 1) - 1, ones,
            ones - 1, 0x0123_4567_89AB_CDEF, *floats]  # fmt: skip
    return sorted({v & ones for v in some})


@pytest.mark.parametrize("level", [0, 2])
def test_lowering_means_what_folding_means(level: int) -> None:
    from auberge.engine.compiler import compile_text  # LLVM, in this test alone

    context = Context.of(rv64, layout_of(rv64), fuses=True)
    functions = [Function(context, f"f{n}", make, w) for n, (_, make, w) in enumerate(cases())]
    text = "".join(f.text for f in functions) + INTRINSICS + METADATA
    code = compile_text(text, Host.ours(), level)
    arena = Arena(len(code.text))
    base = arena.add(code.text)
    word = ctypes.c_uint64
    for n, (name, make, width) in enumerate(cases()):
        native = ctypes.CFUNCTYPE(word, word, word)(base + code.symbols[f"f{n}"])
        for a in values(width):
            for b in range(5) if name in ROUNDS else values(width):
                wanted = make(const(a, width), const(b, width)).value
                assert native(a, b) == wanted, f"{name} of {width} bits: {a:#x}, {b:#x}"
