"""RV64I. Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411."""

from auberge.bits.bits import Bits
from auberge.isa.hart import PC, Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.csrs import Priv

BREAKPOINT, ECALL_FROM_U = 3, 8

i = rv64.extension("I", "2.1", "Base Integer Instruction Set")


# 2.4.1 Integer Register-Immediate Instructions; 4.2.1 for the W forms and six-bit shift amounts
@i.insn("imm[11:0] rs1 000 rd 0010011", "addi {rd}, {rs1}, {imm}")
def addi(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.x[rs1] + imm


@i.insn("imm[11:0] rs1 010 rd 0010011", "slti {rd}, {rs1}, {imm}")
def slti(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.x[rs1].slt(imm).zext(64)


@i.insn("imm[11:0] rs1 011 rd 0010011", "sltiu {rd}, {rs1}, {imm}")
def sltiu(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.x[rs1].ult(imm).zext(64)


@i.insn("imm[11:0] rs1 100 rd 0010011", "xori {rd}, {rs1}, {imm}")
def xori(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.x[rs1] ^ imm


@i.insn("imm[11:0] rs1 110 rd 0010011", "ori {rd}, {rs1}, {imm}")
def ori(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.x[rs1] | imm


@i.insn("imm[11:0] rs1 111 rd 0010011", "andi {rd}, {rs1}, {imm}")
def andi(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.x[rs1] & imm


@i.insn("000000 shamt[5:0] rs1 001 rd 0010011", "slli {rd}, {rs1}, {shamt}")
def slli(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1] << shamt


@i.insn("000000 shamt[5:0] rs1 101 rd 0010011", "srli {rd}, {rs1}, {shamt}")
def srli(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1].shr(shamt)


@i.insn("010000 shamt[5:0] rs1 101 rd 0010011", "srai {rd}, {rs1}, {shamt}")
def srai(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1].sar(shamt)


@i.insn("imm[31:12] rd 0110111", "lui {rd}, {imm}")
def lui(h: Hart, rd: Bits, imm: Bits) -> None:
    h.x[rd] = imm


@i.insn("imm[31:12] rd 0010111", "auipc {rd}, {imm}")
def auipc(h: Hart, rd: Bits, imm: Bits) -> None:
    h.x[rd] = h[PC] + imm


@i.insn("imm[11:0] rs1 000 rd 0011011", "addiw {rd}, {rs1}, {imm}")
def addiw(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = (h.x[rs1] + imm)[31:0].sext(64)


@i.insn("0000000 shamt[4:0] rs1 001 rd 0011011", "slliw {rd}, {rs1}, {shamt}")
def slliw(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = (h.x[rs1][31:0] << shamt[31:0]).sext(64)


@i.insn("0000000 shamt[4:0] rs1 101 rd 0011011", "srliw {rd}, {rs1}, {shamt}")
def srliw(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].shr(shamt[31:0]).sext(64)


@i.insn("0100000 shamt[4:0] rs1 101 rd 0011011", "sraiw {rd}, {rs1}, {shamt}")
def sraiw(h: Hart, rd: Bits, rs1: Bits, shamt: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].sar(shamt[31:0]).sext(64)


# 2.4.2 Integer Register-Register Operations; 4.2.2 for the W forms. A shift uses the low bits of
# rs2: shift amounts of Bits wrap at the width, which is the same.
@i.insn("0000000 rs2 rs1 000 rd 0110011", "add {rd}, {rs1}, {rs2}")
def add(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] + h.x[rs2]


@i.insn("0100000 rs2 rs1 000 rd 0110011", "sub {rd}, {rs1}, {rs2}")
def sub(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] - h.x[rs2]


@i.insn("0000000 rs2 rs1 001 rd 0110011", "sll {rd}, {rs1}, {rs2}")
def sll(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] << h.x[rs2]


@i.insn("0000000 rs2 rs1 010 rd 0110011", "slt {rd}, {rs1}, {rs2}")
def slt(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].slt(h.x[rs2]).zext(64)


@i.insn("0000000 rs2 rs1 011 rd 0110011", "sltu {rd}, {rs1}, {rs2}")
def sltu(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].ult(h.x[rs2]).zext(64)


@i.insn("0000000 rs2 rs1 100 rd 0110011", "xor {rd}, {rs1}, {rs2}")
def xor(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] ^ h.x[rs2]


@i.insn("0000000 rs2 rs1 101 rd 0110011", "srl {rd}, {rs1}, {rs2}")
def srl(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].shr(h.x[rs2])


@i.insn("0100000 rs2 rs1 101 rd 0110011", "sra {rd}, {rs1}, {rs2}")
def sra(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1].sar(h.x[rs2])


@i.insn("0000000 rs2 rs1 110 rd 0110011", "or {rd}, {rs1}, {rs2}")
def or_(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] | h.x[rs2]


@i.insn("0000000 rs2 rs1 111 rd 0110011", "and {rd}, {rs1}, {rs2}")
def and_(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1] & h.x[rs2]


@i.insn("0000000 rs2 rs1 000 rd 0111011", "addw {rd}, {rs1}, {rs2}")
def addw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1] + h.x[rs2])[31:0].sext(64)


@i.insn("0100000 rs2 rs1 000 rd 0111011", "subw {rd}, {rs1}, {rs2}")
def subw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1] - h.x[rs2])[31:0].sext(64)


@i.insn("0000000 rs2 rs1 001 rd 0111011", "sllw {rd}, {rs1}, {rs2}")
def sllw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = (h.x[rs1][31:0] << h.x[rs2][31:0]).sext(64)


@i.insn("0000000 rs2 rs1 101 rd 0111011", "srlw {rd}, {rs1}, {rs2}")
def srlw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].shr(h.x[rs2][31:0]).sext(64)


@i.insn("0100000 rs2 rs1 101 rd 0111011", "sraw {rd}, {rs1}, {rs2}")
def sraw(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    h.x[rd] = h.x[rs1][31:0].sar(h.x[rs2][31:0]).sext(64)


# 2.5.1 Unconditional Jumps. With C, instructions are aligned to two bytes: no target is misaligned
@i.insn("offset[20|10:1|11|19:12] rd 1101111", "jal {rd}, {offset}")
def jal(h: Hart, rd: Bits, offset: Bits) -> None:
    h.x[rd] = h.next_pc
    h[PC] = h[PC] + offset


@i.insn("imm[11:0] rs1 000 rd 1100111", "jalr {rd}, {imm}({rs1})")
def jalr(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.next_pc
    # "then setting the least-significant bit of the result to zero"
    h[PC] = (h.x[rs1] + imm) & ~1


# 2.5.2 Conditional Branches
@i.insn("offset[12|10:5] rs2 rs1 000 offset[4:1|11] 1100011", "beq {rs1}, {rs2}, {offset}")
def beq(h: Hart, rs1: Bits, rs2: Bits, offset: Bits) -> None:
    with h.when(h.x[rs1].eq(h.x[rs2])):
        h[PC] = h[PC] + offset


@i.insn("offset[12|10:5] rs2 rs1 001 offset[4:1|11] 1100011", "bne {rs1}, {rs2}, {offset}")
def bne(h: Hart, rs1: Bits, rs2: Bits, offset: Bits) -> None:
    with h.when(h.x[rs1].ne(h.x[rs2])):
        h[PC] = h[PC] + offset


@i.insn("offset[12|10:5] rs2 rs1 100 offset[4:1|11] 1100011", "blt {rs1}, {rs2}, {offset}")
def blt(h: Hart, rs1: Bits, rs2: Bits, offset: Bits) -> None:
    with h.when(h.x[rs1].slt(h.x[rs2])):
        h[PC] = h[PC] + offset


@i.insn("offset[12|10:5] rs2 rs1 101 offset[4:1|11] 1100011", "bge {rs1}, {rs2}, {offset}")
def bge(h: Hart, rs1: Bits, rs2: Bits, offset: Bits) -> None:
    with h.when(h.x[rs2].sle(h.x[rs1])):
        h[PC] = h[PC] + offset


@i.insn("offset[12|10:5] rs2 rs1 110 offset[4:1|11] 1100011", "bltu {rs1}, {rs2}, {offset}")
def bltu(h: Hart, rs1: Bits, rs2: Bits, offset: Bits) -> None:
    with h.when(h.x[rs1].ult(h.x[rs2])):
        h[PC] = h[PC] + offset


@i.insn("offset[12|10:5] rs2 rs1 111 offset[4:1|11] 1100011", "bgeu {rs1}, {rs2}, {offset}")
def bgeu(h: Hart, rs1: Bits, rs2: Bits, offset: Bits) -> None:
    with h.when(h.x[rs2].ule(h.x[rs1])):
        h[PC] = h[PC] + offset


# 2.6 Load and Store Instructions; 4.3 for the doublewords
@i.insn("imm[11:0] rs1 000 rd 0000011", "lb {rd}, {imm}({rs1})")
def lb(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.load(h.x[rs1] + imm, 1).sext(64)


@i.insn("imm[11:0] rs1 001 rd 0000011", "lh {rd}, {imm}({rs1})")
def lh(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.load(h.x[rs1] + imm, 2).sext(64)


@i.insn("imm[11:0] rs1 010 rd 0000011", "lw {rd}, {imm}({rs1})")
def lw(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.load(h.x[rs1] + imm, 4).sext(64)


@i.insn("imm[11:0] rs1 011 rd 0000011", "ld {rd}, {imm}({rs1})")
def ld(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.load(h.x[rs1] + imm, 8)


@i.insn("imm[11:0] rs1 100 rd 0000011", "lbu {rd}, {imm}({rs1})")
def lbu(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.load(h.x[rs1] + imm, 1).zext(64)


@i.insn("imm[11:0] rs1 101 rd 0000011", "lhu {rd}, {imm}({rs1})")
def lhu(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.load(h.x[rs1] + imm, 2).zext(64)


@i.insn("imm[11:0] rs1 110 rd 0000011", "lwu {rd}, {imm}({rs1})")
def lwu(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    h.x[rd] = h.load(h.x[rs1] + imm, 4).zext(64)


@i.insn("imm[11:5] rs2 rs1 000 imm[4:0] 0100011", "sb {rs2}, {imm}({rs1})")
def sb(h: Hart, rs2: Bits, rs1: Bits, imm: Bits) -> None:
    h.store(h.x[rs1] + imm, 1, h.x[rs2][7:0])


@i.insn("imm[11:5] rs2 rs1 001 imm[4:0] 0100011", "sh {rs2}, {imm}({rs1})")
def sh(h: Hart, rs2: Bits, rs1: Bits, imm: Bits) -> None:
    h.store(h.x[rs1] + imm, 2, h.x[rs2][15:0])


@i.insn("imm[11:5] rs2 rs1 010 imm[4:0] 0100011", "sw {rs2}, {imm}({rs1})")
def sw(h: Hart, rs2: Bits, rs1: Bits, imm: Bits) -> None:
    h.store(h.x[rs1] + imm, 4, h.x[rs2][31:0])


@i.insn("imm[11:5] rs2 rs1 011 imm[4:0] 0100011", "sd {rs2}, {imm}({rs1})")
def sd(h: Hart, rs2: Bits, rs1: Bits, imm: Bits) -> None:
    h.store(h.x[rs1] + imm, 8, h.x[rs2])


# 2.7 Memory Ordering Instructions. "Base implementations shall treat all such reserved
# configurations as normal fences with fm=0000", and ignore rs1 and rd. FENCE.TSO, which is fm=1000,
# may be a full fence too.
@i.insn("fm pred succ _:5 000 _:5 0001111", "fence {pred}, {succ}")
def fence(h: Hart, fm: Bits, pred: Bits, succ: Bits) -> None:
    h.fence()


# 2.8 Environment Call and Breakpoints
@i.insn("000000000000 00000 000 00000 1110011", "ecall")
def ecall(h: Hart) -> None:
    h.trap(h[Priv].zext(64) + ECALL_FROM_U)


@i.insn("000000000001 00000 000 00000 1110011", "ebreak")
def ebreak(h: Hart) -> None:
    h.trap(BREAKPOINT, h[PC])


# Pseudoinstructions of The RISC-V Assembly Programmer's Manual that stand for one instruction
i.alias("nop", "addi x0, x0, 0")
i.alias("mv {rd}, {rs1}", "addi {rd}, {rs1}, 0")
i.alias("not {rd}, {rs1}", "xori {rd}, {rs1}, -1")
i.alias("neg {rd}, {rs2}", "sub {rd}, x0, {rs2}")
i.alias("negw {rd}, {rs2}", "subw {rd}, x0, {rs2}")
i.alias("sext.w {rd}, {rs1}", "addiw {rd}, {rs1}, 0")
i.alias("zext.b {rd}, {rs1}", "andi {rd}, {rs1}, 255")
i.alias("seqz {rd}, {rs1}", "sltiu {rd}, {rs1}, 1")
i.alias("snez {rd}, {rs2}", "sltu {rd}, x0, {rs2}")
i.alias("sltz {rd}, {rs1}", "slt {rd}, {rs1}, x0")
i.alias("sgtz {rd}, {rs2}", "slt {rd}, x0, {rs2}")
i.alias("sgt {rd}, {rs2}, {rs1}", "slt {rd}, {rs1}, {rs2}")
i.alias("sgtu {rd}, {rs2}, {rs1}", "sltu {rd}, {rs1}, {rs2}")
i.alias("beqz {rs1}, {offset}", "beq {rs1}, x0, {offset}")
i.alias("bnez {rs1}, {offset}", "bne {rs1}, x0, {offset}")
i.alias("blez {rs2}, {offset}", "bge x0, {rs2}, {offset}")
i.alias("bgez {rs1}, {offset}", "bge {rs1}, x0, {offset}")
i.alias("bltz {rs1}, {offset}", "blt {rs1}, x0, {offset}")
i.alias("bgtz {rs2}, {offset}", "blt x0, {rs2}, {offset}")
i.alias("bgt {rs2}, {rs1}, {offset}", "blt {rs1}, {rs2}, {offset}")
i.alias("ble {rs2}, {rs1}, {offset}", "bge {rs1}, {rs2}, {offset}")
i.alias("bgtu {rs2}, {rs1}, {offset}", "bltu {rs1}, {rs2}, {offset}")
i.alias("bleu {rs2}, {rs1}, {offset}", "bgeu {rs1}, {rs2}, {offset}")
i.alias("j {offset}", "jal x0, {offset}")
i.alias("jal {offset}", "jal x1, {offset}")
i.alias("jr {imm}({rs1})", "jalr x0, {imm}({rs1})")
i.alias("jr {rs1}", "jalr x0, 0({rs1})")
i.alias("jalr {rd}, {rs1}", "jalr {rd}, 0({rs1})")
i.alias("jalr {rd}, {rs1}, {imm}", "jalr {rd}, {imm}({rs1})")
i.alias("jalr {rs1}", "jalr x1, 0({rs1})")
i.alias("ret", "jalr x0, 0(x1)")
i.alias("fence", "fence iorw, iorw")
i.alias("fence.tso", "fence.tso rw, rw")
i.alias("pause", "fence w, 0")
