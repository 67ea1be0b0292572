"""F, single precision. Sections: The RISC-V Instruction Set Manual, Volume I, version 20240411."""

from auberge.bits.bits import Bits
from auberge.isa.hart import Hart
from auberge.isa.riscv import floating
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.floating import SINGLE

f = rv64.extension("F", "2.2", "Single-Precision Floating-Point")


# 20.2 Floating-Point Control and Status Register: the assembler's names for its accesses
f.alias("frcsr {rd}", "csrrs {rd}, fcsr, x0")
f.alias("fscsr {rd}, {rs1}", "csrrw {rd}, fcsr, {rs1}")
f.alias("fscsr {rs1}", "csrrw x0, fcsr, {rs1}")
f.alias("frrm {rd}", "csrrs {rd}, frm, x0")
f.alias("fsrm {rd}, {rs1}", "csrrw {rd}, frm, {rs1}")
f.alias("fsrm {rs1}", "csrrw x0, frm, {rs1}")
f.alias("fsrmi {rd}, {uimm}", "csrrwi {rd}, frm, {uimm}")
f.alias("fsrmi {uimm}", "csrrwi x0, frm, {uimm}")
f.alias("frflags {rd}", "csrrs {rd}, fflags, x0")
f.alias("fsflags {rd}, {rs1}", "csrrw {rd}, fflags, {rs1}")
f.alias("fsflags {rs1}", "csrrw x0, fflags, {rs1}")
f.alias("fsflagsi {rd}, {uimm}", "csrrwi {rd}, fflags, {uimm}")
f.alias("fsflagsi {uimm}", "csrrwi x0, fflags, {uimm}")


