"""D, double precision. Sections: The RISC-V Instruction Set Manual, Volume I, version 20240411."""

from auberge.bits.bits import Bits
from auberge.isa.hart import Hart
from auberge.isa.riscv import floating
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.floating import DOUBLE, SINGLE

d = rv64.extension("D", "2.2", "Double-Precision Floating-Point")


# 21.3 Double-Precision Load and Store Instructions
@d.insn("imm[11:0] rs1 011 rd 0000111", "fld {rd:f}, {imm}({rs1})")
def fld(h: Hart, rd: Bits, rs1: Bits, imm: Bits) -> None:
    floating.load(h, DOUBLE, rd, rs1, imm)


@d.insn("imm[11:5] rs2 rs1 011 imm[4:0] 0100111", "fsd {rs2:f}, {imm}({rs1})")
def fsd(h: Hart, rs2: Bits, rs1: Bits, imm: Bits) -> None:
    floating.store(h, DOUBLE, rs2, rs1, imm)


# 21.4 Double-Precision Floating-Point Computational Instructions
@d.insn("0000001 rs2 rs1 rm rd 1010011", "fadd.d {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fadd_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "add", DOUBLE, rd, rm, rs1, rs2)


@d.insn("0000101 rs2 rs1 rm rd 1010011", "fsub.d {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fsub_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "sub", DOUBLE, rd, rm, rs1, rs2)


@d.insn("0001001 rs2 rs1 rm rd 1010011", "fmul.d {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fmul_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "mul", DOUBLE, rd, rm, rs1, rs2)


@d.insn("0001101 rs2 rs1 rm rd 1010011", "fdiv.d {rd:f}, {rs1:f}, {rs2:f}, {rm}")
def fdiv_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rm: Bits) -> None:
    floating.compute(h, "div", DOUBLE, rd, rm, rs1, rs2)


@d.insn("0101101 00000 rs1 rm rd 1010011", "fsqrt.d {rd:f}, {rs1:f}, {rm}")
def fsqrt_d(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.compute(h, "sqrt", DOUBLE, rd, rm, rs1)


@d.insn("0010101 rs2 rs1 000 rd 1010011", "fmin.d {rd:f}, {rs1:f}, {rs2:f}")
def fmin_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.minimum(h, DOUBLE, rd, rs1, rs2)


@d.insn("0010101 rs2 rs1 001 rd 1010011", "fmax.d {rd:f}, {rs1:f}, {rs2:f}")
def fmax_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.maximum(h, DOUBLE, rd, rs1, rs2)


@d.insn("rs3 01 rs2 rs1 rm rd 1000011", "fmadd.d {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fmadd_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "++", DOUBLE, rd, rm, rs1, rs2, rs3)


@d.insn("rs3 01 rs2 rs1 rm rd 1000111", "fmsub.d {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fmsub_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "+-", DOUBLE, rd, rm, rs1, rs2, rs3)


@d.insn("rs3 01 rs2 rs1 rm rd 1001011", "fnmsub.d {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fnmsub_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "-+", DOUBLE, rd, rm, rs1, rs2, rs3)


@d.insn("rs3 01 rs2 rs1 rm rd 1001111", "fnmadd.d {rd:f}, {rs1:f}, {rs2:f}, {rs3:f}, {rm}")
def fnmadd_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits, rs3: Bits, rm: Bits) -> None:
    floating.fused(h, "--", DOUBLE, rd, rm, rs1, rs2, rs3)


# 21.5 Double-Precision Floating-Point Conversion and Move Instructions
@d.insn("1100001 00000 rs1 rm rd 1010011", "fcvt.w.d {rd}, {rs1:f}, {rm}")
def fcvt_w_d(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_i32", DOUBLE, rd, rm, rs1)


@d.insn("1101001 00000 rs1 rm rd 1010011", "fcvt.d.w {rd:f}, {rs1}, {rm:rne}")
def fcvt_d_w(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_i32", DOUBLE, rd, rm, rs1)


@d.insn("1100001 00001 rs1 rm rd 1010011", "fcvt.wu.d {rd}, {rs1:f}, {rm}")
def fcvt_wu_d(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_u32", DOUBLE, rd, rm, rs1)


@d.insn("1101001 00001 rs1 rm rd 1010011", "fcvt.d.wu {rd:f}, {rs1}, {rm:rne}")
def fcvt_d_wu(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_u32", DOUBLE, rd, rm, rs1)


@d.insn("1100001 00010 rs1 rm rd 1010011", "fcvt.l.d {rd}, {rs1:f}, {rm}")
def fcvt_l_d(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_i64", DOUBLE, rd, rm, rs1)


@d.insn("1101001 00010 rs1 rm rd 1010011", "fcvt.d.l {rd:f}, {rs1}, {rm}")
def fcvt_d_l(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_i64", DOUBLE, rd, rm, rs1)


@d.insn("1100001 00011 rs1 rm rd 1010011", "fcvt.lu.d {rd}, {rs1:f}, {rm}")
def fcvt_lu_d(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.to_integer(h, "to_u64", DOUBLE, rd, rm, rs1)


@d.insn("1101001 00011 rs1 rm rd 1010011", "fcvt.d.lu {rd:f}, {rs1}, {rm}")
def fcvt_d_lu(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.from_integer(h, "from_u64", DOUBLE, rd, rm, rs1)


@d.insn("0100000 00001 rs1 rm rd 1010011", "fcvt.s.d {rd:f}, {rs1:f}, {rm}")
def fcvt_s_d(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.convert(h, "narrow", SINGLE, rd, rm, rs1)


@d.insn("0100001 00000 rs1 rm rd 1010011", "fcvt.d.s {rd:f}, {rs1:f}, {rm:rne}")
def fcvt_d_s(h: Hart, rd: Bits, rs1: Bits, rm: Bits) -> None:
    floating.convert(h, "widen", DOUBLE, rd, rm, rs1)


@d.insn("0010001 rs2 rs1 000 rd 1010011", "fsgnj.d {rd:f}, {rs1:f}, {rs2:f}")
def fsgnj_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.inject_sign(h, DOUBLE, rd, rs1, rs2, lambda a, b: b)


@d.insn("0010001 rs2 rs1 001 rd 1010011", "fsgnjn.d {rd:f}, {rs1:f}, {rs2:f}")
def fsgnjn_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.inject_sign(h, DOUBLE, rd, rs1, rs2, lambda a, b: ~b)


@d.insn("0010001 rs2 rs1 010 rd 1010011", "fsgnjx.d {rd:f}, {rs1:f}, {rs2:f}")
def fsgnjx_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.inject_sign(h, DOUBLE, rd, rs1, rs2, lambda a, b: a ^ b)


d.alias("fmv.d {rd:f}, {rs1:f}", "fsgnj.d {rd:f}, {rs1:f}, {rs1:f}")
d.alias("fneg.d {rd:f}, {rs1:f}", "fsgnjn.d {rd:f}, {rs1:f}, {rs1:f}")
d.alias("fabs.d {rd:f}, {rs1:f}", "fsgnjx.d {rd:f}, {rs1:f}, {rs1:f}")


@d.insn("1110001 00000 rs1 000 rd 1010011", "fmv.x.d {rd}, {rs1:f}")
def fmv_x_d(h: Hart, rd: Bits, rs1: Bits) -> None:
    floating.enabled(h)
    h.x[rd] = h.f[rs1]


@d.insn("1111001 00000 rs1 000 rd 1010011", "fmv.d.x {rd:f}, {rs1}")
def fmv_d_x(h: Hart, rd: Bits, rs1: Bits) -> None:
    floating.enabled(h)
    floating.write(h, DOUBLE, rd, h.x[rs1])


# 21.6 Double-Precision Floating-Point Compare Instructions
@d.insn("1010001 rs2 rs1 010 rd 1010011", "feq.d {rd}, {rs1:f}, {rs2:f}")
def feq_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.equal(h, DOUBLE, rd, rs1, rs2)


@d.insn("1010001 rs2 rs1 001 rd 1010011", "flt.d {rd}, {rs1:f}, {rs2:f}")
def flt_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.less(h, DOUBLE, rd, rs1, rs2)


@d.insn("1010001 rs2 rs1 000 rd 1010011", "fle.d {rd}, {rs1:f}, {rs2:f}")
def fle_d(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    floating.less_or_equal(h, DOUBLE, rd, rs1, rs2)


d.alias("fgt.d {rd}, {rs2:f}, {rs1:f}", "flt.d {rd}, {rs1:f}, {rs2:f}")
d.alias("fge.d {rd}, {rs2:f}, {rs1:f}", "fle.d {rd}, {rs1:f}, {rs2:f}")


# 21.7 Double-Precision Floating-Point Classify Instruction
@d.insn("1110001 00000 rs1 001 rd 1010011", "fclass.d {rd}, {rs1:f}")
def fclass_d(h: Hart, rd: Bits, rs1: Bits) -> None:
    floating.classify(h, DOUBLE, rd, rs1)
