"""M, multiplication and division.

Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411.
"""

from auberge.bits.bits import Bits, const, select
from auberge.isa.hart import Hart
from auberge.isa.riscv.base import rv64

m = rv64.extension("M", "2.0", "Integer Multiplication and Division")


# 13.1 Multiplication Operations
@m.insn("0000001 rs2 rs1 000 rd 0110011", "mul {rd}, {rs1}, {rs2}")
def mul(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].mul(h.x[rs2])


@m.insn("0000001 rs2 rs1 001 rd 0110011", "mulh {rd}, {rs1}, {rs2}")
def mulh(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].sext(128).mul(h.x[rs2].sext(128))[127:64]


@m.insn("0000001 rs2 rs1 010 rd 0110011", "mulhsu {rd}, {rs1}, {rs2}")
def mulhsu(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].sext(128).mul(h.x[rs2].zext(128))[127:64]


@m.insn("0000001 rs2 rs1 011 rd 0110011", "mulhu {rd}, {rs1}, {rs2}")
def mulhu(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].zext(128).mul(h.x[rs2].zext(128))[127:64]


@m.insn("0000001 rs2 rs1 000 rd 0111011", "mulw {rd}, {rs1}, {rs2}")
def mulw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].mul(h.x[rs2][31:0]).sext(64)


# 13.2 Division Operations. Nothing traps: a division that has no quotient divides by one
# instead, which is already the answer for the overflow (quotient the dividend, remainder zero).
def divisor(a: Bits, b: Bits) -> Bits:
    """`b`, or one where `a` has no signed quotient by it."""
    lowest = const(1 << (a.width - 1), a.width)
    return select(b.eq(0) | (a.eq(lowest) & b.eq(-1)), const(1, b.width), b)


def divisor_unsigned(b: Bits) -> Bits:
    """`b`, or one where it is zero."""
    return select(b.eq(0), const(1, b.width), b)


def quotient(a: Bits, b: Bits) -> Bits:
    return select(b.eq(0), const(-1, b.width), a.sdiv(divisor(a, b)))


def quotient_unsigned(a: Bits, b: Bits) -> Bits:
    return select(b.eq(0), const(-1, b.width), a.udiv(divisor_unsigned(b)))


def remainder(a: Bits, b: Bits) -> Bits:
    return select(b.eq(0), a, a.srem(divisor(a, b)))


def remainder_unsigned(a: Bits, b: Bits) -> Bits:
    return select(b.eq(0), a, a.urem(divisor_unsigned(b)))


@m.insn("0000001 rs2 rs1 100 rd 0110011", "div {rd}, {rs1}, {rs2}")
def div(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = quotient(h.x[rs1], h.x[rs2])


@m.insn("0000001 rs2 rs1 101 rd 0110011", "divu {rd}, {rs1}, {rs2}")
def divu(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = quotient_unsigned(h.x[rs1], h.x[rs2])


@m.insn("0000001 rs2 rs1 110 rd 0110011", "rem {rd}, {rs1}, {rs2}")
def rem(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = remainder(h.x[rs1], h.x[rs2])


@m.insn("0000001 rs2 rs1 111 rd 0110011", "remu {rd}, {rs1}, {rs2}")
def remu(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = remainder_unsigned(h.x[rs1], h.x[rs2])


@m.insn("0000001 rs2 rs1 100 rd 0111011", "divw {rd}, {rs1}, {rs2}")
def divw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = quotient(h.x[rs1][31:0], h.x[rs2][31:0]).sext(64)


@m.insn("0000001 rs2 rs1 101 rd 0111011", "divuw {rd}, {rs1}, {rs2}")
def divuw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = quotient_unsigned(h.x[rs1][31:0], h.x[rs2][31:0]).sext(64)


@m.insn("0000001 rs2 rs1 110 rd 0111011", "remw {rd}, {rs1}, {rs2}")
def remw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = remainder(h.x[rs1][31:0], h.x[rs2][31:0]).sext(64)


@m.insn("0000001 rs2 rs1 111 rd 0111011", "remuw {rd}, {rs1}, {rs2}")
def remuw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = remainder_unsigned(h.x[rs1][31:0], h.x[rs2][31:0]).sext(64)
