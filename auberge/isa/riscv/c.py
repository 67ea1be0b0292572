"""C, compressed instructions: each is another spelling of one full instruction.

Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411, chapter "C".
What it calls reserved is left out; what it calls a HINT executes as its full form, which then has
no effect.
"""

from auberge.isa.riscv.base import rv64

c = rv64.extension("C", "2.0", "Compressed Instructions")

# Quadrant 0: Register-Based Loads and Stores, C.ADDI4SPN
c.compressed(
    "000 nzuimm[5:4|9:6|2|3] rd' 00", "c.addi4spn {rd}, x2, {uimm}", "addi {rd}, x2, {uimm}"
)
c.compressed(
    "001 uimm[5:3] rs1' uimm[7:6] rd' 00",
    "c.fld {rd:f}, {uimm}({rs1})",
    "fld {rd:f}, {uimm}({rs1})",
)
c.compressed(
    "010 uimm[5:3] rs1' uimm[2|6] rd' 00", "c.lw {rd}, {uimm}({rs1})", "lw {rd}, {uimm}({rs1})"
)
c.compressed(
    "011 uimm[5:3] rs1' uimm[7:6] rd' 00", "c.ld {rd}, {uimm}({rs1})", "ld {rd}, {uimm}({rs1})"
)
c.compressed(
    "101 uimm[5:3] rs1' uimm[7:6] rs2' 00",
    "c.fsd {rs2:f}, {uimm}({rs1})",
    "fsd {rs2:f}, {uimm}({rs1})",
)
c.compressed(
    "110 uimm[5:3] rs1' uimm[2|6] rs2' 00", "c.sw {rs2}, {uimm}({rs1})", "sw {rs2}, {uimm}({rs1})"
)
c.compressed(
    "111 uimm[5:3] rs1' uimm[7:6] rs2' 00", "c.sd {rs2}, {uimm}({rs1})", "sd {rs2}, {uimm}({rs1})"
)

# Quadrant 1: Integer Computational Instructions, Control Transfer Instructions
c.compressed("000 nzimm[5] 00000 nzimm[4:0] 01", "c.nop {imm}", "addi x0, x0, {imm}")
c.compressed("000 0 00000 00000 01", "c.nop", "addi x0, x0, 0")
c.compressed("000 imm[5] rd!=0 imm[4:0] 01", "c.addi {rd}, {imm}", "addi {rd}, {rd}, {imm}")
c.compressed("001 imm[5] rd!=0 imm[4:0] 01", "c.addiw {rd}, {imm}", "addiw {rd}, {rd}, {imm}")
c.compressed("010 imm[5] rd imm[4:0] 01", "c.li {rd}, {imm}", "addi {rd}, x0, {imm}")
c.compressed("011 nzimm[9] 00010 nzimm[4|6|8:7|5] 01", "c.addi16sp x2, {imm}", "addi x2, x2, {imm}")
c.compressed("011 nzimm[17] rd!=2 nzimm[16:12] 01", "c.lui {rd}, {imm}", "lui {rd}, {imm}")
c.compressed(
    "100 shamt[5] 00 rd' shamt[4:0] 01", "c.srli {rd}, {shamt}", "srli {rd}, {rd}, {shamt}"
)
c.compressed(
    "100 shamt[5] 01 rd' shamt[4:0] 01", "c.srai {rd}, {shamt}", "srai {rd}, {rd}, {shamt}"
)
c.compressed("100 imm[5] 10 rd' imm[4:0] 01", "c.andi {rd}, {imm}", "andi {rd}, {rd}, {imm}")
c.compressed("100 0 11 rd' 00 rs2' 01", "c.sub {rd}, {rs2}", "sub {rd}, {rd}, {rs2}")
c.compressed("100 0 11 rd' 01 rs2' 01", "c.xor {rd}, {rs2}", "xor {rd}, {rd}, {rs2}")
c.compressed("100 0 11 rd' 10 rs2' 01", "c.or {rd}, {rs2}", "or {rd}, {rd}, {rs2}")
c.compressed("100 0 11 rd' 11 rs2' 01", "c.and {rd}, {rs2}", "and {rd}, {rd}, {rs2}")
c.compressed("100 1 11 rd' 00 rs2' 01", "c.subw {rd}, {rs2}", "subw {rd}, {rd}, {rs2}")
c.compressed("100 1 11 rd' 01 rs2' 01", "c.addw {rd}, {rs2}", "addw {rd}, {rd}, {rs2}")
c.compressed("101 offset[11|4|9:8|10|6|7|3:1|5] 01", "c.j {offset}", "jal x0, {offset}")
c.compressed(
    "110 offset[8|4:3] rs1' offset[7:6|2:1|5] 01",
    "c.beqz {rs1}, {offset}",
    "beq {rs1}, x0, {offset}",
)
c.compressed(
    "111 offset[8|4:3] rs1' offset[7:6|2:1|5] 01",
    "c.bnez {rs1}, {offset}",
    "bne {rs1}, x0, {offset}",
)

# Quadrant 2: Stack-Pointer-Based Loads and Stores, jumps, moves, C.EBREAK
c.compressed("000 shamt[5] rd shamt[4:0] 10", "c.slli {rd}, {shamt}", "slli {rd}, {rd}, {shamt}")
c.compressed(
    "001 uimm[5] rd uimm[4:3|8:6] 10", "c.fldsp {rd:f}, {uimm}(x2)", "fld {rd:f}, {uimm}(x2)"
)
c.compressed("010 uimm[5] rd!=0 uimm[4:2|7:6] 10", "c.lwsp {rd}, {uimm}(x2)", "lw {rd}, {uimm}(x2)")
c.compressed("011 uimm[5] rd!=0 uimm[4:3|8:6] 10", "c.ldsp {rd}, {uimm}(x2)", "ld {rd}, {uimm}(x2)")
c.compressed("100 0 rs1!=0 00000 10", "c.jr {rs1}", "jalr x0, 0({rs1})")
c.compressed("100 0 rd rs2!=0 10", "c.mv {rd}, {rs2}", "add {rd}, x0, {rs2}")
c.compressed("100 1 00000 00000 10", "c.ebreak", "ebreak")
c.compressed("100 1 rs1!=0 00000 10", "c.jalr {rs1}", "jalr x1, 0({rs1})")
c.compressed("100 1 rd rs2!=0 10", "c.add {rd}, {rs2}", "add {rd}, {rd}, {rs2}")
c.compressed("101 uimm[5:3|8:6] rs2 10", "c.fsdsp {rs2:f}, {uimm}(x2)", "fsd {rs2:f}, {uimm}(x2)")
c.compressed("110 uimm[5:2|7:6] rs2 10", "c.swsp {rs2}, {uimm}(x2)", "sw {rs2}, {uimm}(x2)")
c.compressed("111 uimm[5:3|8:6] rs2 10", "c.sdsp {rs2}, {uimm}(x2)", "sd {rs2}, {uimm}(x2)")
