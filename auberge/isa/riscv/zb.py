"""Zba, Zbb and Zbs: bit manipulation.

Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411, chapter "B".
"""

from auberge.bits.bits import Bits, concat, const, select
from auberge.isa.hart import Hart
from auberge.isa.riscv.base import rv64

zba = rv64.extension("Zba", "1.0", "Address Generation")


# Zba: address generation
@zba.insn("0000100 rs2 rs1 000 rd 0111011", "add.uw {rd}, {rs1}, {rs2}")
def add_uw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].zext(64) + h.x[rs2]


@zba.insn("0010000 rs2 rs1 010 rd 0110011", "sh1add {rd}, {rs1}, {rs2}")
def sh1add(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1] << 1) + h.x[rs2]


@zba.insn("0010000 rs2 rs1 100 rd 0110011", "sh2add {rd}, {rs1}, {rs2}")
def sh2add(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1] << 2) + h.x[rs2]


@zba.insn("0010000 rs2 rs1 110 rd 0110011", "sh3add {rd}, {rs1}, {rs2}")
def sh3add(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1] << 3) + h.x[rs2]


@zba.insn("0010000 rs2 rs1 010 rd 0111011", "sh1add.uw {rd}, {rs1}, {rs2}")
def sh1add_uw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1][31:0].zext(64) << 1) + h.x[rs2]


@zba.insn("0010000 rs2 rs1 100 rd 0111011", "sh2add.uw {rd}, {rs1}, {rs2}")
def sh2add_uw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1][31:0].zext(64) << 2) + h.x[rs2]


@zba.insn("0010000 rs2 rs1 110 rd 0111011", "sh3add.uw {rd}, {rs1}, {rs2}")
def sh3add_uw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1][31:0].zext(64) << 3) + h.x[rs2]


@zba.insn("000010 shamt[5:0] rs1 001 rd 0011011", "slli.uw {rd}, {rs1}, {shamt}")
def slli_uw(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].zext(64) << shamt


zba.alias("zext.w {rd}, {rs1}", "add.uw {rd}, {rs1}, x0")


# Zbb: logical with negate
zbb = rv64.extension("Zbb", "1.0", "Basic Bit-Manipulation")


@zbb.insn("0100000 rs2 rs1 111 rd 0110011", "andn {rd}, {rs1}, {rs2}")
def andn(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] & ~h.x[rs2]


@zbb.insn("0100000 rs2 rs1 110 rd 0110011", "orn {rd}, {rs1}, {rs2}")
def orn(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] | ~h.x[rs2]


