"""Zicsr. Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411.

Who may use a CSR, what it holds and what a write does to it is in the routines `csr_read(number)`
and `csr_write(number, value, mask)`, which answer the value before and trap before any effect.
"""

from auberge.bits.bits import Bits, const
from auberge.isa.hart import ZERO, Hart
from auberge.isa.riscv.base import rv64

ONES = const(-1, 64)

zicsr = rv64.extension("Zicsr", "2.0", "Control and Status Register Instructions")


# 7.1 CSR Instructions: which of the forms read, and which write
def write(h: Hart, rd: Bits, csr: Bits, value: Bits) -> None:
    """Always writes. "If rd=x0, [it] shall not read the CSR": a read has no effect of its own."""
    h.x[rd] = h.call("csr_write", csr.zext(64), value, ONES)


def modify(h: Hart, rd: Bits, csr: Bits, operand: Bits, mask: Bits, value: Bits) -> None:
    """Always reads; where the operand's field is zero, it "will not write to the CSR at all"."""
    number, writes = csr.zext(64), operand.ne(0)
    read = h.either(~writes, lambda: h.call("csr_read", number), ZERO)
    h.x[rd] = h.either(writes, lambda: h.call("csr_write", number, value, mask), read)


@zicsr.insn("csr rs1 001 rd 1110011", "csrrw {rd}, {csr}, {rs1}")
def csrrw(h: Hart, rd: Bits, csr: Bits, rs1: Bits) -> None:
    write(h, rd, csr, h.x[rs1])


@zicsr.insn("csr rs1 010 rd 1110011", "csrrs {rd}, {csr}, {rs1}")
def csrrs(h: Hart, rd: Bits, csr: Bits, rs1: Bits) -> None:
    modify(h, rd, csr, rs1, h.x[rs1], ONES)


@zicsr.insn("csr rs1 011 rd 1110011", "csrrc {rd}, {csr}, {rs1}")
def csrrc(h: Hart, rd: Bits, csr: Bits, rs1: Bits) -> None:
    modify(h, rd, csr, rs1, h.x[rs1], ZERO)


@zicsr.insn("csr uimm[4:0] 101 rd 1110011", "csrrwi {rd}, {csr}, {uimm}")
def csrrwi(h: Hart, rd: Bits, csr: Bits, uimm: Bits) -> None:
    write(h, rd, csr, uimm)


@zicsr.insn("csr uimm[4:0] 110 rd 1110011", "csrrsi {rd}, {csr}, {uimm}")
def csrrsi(h: Hart, rd: Bits, csr: Bits, uimm: Bits) -> None:
    modify(h, rd, csr, uimm, uimm, ONES)


@zicsr.insn("csr uimm[4:0] 111 rd 1110011", "csrrci {rd}, {csr}, {uimm}")
def csrrci(h: Hart, rd: Bits, csr: Bits, uimm: Bits) -> None:
    modify(h, rd, csr, uimm, uimm, ZERO)


# 7.1: assembler pseudoinstructions
zicsr.alias("csrr {rd}, {csr}", "csrrs {rd}, {csr}, x0")
zicsr.alias("csrw {csr}, {rs1}", "csrrw x0, {csr}, {rs1}")
zicsr.alias("csrs {csr}, {rs1}", "csrrs x0, {csr}, {rs1}")
zicsr.alias("csrc {csr}, {rs1}", "csrrc x0, {csr}, {rs1}")
zicsr.alias("csrwi {csr}, {uimm}", "csrrwi x0, {csr}, {uimm}")
zicsr.alias("csrsi {csr}, {uimm}", "csrrsi x0, {csr}, {uimm}")
zicsr.alias("csrci {csr}, {uimm}", "csrrci x0, {csr}, {uimm}")
zicsr.alias("rdcycle {rd}", "csrrs {rd}, cycle, x0")
zicsr.alias("rdtime {rd}", "csrrs {rd}, time, x0")
zicsr.alias("rdinstret {rd}", "csrrs {rd}, instret, x0")
