"""Zicond. Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411."""

from auberge.bits.bits import Bits, select
from auberge.isa.hart import ZERO, Hart
from auberge.isa.riscv.base import rv64

zicond = rv64.extension("Zicond", "1.0", "Integer Conditional Operations")


# 12.1 Instructions
@zicond.insn("0000111 rs2 rs1 101 rd 0110011", "czero.eqz {rd}, {rs1}, {rs2}")
def czero_eqz(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = select(h.x[rs2].eq(0), ZERO, h.x[rs1])


@zicond.insn("0000111 rs2 rs1 111 rd 0110011", "czero.nez {rd}, {rs1}, {rs2}")
def czero_nez(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = select(h.x[rs2].ne(0), ZERO, h.x[rs1])
