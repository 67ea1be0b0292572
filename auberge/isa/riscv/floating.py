"""What the chapters F and D share. Sections: The RISC-V Instruction Set Manual, Volume I, 20240411.

A format is named by its width. What rounds goes through `h.fpu`; all else is integer arithmetic.
"""

from collections.abc import Callable

from auberge.bits.bits import Bits, concat, const, select
from auberge.bits.ieee import FORMATS, NV, operand_width
from auberge.isa.hart import Hart
from auberge.isa.riscv.csrs import FFLAGS, FRM, mstatus
from auberge.isa.riscv.traps import illegal_when

SINGLE, DOUBLE = 32, 64
OFF, DIRTY = const(0, 2), const(3, 2)  # of mstatus.FS: Volume II, 3.1.6.6
RMM, DYN = const(4, 3), const(7, 3)  # 20.2: the last rounding mode, and "the one in frm"


def enabled(h: Hart) -> None:
    """Trap if floating point is off (Volume II, 3.1.6.6)."""
    illegal_when(h, h[mstatus.FS].eq(OFF))


def rounding(h: Hart, rm: Bits) -> Bits:
    """The mode that `rm` asks for; trap if it is reserved (20.2), or if floating point is off."""
    mode = select(rm.eq(DYN), h[FRM][2:0], rm)
    illegal_when(h, h[mstatus.FS].eq(OFF) | RMM.ult(mode))
    return mode


def dirty(h: Hart) -> None:
    """Note that f registers or flags may have changed (Volume II, 3.1.6.6)."""
    h[mstatus.FS] = DIRTY


def raise_flags(h: Hart, flags: Bits) -> None:
    """Accumulate five bits of exception flags (20.2)."""
    h[FFLAGS] = h[FFLAGS] | flags.zext(64)
    dirty(h)


def raise_invalid(h: Hart, invalid: Bits) -> None:
    """Raise the invalid flag where the bit `invalid` is set."""
    raise_flags(h, select(invalid, const(NV, 5), const(0, 5)))


# 21.2 NaN Boxing of Narrower Values


def read(h: Hart, fmt: int, r: Bits) -> Bits:
    """An operand. One that is not "correctly NaN-boxed" reads as the canonical NaN."""
    if fmt == DOUBLE:
        return h.f[r]
    boxed = h.f[r]
    return select(boxed[63:32].eq(-1), boxed[31:0], const(FORMATS[SINGLE].nan, SINGLE))


def write(h: Hart, fmt: int, r: Bits, v: Bits) -> None:
    """A result. "All 1s" go above a narrower value."""
    h.f[r] = v if fmt == DOUBLE else concat(const(-1, 64 - SINGLE), v)
    dirty(h)


# 20.5, 21.3 Load and Store Instructions


