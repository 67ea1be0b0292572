"""LLVM text for the host's floating-point unit, one variant for each kind of host.

Rounding mode and sticky flags live in the host's control register while native code runs, and are
read when someone asks. Operations are LLVM's constrained intrinsics under `strictfp`: plain ones
are folded, and sink below the read of the flags.
"""

from __future__ import annotations

from auberge.engine.state import Layout

TYPES = {32: ("float", 23, 8), 64: ("double", 52, 11)}
EXACT = 'metadata !"fpexcept.strict"'
STRICT = f'metadata !"round.dynamic", {EXACT}'
ARITHMETIC = {"add": ("fadd", 2), "sub": ("fsub", 2), "mul": ("fmul", 2), "div": ("fdiv", 2),
              "sqrt": ("sqrt", 1), "fma": ("fma", 3)}  # fmt: skip


def _canonical(fmt: int) -> str:
    """Every NaN result is the canonical one (Volume I, 20240411, 20.3)."""
    _, fraction, exponent = TYPES[fmt]
    infinity = ((1 << exponent) - 1) << fraction
    return f"""%r = bitcast {TYPES[fmt][0]} %z to i{fmt}
%abs = and i{fmt} %r, {(1 << fmt - 1) - 1}
%nan = icmp ugt i{fmt} %abs, {infinity}
%v = select i1 %nan, i{fmt} {infinity | 1 << fraction - 1}, i{fmt} %r
ret i{fmt} %v
}}
"""


def declaration_of_comparison(fmt: int) -> str:
    """The declaration of the intrinsic that compares without a signal."""
    t = TYPES[fmt][0]
    name = f"@llvm.experimental.constrained.fcmp.f{fmt}"
    return f"declare i1 {name}({t}, {t}, metadata, metadata)"


def constrained(op: str, fmt: int) -> tuple[str, list[str], str]:
    """LLVM's intrinsic of an operation, the types of its operands, and how exact it is to be."""
    if op == "widen":
        return "fpext.f64.f32", ["float"], EXACT
    if op == "narrow":
        return "fptrunc.f32.f64", ["double"], EXACT
    if op == "from_i64":
        return f"sitofp.f{fmt}.i64", ["i64"], STRICT
    intrinsic, count = ARITHMETIC[op]
    return f"{intrinsic}.f{fmt}", [TYPES[fmt][0]] * count, STRICT


def declaration(op: str, fmt: int) -> str:
    """The declaration of that intrinsic."""
    intrinsic, types, strict = constrained(op, fmt)
    kinds = ", ".join([*types, *["metadata"] * strict.count("metadata")])
    return f"declare {TYPES[fmt][0]} @llvm.experimental.constrained.{intrinsic}({kinds})"


def _operation(op: str, operands: list[int], fmt: int, intrinsic: str, rounds: bool = True) -> str:
    """`fpu_OP_FMT`, by a constrained intrinsic; integer operands where `op` is a conversion."""
    types = ["i64" if op == "from_i64" else TYPES[width][0] for width in operands]
    params = ", ".join(f"i{width} %a{n}" for n, width in enumerate(operands))
    casts = "".join(
        f"%x{n} = bitcast i{width} %a{n} to {t}\n"
        for n, (width, t) in enumerate(zip(operands, types, strict=True))
    )
    args = ", ".join(f"{t} %x{n}" for n, t in enumerate(types))
    result, strict = TYPES[fmt][0], STRICT if rounds else EXACT
    name = f"@llvm.experimental.constrained.{intrinsic}"
    kinds = ", ".join([*types, *["metadata"] * strict.count("metadata")])
    return f"""
declare {result} {name}({kinds})
define internal i{fmt} @fpu_{op}_{fmt}({params}) noinline strictfp #0 {{
{casts}%z = call {result} {name}({args}, {strict}) strictfp
{_canonical(fmt)}"""


def operations() -> str:
    """`fpu_add_32` and the rest: raw bits in, raw bits out, flags left in the host's register."""
    text = [_operation("widen", [32], 64, "fpext.f64.f32", rounds=False),
            _operation("narrow", [64], 32, "fptrunc.f32.f64")]  # fmt: skip
    for fmt in TYPES:
        for op, (intrinsic, count) in ARITHMETIC.items():
            text.append(_operation(op, [fmt] * count, fmt, f"{intrinsic}.f{fmt}"))
        text.append(_operation("from_i64", [64], fmt, f"sitofp.f{fmt}.i64"))
    return "".join(text)


def _cell(layout: Layout, name: str) -> str:
    return f"getelementptr i8, ptr %st, i64 {layout.offset[name]}"