@zbb.insn("0100000 rs2 rs1 100 rd 0110011", "xnor {rd}, {rs1}, {rs2}")
def xnor(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = ~(h.x[rs1] ^ h.x[rs2])


# Zbb: count leading and trailing zeros, population. Of zero, the counts of zeros are the width.
@zbb.insn("0110000 00000 rs1 001 rd 0010011", "clz {rd}, {rs1}")
def clz(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1].clz()


@zbb.insn("0110000 00000 rs1 001 rd 0011011", "clzw {rd}, {rs1}")
def clzw(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].clz().zext(64)


@zbb.insn("0110000 00001 rs1 001 rd 0010011", "ctz {rd}, {rs1}")
def ctz(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1].ctz()


@zbb.insn("0110000 00001 rs1 001 rd 0011011", "ctzw {rd}, {rs1}")
def ctzw(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].ctz().zext(64)


@zbb.insn("0110000 00010 rs1 001 rd 0010011", "cpop {rd}, {rs1}")
def cpop(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1].popcount()


@zbb.insn("0110000 00010 rs1 001 rd 0011011", "cpopw {rd}, {rs1}")
def cpopw(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].popcount().zext(64)


# Zbb: integer minimum and maximum
@zbb.insn("0000101 rs2 rs1 110 rd 0110011", "max {rd}, {rs1}, {rs2}")
def max_(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = select(h.x[rs1].slt(h.x[rs2]), h.x[rs2], h.x[rs1])


@zbb.insn("0000101 rs2 rs1 111 rd 0110011", "maxu {rd}, {rs1}, {rs2}")
def maxu(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = select(h.x[rs1].ult(h.x[rs2]), h.x[rs2], h.x[rs1])


@zbb.insn("0000101 rs2 rs1 100 rd 0110011", "min {rd}, {rs1}, {rs2}")
def min_(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = select(h.x[rs1].slt(h.x[rs2]), h.x[rs1], h.x[rs2])


@zbb.insn("0000101 rs2 rs1 101 rd 0110011", "minu {rd}, {rs1}, {rs2}")
def minu(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = select(h.x[rs1].ult(h.x[rs2]), h.x[rs1], h.x[rs2])


# Zbb: sign and zero extension
@zbb.insn("0110000 00100 rs1 001 rd 0010011", "sext.b {rd}, {rs1}")
def sext_b(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1][7:0].sext(64)


@zbb.insn("0110000 00101 rs1 001 rd 0010011", "sext.h {rd}, {rs1}")
def sext_h(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1][15:0].sext(64)


@zbb.insn("0000100 00000 rs1 100 rd 0111011", "zext.h {rd}, {rs1}")
def zext_h(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1][15:0].zext(64)


# Zbb: bitwise rotation. Shift amounts wrap, so the other half's amount is the negated one; at zero
# both halves are the value.
def rotate_left(a: Bits, n: Bits) -> Bits:
    return (a << n) | a.shr(const(0, n.width) - n)


def rotate_right(a: Bits, n: Bits) -> Bits:
    return a.shr(n) | (a << const(0, n.width) - n)


@zbb.insn("0110000 rs2 rs1 001 rd 0110011", "rol {rd}, {rs1}, {rs2}")
def rol(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = rotate_left(h.x[rs1], h.x[rs2])


@zbb.insn("0110000 rs2 rs1 001 rd 0111011", "rolw {rd}, {rs1}, {rs2}")
def rolw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = rotate_left(h.x[rs1][31:0], h.x[rs2][31:0]).sext(64)


@zbb.insn("0110000 rs2 rs1 101 rd 0110011", "ror {rd}, {rs1}, {rs2}")
def ror(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = rotate_right(h.x[rs1], h.x[rs2])


@zbb.insn("011000 shamt[5:0] rs1 101 rd 0010011", "rori {rd}, {rs1}, {shamt}")
def rori(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = rotate_right(h.x[rs1], shamt)


@zbb.insn("0110000 shamt[4:0] rs1 101 rd 0011011", "roriw {rd}, {rs1}, {shamt}")
def roriw(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = rotate_right(h.x[rs1][31:0], shamt[31:0]).sext(64)


@zbb.insn("0110000 rs2 rs1 101 rd 0111011", "rorw {rd}, {rs1}, {rs2}")
def rorw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = rotate_right(h.x[rs1][31:0], h.x[rs2][31:0]).sext(64)


# Zbb: OR-combine and byte-reverse
@zbb.insn("001010000111 rs1 101 rd 0010011", "orc.b {rd}, {rs1}")
def orc_b(h: Hart, rd: Bits, rs1: Bits) -> None:
    source = h.x[rs1]
    h.x[rd] = concat(*(source[low + 7 : low].ne(0).sext(8) for low in range(56, -1, -8)))


@zbb.insn("011010111000 rs1 101 rd 0010011", "rev8 {rd}, {rs1}")
def rev8(h: Hart, rd: Bits, rs1: Bits) -> None:
    h.x[rd] = h.x[rs1].bswap()


# Zbs: single bits
zbs = rv64.extension("Zbs", "1.0", "Single-Bit Instructions")
ONE = const(1, 64)


@zbs.insn("0100100 rs2 rs1 001 rd 0110011", "bclr {rd}, {rs1}, {rs2}")
def bclr(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] & ~(ONE << h.x[rs2])


@zbs.insn("010010 shamt[5:0] rs1 001 rd 0010011", "bclri {rd}, {rs1}, {shamt}")
def bclri(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1] & ~(ONE << shamt)


@zbs.insn("0100100 rs2 rs1 101 rd 0110011", "bext {rd}, {rs1}, {rs2}")
def bext(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].shr(h.x[rs2]) & 1


@zbs.insn("010010 shamt[5:0] rs1 101 rd 0010011", "bexti {rd}, {rs1}, {shamt}")
def bexti(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1].shr(shamt) & 1


@zbs.insn("0110100 rs2 rs1 001 rd 0110011", "binv {rd}, {rs1}, {rs2}")
def binv(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] ^ (ONE << h.x[rs2])


@zbs.insn("011010 shamt[5:0] rs1 001 rd 0010011", "binvi {rd}, {rs1}, {shamt}")
def binvi(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1] ^ (ONE << shamt)


@zbs.insn("0010100 rs2 rs1 001 rd 0110011", "bset {rd}, {rs1}, {rs2}")
def bset(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] | (ONE << h.x[rs2])


@zbs.insn("001010 shamt[5:0] rs1 001 rd 0010011", "bseti {rd}, {rs1}, {shamt}")
def bseti(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1] | (ONE << shamt)