def load(h: Hart, fmt: int, rd: Bits, rs1: Bits, imm: Bits) -> None:
    """Load a number as it is into rd, boxed."""
    enabled(h)
    write(h, fmt, rd, h.load(h.x[rs1] + imm, fmt // 8))


def store(h: Hart, fmt: int, rs2: Bits, rs1: Bits, imm: Bits) -> None:
    """ "The lower bits of the register": a transfer ignores NaN boxing (21.2)."""
    enabled(h)
    h.store(h.x[rs1] + imm, fmt // 8, h.f[rs2][fmt - 1 : 0])


# 20.6, 21.4 Computational Instructions


def compute(h: Hart, op: str, fmt: int, rd: Bits, rm: Bits, *registers: Bits) -> None:
    """Write the rounded result of `op` on operands of the same format."""
    mode = rounding(h, rm)
    write(h, fmt, rd, h.fpu(op, fmt, mode, *(read(h, fmt, r) for r in registers)))


def fused(
    h: Hart, signs: str, fmt: int, rd: Bits, rm: Bits, rs1: Bits, rs2: Bits, rs3: Bits
) -> None:
    """Write rs1 * rs2 + rs3, rounded once; `signs` are those of the product and of the addend."""
    mode = rounding(h, rm)
    sign = FORMATS[fmt].sign
    a, b, c = (read(h, fmt, r) for r in (rs1, rs2, rs3))
    a = a ^ sign if signs[0] == "-" else a
    c = c ^ sign if signs[1] == "-" else c
    write(h, fmt, rd, h.fpu("fma", fmt, mode, a, b, c))


def minimum(h: Hart, fmt: int, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    """minimumNumber of IEEE 754-2019, 9.6."""
    a, b = read(h, fmt, rs1), read(h, fmt, rs2)
    _write_one(h, fmt, rd, a, b, precedes(a, b))


def maximum(h: Hart, fmt: int, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    """maximumNumber of IEEE 754-2019, 9.6."""
    a, b = read(h, fmt, rs1), read(h, fmt, rs2)
    _write_one(h, fmt, rd, a, b, precedes(b, a))


def _write_one(h: Hart, fmt: int, rd: Bits, a: Bits, b: Bits, first: Bits) -> None:
    """Write `a` of two numbers if the bit `first` is set, else `b`; a number wins over a NaN.

    "Signaling NaN inputs set the invalid operation exception flag, even when the result is not
    NaN."
    """
    enabled(h)
    not_a = select(is_nan(b), const(FORMATS[fmt].nan, fmt), b)
    write(h, fmt, rd, select(is_nan(a), not_a, select(is_nan(b) | first, a, b)))
    raise_invalid(h, is_signaling(a) | is_signaling(b))


# 20.7, 21.5 Conversion and Move Instructions


def to_integer(h: Hart, op: str, fmt: int, rd: Bits, rm: Bits, rs1: Bits) -> None:
    """ "FCVT.W[U] sign-extends the 32-bit result" """
    mode = rounding(h, rm)
    h.x[rd] = h.fpu(op, fmt, mode, read(h, fmt, rs1)).sext(64)
    dirty(h)


def from_integer(h: Hart, op: str, fmt: int, rd: Bits, rm: Bits, rs1: Bits) -> None:
    """The integer is in the low bits of the x register, as many as `op` says."""
    mode = rounding(h, rm)
    integer = h.x[rs1][operand_width(op, fmt) - 1 : 0]
    write(h, fmt, rd, h.fpu(op, fmt, mode, integer))


def convert(h: Hart, op: str, fmt: int, rd: Bits, rm: Bits, rs1: Bits) -> None:
    """Write rs1 of the other format."""
    mode = rounding(h, rm)
    write(h, fmt, rd, h.fpu(op, fmt, mode, read(h, operand_width(op, fmt), rs1)))


def inject_sign(
    h: Hart, fmt: int, rd: Bits, rs1: Bits, rs2: Bits, sign: Callable[[Bits, Bits], Bits]
) -> None:
    """Write rs1 with another sign, made from its own and that of rs2 (20.7)."""
    enabled(h)
    a, b = read(h, fmt, rs1), read(h, fmt, rs2)
    write(h, fmt, rd, concat(sign(a[fmt - 1], b[fmt - 1]), a[fmt - 2 : 0]))


# 20.8, 21.6 Compare Instructions


def equal(h: Hart, fmt: int, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    """ "FEQ.S performs a quiet comparison": only a signalling NaN is invalid."""
    enabled(h)
    a, b = read(h, fmt, rs1), read(h, fmt, rs2)
    ordered = ~(is_nan(a) | is_nan(b))
    h.x[rd] = (ordered & (a.eq(b) | are_zero(a, b))).zext(64)
    raise_invalid(h, is_signaling(a) | is_signaling(b))


def less(h: Hart, fmt: int, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    """ "FLT.S and FLE.S perform signaling comparisons": any NaN is invalid."""
    enabled(h)
    a, b = read(h, fmt, rs1), read(h, fmt, rs2)
    unordered = is_nan(a) | is_nan(b)
    h.x[rd] = (~unordered & precedes(a, b) & ~are_zero(a, b)).zext(64)
    raise_invalid(h, unordered)


def less_or_equal(h: Hart, fmt: int, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    """Signalling, as `less` is; of numbers, the opposite of `less` the other way round."""
    enabled(h)
    a, b = read(h, fmt, rs1), read(h, fmt, rs2)
    unordered = is_nan(a) | is_nan(b)
    h.x[rd] = (~unordered & (~precedes(b, a) | are_zero(a, b))).zext(64)
    raise_invalid(h, unordered)


def precedes(a: Bits, b: Bits) -> Bits:
    """Whether number `a` is less than `b`, -0 being less than +0.

    That is the order of their patterns as integers, reversed among the negative ones.
    """
    negative = a[a.width - 1] & b[b.width - 1]
    return a.slt(b) ^ (negative & a.ne(b))


def are_zero(a: Bits, b: Bits) -> Bits:
    """Whether both are zeros, which are equal whatever their signs."""
    return ((a | b) & FORMATS[a.width].magnitude).eq(0)


# 20.9, 21.7 Classify Instruction


def is_nan(a: Bits) -> Bits:
    """Whether the exponent is all ones and the fraction is not zero, in a format of its width."""
    fmt = FORMATS[a.width]
    return const(fmt.infinity, a.width).ult(a & fmt.magnitude)


def is_signaling(a: Bits) -> Bits:
    """Whether it is a NaN whose first fraction bit is clear."""
    return is_nan(a) & ~a[FORMATS[a.width].fraction - 1]


def classify(h: Hart, fmt: int, rd: Bits, rs1: Bits) -> None:
    """ "Exactly one bit in rd will be set." """
    enabled(h)
    a, landmarks = read(h, fmt, rs1), FORMATS[fmt]
    negative, magnitude = a[fmt - 1], a & landmarks.magnitude
    zero = magnitude.eq(0)
    subnormal = ~zero & magnitude.ult(landmarks.normal)
    normal = ~magnitude.ult(landmarks.normal) & magnitude.ult(landmarks.infinity)
    infinite = magnitude.eq(landmarks.infinity)
    sizes = infinite, normal, subnormal, zero
    signaling = is_signaling(a)
    h.x[rd] = concat(
        is_nan(a) & ~signaling,
        signaling,
        *(size & ~negative for size in sizes),
        *(size & negative for size in reversed(sizes)),
    ).zext(64)