# x86-64 (Intel SDM Volume 1, 10.2.3): MXCSR has flags IE DE ZE OE UE PE in bits 0 to 5, all masked
# by 0x1f80, rounding in 14:13 (nearest, down, up, zero). 156 maps RISC-V's modes to it, two bits
# each.
_X86 = """
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse.stmxcsr(ptr)
define internal i32 @fpu_get(ptr %st) alwaysinline #0 {{
%p = {scratch}
call void @llvm.x86.sse.stmxcsr(ptr %p)
%v = load i32, ptr %p
ret i32 %v
}}
define internal void @fpu_set(ptr %st, i32 %v) alwaysinline #0 {{
%p = {scratch}
store i32 %v, ptr %p
call void @llvm.x86.sse.ldmxcsr(ptr %p)
ret void
}}
define internal i32 @fpu_mode(i64 %rm) alwaysinline #0 {{
%few = and i64 %rm, 7
%two = shl i64 %few, 1
%t = lshr i64 156, %two
%rc = and i64 %t, 3
%rc32 = trunc i64 %rc to i32
%m = shl i32 %rc32, 13
ret i32 %m
}}
define internal void @fpu_enter(ptr %st) noinline #0 {{
%host = call i32 @fpu_get(ptr %st)
%hostw = zext i32 %host to i64
%hp = {host}
store i64 %hostw, ptr %hp
%fp = {frm}
%frm = load i64, ptr %fp
%m = call i32 @fpu_mode(i64 %frm)
%on = or i32 %m, 8064
call void @fpu_set(ptr %st, i32 %on)
ret void
}}
define internal void @fpu_leave(ptr %st) noinline #0 {{
%f = call i64 @fpu_flags(ptr %st)
%ffp = {fflags}
%old = load i64, ptr %ffp
%new = or i64 %old, %f
store i64 %new, ptr %ffp
%hp = {host}
%hostw = load i64, ptr %hp
%host = trunc i64 %hostw to i32
call void @fpu_set(ptr %st, i32 %host)
ret void
}}
define internal void @fpu_round(ptr %st, i64 %rm) noinline #0 {{
%now = call i32 @fpu_get(ptr %st)
%keep = and i32 %now, -24577
%m = call i32 @fpu_mode(i64 %rm)
%new = or i32 %keep, %m
call void @fpu_set(ptr %st, i32 %new)
ret void
}}
define internal void @fpu_clear(ptr %st) noinline #0 {{
%now = call i32 @fpu_get(ptr %st)
%new = and i32 %now, -64
call void @fpu_set(ptr %st, i32 %new)
ret void
}}
define internal i64 @fpu_flags(ptr %st) noinline #0 {{
%now = call i32 @fpu_get(ptr %st)
%ie = and i32 %now, 1
%ze = and i32 %now, 4
%oe = and i32 %now, 8
%ue = and i32 %now, 16
%pe = and i32 %now, 32
%nv = shl i32 %ie, 4
%dz = shl i32 %ze, 1
%of = lshr i32 %oe, 1
%uf = lshr i32 %ue, 3
%nx = lshr i32 %pe, 5
%a = or i32 %nv, %dz
%b = or i32 %of, %uf
%c = or i32 %a, %b
%d = or i32 %c, %nx
%f = zext i32 %d to i64
ret i64 %f
}}
"""

# AArch64 (Arm ARM, C5.2): FPCR has the rounding mode in 23:22 (nearest, up, down, zero); FPSR has
# flags IOC DZC OFC UFC IXC in bits 0 to 4, the mirror of RISC-V's. 108 maps RISC-V's modes.
_AARCH64 = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare i64 @llvm.aarch64.get.fpsr()
declare void @llvm.aarch64.set.fpsr(i64)
declare i8 @llvm.bitreverse.i8(i8)
define internal void @fpu_enter(ptr %st) noinline #0 {{
%host = call i64 @llvm.aarch64.get.fpcr()
%hp = {host}
store i64 %host, ptr %hp
%fp = {frm}
%frm = load i64, ptr %fp
call void @llvm.aarch64.set.fpcr(i64 0)
call void @llvm.aarch64.set.fpsr(i64 0)
call void @fpu_round(ptr %st, i64 %frm)
ret void
}}
define internal void @fpu_leave(ptr %st) noinline #0 {{
%f = call i64 @fpu_flags(ptr %st)
%ffp = {fflags}
%old = load i64, ptr %ffp
%new = or i64 %old, %f
store i64 %new, ptr %ffp
%hp = {host}
%host = load i64, ptr %hp
call void @llvm.aarch64.set.fpcr(i64 %host)
call void @llvm.aarch64.set.fpsr(i64 0)
ret void
}}
define internal void @fpu_round(ptr %st, i64 %rm) noinline #0 {{
%few = and i64 %rm, 7
%two = shl i64 %few, 1
%t = lshr i64 108, %two
%rc = and i64 %t, 3
%m = shl i64 %rc, 22
call void @llvm.aarch64.set.fpcr(i64 %m)
ret void
}}
define internal void @fpu_clear(ptr %st) noinline #0 {{
call void @llvm.aarch64.set.fpsr(i64 0)
ret void
}}
define internal i64 @fpu_flags(ptr %st) noinline #0 {{
%now = call i64 @llvm.aarch64.get.fpsr()
%low = trunc i64 %now to i8
%r = call i8 @llvm.bitreverse.i8(i8 %low)
%s = lshr i8 %r, 3
%f = zext i8 %s to i64
ret i64 %f
}}
"""


def control(layout: Layout, machine: str) -> str:
    """`fpu_enter`, `fpu_leave`, `fpu_round`, `fpu_flags`, `fpu_clear` for hosts of that machine."""
    text = {"x86_64": _X86, "aarch64": _AARCH64}[machine]
    return text.format(
        scratch=_cell(layout, "our_fpu"),
        host=_cell(layout, "host_fpu"),
        frm=_cell(layout, "frm"),
        fflags=_cell(layout, "fflags"),
    )