# 20.5 Single-Precision Load and Store Instructions
@f.insn("imm[11:0] rs1 010 rd 0000111", "flw {rd:f}, {imm}({rs1})")
def flw(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    floating.load(h, SINGLE, rd, rs1, imm)


@f.insn("imm[11:5] rs2 rs1 010 imm[4:0] 0100111", "fsw {rs2:f}, {imm}({rs1})")
def fsw(h: Hart, rs2: Bits, rs1: Bits, imm: Bits) -> None:
    floating.store(h, SINGLE, rs2, rs1, imm)


# 20.6 Single-Precision Floating-Point Computational Instructions
@f.insn("0000000 rs2 rs1 rm rd 1010011", "fadd.s {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fadd_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "add", SINGLE, rd, rm, rs1, rs2)


@f.insn("0000100 rs2 rs1 rm rd 1010011", "fsub.s {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fsub_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "sub", SINGLE, rd, rm, rs1, rs2)


@f.insn("0001000 rs2 rs1 rm rd 1010011", "fmul.s {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fmul_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "mul", SINGLE, rd, rm, rs1, rs2)


@f.insn("0001100 rs2 rs1 rm rd 1010011", "fdiv.s {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fdiv_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "div", SINGLE, rd, rm, rs1, rs2)


@f.insn("0101100 00000 rs1 rm rd 1010011", "fsqrt.s {rd:f}, {rs1:f}, {rm}")
def fsqrt_s(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.compute(h, "sqrt", SINGLE, rd, rm, rs1)


@f.insn("0010100 rs2 rs1 000 rd 1010011", "fmin.s {rd:f}, {rs1:f}, {rs2:f}")
def fmin_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.minimum(h, SINGLE, rd, rs1, rs2)


@f.insn("0010100 rs2 rs1 001 rd 1010011", "fmax.s {rd:f}, {rs1:f}, {rs2:f}")
def fmax_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.maximum(h, SINGLE, rd, rs1, rs2)


@f.insn("rs3 00 rs2 rs1 rm rd 1000011", "fmadd.s {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fmadd_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "++", SINGLE, rd, rm, rs1, rs2, rs3)


@f.insn("rs3 00 rs2 rs1 rm rd 1000111", "fmsub.s {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fmsub_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "+-", SINGLE, rd, rm, rs1, rs2, rs3)


@f.insn("rs3 00 rs2 rs1 rm rd 1001011", "fnmsub.s {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fnmsub_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "-+", SINGLE, rd, rm, rs1, rs2, rs3)


@f.insn("rs3 00 rs2 rs1 rm rd 1001111", "fnmadd.s {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fnmadd_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "--", SINGLE, rd, rm, rs1, rs2, rs3)


# 20.7 Single-Precision Floating-Point Conversion and Move Instructions
@f.insn("1100000 00000 rs1 rm rd 1010011", "fcvt.w.s {rd}, {rs1:f}, {rm}")
def fcvt_w_s(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_i32", SINGLE, rd, rm, rs1)


@f.insn("1101000 00000 rs1 rm rd 1010011", "fcvt.s.w {rd:f}, {rs1}, {rm}")
def fcvt_s_w(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_i32", SINGLE, rd, rm, rs1)


@f.insn("1100000 00001 rs1 rm rd 1010011", "fcvt.wu.s {rd}, {rs1:f}, {rm}")
def fcvt_wu_s(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_u32", SINGLE, rd, rm, rs1)


@f.insn("1101000 00001 rs1 rm rd 1010011", "fcvt.s.wu {rd:f}, {rs1}, {rm}")
def fcvt_s_wu(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_u32", SINGLE, rd, rm, rs1)


@f.insn("1100000 00010 rs1 rm rd 1010011", "fcvt.l.s {rd}, {rs1:f}, {rm}")
def fcvt_l_s(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_i64", SINGLE, rd, rm, rs1)


@f.insn("1101000 00010 rs1 rm rd 1010011", "fcvt.s.l {rd:f}, {rs1}, {rm}")
def fcvt_s_l(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_i64", SINGLE, rd, rm, rs1)


@f.insn("1100000 00011 rs1 rm rd 1010011", "fcvt.lu.s {rd}, {rs1:f}, {rm}")
def fcvt_lu_s(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_u64", SINGLE, rd, rm, rs1)


@f.insn("1101000 00011 rs1 rm rd 1010011", "fcvt.s.lu {rd:f}, {rs1}, {rm}")
def fcvt_s_lu(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_u64", SINGLE, rd, rm, rs1)


@f.insn("0010000 rs2 rs1 000 rd 1010011", "fsgnj.s {rd:f}, {rs1:f}, {rs2:f}")
def fsgnj_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.inject_sign(h, SINGLE, rd, rs1, rs2, lambda a, b: b)


@f.insn("0010000 rs2 rs1 001 rd 1010011", "fsgnjn.s {rd:f}, {rs1:f}, {rs2:f}")
def fsgnjn_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.inject_sign(h, SINGLE, rd, rs1, rs2, lambda a, b: ~b)


@f.insn("0010000 rs2 rs1 010 rd 1010011", "fsgnjx.s {rd:f}, {rs1:f}, {rs2:f}")
def fsgnjx_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.inject_sign(h, SINGLE, rd, rs1, rs2, lambda a, b: a ^ b)


f.alias("fmv.s {rd:f}, {rs1:f}", "fsgnj.s {rd:f}, {rs1:f}, {rs1:f}")
f.alias("fneg.s {rd:f}, {rs1:f}", "fsgnjn.s {rd:f}, {rs1:f}, {rs1:f}")
f.alias("fabs.s {rd:f}, {rs1:f}", "fsgnjx.s {rd:f}, {rs1:f}, {rs1:f}")


# "Moves do not modify the bits being transferred": neither looks at NaN boxing
@f.insn("1110000 00000 rs1 000 rd 1010011", "fmv.x.w {rd}, {rs1:f}")
def fmv_x_w(h: Hart, rd: Bits, rs1: Bits) -> None:
    floating.enabled(h)
    h.x[rd] = h.f[rs1][31:0].sext(64)


@f.insn("1111000 00000 rs1 000 rd 1010011", "fmv.w.x {rd:f}, {rs1}")
def fmv_w_x(h: Hart, rd: Bits, rs1: Bits) -> None:
    floating.enabled(h)
    floating.write(h, SINGLE, rd, h.x[rs1][31:0])


f.alias("fmv.x.s {rd}, {rs1:f}", "fmv.x.w {rd}, {rs1:f}")
f.alias("fmv.s.x {rd:f}, {rs1}", "fmv.w.x {rd:f}, {rs1}")


# 20.8 Single-Precision Floating-Point Compare Instructions
@f.insn("1010000 rs2 rs1 010 rd 1010011", "feq.s {rd}, {rs1:f}, {rs2:f}")
def feq_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.equal(h, SINGLE, rd, rs1, rs2)


@f.insn("1010000 rs2 rs1 001 rd 1010011", "flt.s {rd}, {rs1:f}, {rs2:f}")
def flt_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.less(h, SINGLE, rd, rs1, rs2)


@f.insn("1010000 rs2 rs1 000 rd 1010011", "fle.s {rd}, {rs1:f}, {rs2:f}")
def fle_s(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.less_or_equal(h, SINGLE, rd, rs1, rs2)


f.alias("fgt.s {rd}, {rs2:f}, {rs1:f}", "flt.s {rd}, {rs1:f}, {rs2:f}")
f.alias("fge.s {rd}, {rs2:f}, {rs1:f}", "fle.s {rd}, {rs1:f}, {rs2:f}")


# 20.9 Single-Precision Floating-Point Classify Instruction
@f.insn("1110000 00000 rs1 001 rd 1010011", "fclass.s {rd}, {rs1:f}")
def fclass_s(h: Hart, rd: Bits, rs1: Bits) -> None:
    floating.classify(h, SINGLE, rd, rs1)
