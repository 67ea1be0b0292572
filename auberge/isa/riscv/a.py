"""A, atomic instructions.

Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411.

aq and rl order nothing further: every atomic access of the engines is sequentially consistent.
"""

from collections.abc import Callable

from auberge.bits.bits import Bits, const, select
from auberge.isa.hart import LOAD, STORE, Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.csrs import RESERVED, RESERVED_VALUE

NO_RESERVATION = const(-1, 64)

a = rv64.extension("A", "2.1", "Atomic Instructions")


# 14.2 Load-Reserved/Store-Conditional Instructions. `place` traps where the address is not
# naturally aligned: address-misaligned, of a load for LR, of a store/AMO for all others.
#
# A reservation is an address and the value seen there, and SC compares and swaps: a store of the
# same value by another hart in between goes unnoticed, as it does in QEMU.
def load_reserved(h: Hart, rd: Bits, rs1: Bits, size: int) -> None:
    """Load `size` bytes and reserve their address."""
    va = h.x[rs1]
    value = h.peek(h.place(va, size, LOAD), size).sext(64)
    h[RESERVED] = va
    h[RESERVED_VALUE] = value
    h.x[rd] = value


def store_conditional(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, size: int) -> None:
    """Success or not, it "invalidates any reservation held by this hart"."""
    va = h.x[rs1]
    place = h.place(va, size, STORE)
    top = 8 * size - 1
    old, new = h[RESERVED_VALUE][top:0], h.x[rs2][top:0]
    stored = h.either(h[RESERVED].eq(va), lambda: h.swap(place, size, old, new), const(0, 1))
    h[RESERVED] = NO_RESERVATION
    h.x[rd] = (~stored).zext(64)


@a.insn("00010 aq rl 00000 rs1 010 rd 0101111", "lr.w {rd}, ({rs1})")
def lr_w(h: Hart, rd: Bits, rs1: Bits, aq: Bits, rl: Bits) -> None:
    load_reserved(h, rd, rs1, 4)


@a.insn("00010 aq rl 00000 rs1 011 rd 0101111", "lr.d {rd}, ({rs1})")
def lr_d(h: Hart, rd: Bits, rs1: Bits, aq: Bits, rl: Bits) -> None:
    load_reserved(h, rd, rs1, 8)


@a.insn("00011 aq rl rs2 rs1 010 rd 0101111", "sc.w {rd}, {rs2}, ({rs1})")
def sc_w(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, aq: Bits, rl: Bits) -> None:
    store_conditional(h, rd, rs1, rs2, 4)


@a.insn("00011 aq rl rs2 rs1 011 rd 0101111", "sc.d {rd}, {rs2}, ({rs1})")
def sc_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, aq: Bits, rl: Bits) -> None:
    store_conditional(h, rd, rs1, rs2, 8)


# 14.4 Atomic Memory Operations
Combine = Callable[[Bits, Bits], Bits]


def amo(funct5: str, name: str, combine: Combine) -> None:
    """Declare both widths of the AMO that stores `combine(old, rs2)` and answers the old value."""
    for size, funct3, suffix in ((4, "010", "w"), (8, "011", "d")):
        encoding = f"{funct5} aq rl rs2 rs1 {funct3} rd 0101111"
        a.insn(encoding, f"{name}.{suffix} {{rd}}, {{rs2}}, ({{rs1}})")(amo_text(size, combine))


def amo_text(size: int, combine: Combine) -> Callable[[Hart, Bits, Bits, Bits, Bits, Bits], None]:
    """What an AMO of `size` bytes does."""

    def text(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, aq: Bits, rl: Bits) -> None:
        place, operand = h.place(h.x[rs1], size, STORE), h.x[rs2][8 * size - 1 : 0]
        h.x[rd] = h.update(place, size, lambda old: combine(old, operand)).sext(64)

    return text


amo("00001", "amoswap", lambda old, new: new)
amo("00000", "amoadd", lambda old, new: old + new)
amo("00100", "amoxor", lambda old, new: old ^ new)
amo("01100", "amoand", lambda old, new: old & new)
amo("01000", "amoor", lambda old, new: old | new)
amo("10000", "amomin", lambda old, new: select(old.slt(new), old, new))
amo("10100", "amomax", lambda old, new: select(new.slt(old), old, new))
amo("11000", "amominu", lambda old, new: select(old.ult(new), old, new))
amo("11100", "amomaxu", lambda old, new: select(new.ult(old), old, new))
