"""IEEE 754 binary arithmetic by exact integers rounded once: the definition, not the fast path.

A floating-point number is its bit pattern, a Python int; every operation returns a pattern and the
exception flags it raises. Where IEEE 754-2019 leaves a choice, the choice is RISC-V's (The RISC-V
ISA Manual, Volume I, chapters 20 and 21): a NaN result is always the canonical one, tininess is
detected after rounding, and out-of-range conversions to integers saturate.
"""

from collections.abc import Callable
from math import isqrt
from typing import Final

from auberge.bits.bits import signed

# 20.2: the accrued exceptions, as in fflags
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
# 20.2: the rounding modes, as in frm
RNE, RTZ, RDN, RUP, RMM = range(5)


class Format:
    """An interchange format (IEEE 754-2019, 3.6): `exponent` and `fraction` are widths in bits."""

    __slots__ = (
        "exponent_mask",
        "fraction",
        "fraction_mask",
        "infinity",
        "least",
        "magnitude",
        "nan",
        "normal",
        "quiet",
        "sign",
        "width",
    )

    def __init__(self, exponent: int, fraction: int) -> None:
        self.width: Final = 1 + exponent + fraction
        self.fraction: Final = fraction
        self.fraction_mask: Final = (1 << fraction) - 1
        self.exponent_mask: Final = (1 << exponent) - 1
        self.sign: Final = 1 << exponent + fraction
        self.magnitude: Final = self.sign - 1
        self.infinity: Final = self.exponent_mask << fraction
        self.quiet: Final = 1 << fraction - 1
        self.nan: Final = self.infinity | self.quiet  # 20.3: the canonical NaN
        self.normal: Final = 1 << fraction  # the least normal number, and the hidden bit
        self.least: Final = 2 - (1 << exponent - 1) - fraction  # 2**least is the least subnormal

    def __repr__(self) -> str:
        return f"binary{self.width}"


BINARY32 = Format(8, 23)
BINARY64 = Format(11, 52)
FORMATS = {32: BINARY32, 64: BINARY64}


def unpack(fmt: Format, a: int) -> tuple[int, int]:
    """The signed significand m and the exponent e of a finite number: it is m * 2**e."""
    exponent = a >> fmt.fraction & fmt.exponent_mask
    significand = a & fmt.fraction_mask
    if exponent:
        significand |= fmt.normal
        exponent -= 1
    return (-significand if a & fmt.sign else significand), exponent + fmt.least


def rounds_up(negative: bool, significand: int, drop: int, rm: int) -> bool:
    """Whether `significand`, losing its `drop` > 0 low bits, is rounded away from zero."""
    rest = significand & (1 << drop) - 1
    if rm == RNE:
        half = 1 << drop - 1
        return rest > half or rest == half and significand >> drop & 1 == 1
    if rm == RMM:
        return rest >= 1 << drop - 1
    return rest != 0 and (rm == RDN and negative or rm == RUP and not negative)


def round_once(
    fmt: Format, negative: bool, significand: int, exponent: int, rm: int
) -> tuple[int, int]:
    """The number nearest to significand * 2**exponent as `rm` says; `significand` is positive.

    The significand is exact, or has at least three bits more than the format and its lowest bit
    stands for all that is below (a sticky bit).
    """
    sign = fmt.sign if negative else 0
    floor = fmt.least - exponent  # the exponent is bounded below: a subnormal has less precision
    drop = max(floor, significand.bit_length() - fmt.fraction - 1)
    flags = 0
    if drop <= 0:
        units = significand << -drop
    else:
        units = significand >> drop
        if significand & (1 << drop) - 1:
            tiny = units < fmt.normal and not rounds_to_normal(fmt, negative, significand, drop, rm)
            flags = UF | NX if tiny else NX
            units += rounds_up(negative, significand, drop, rm)
    # The hidden bit of a normal significand adds one to the exponent field, and so does a carry.
    packed = (drop - floor << fmt.fraction) + units
    if packed >= fmt.infinity:  # 7.4: with an unbounded exponent it is beyond the largest
        away = rm == RNE or rm == RMM or rm == (RDN if negative else RUP)
        return sign | fmt.infinity - (not away), OF | NX
    return sign | packed, flags


def rounds_to_normal(fmt: Format, negative: bool, significand: int, drop: int, rm: int) -> bool:
    """Whether a number below the normal ones is not tiny "after rounding" (20.2).

    That is to the full precision, which has one bit more here, with an unbounded exponent (7.5).
    """
    finer = drop - 1
    ones = (fmt.normal << 1) - 1
    return (
        finer > 0 and significand >> finer == ones and rounds_up(negative, significand, finer, rm)
    )


def is_nan(fmt: Format, a: int) -> bool:
    """Whether the exponent is all ones and the fraction is not zero (3.4)."""
    return a & fmt.magnitude > fmt.infinity


def is_signaling(fmt: Format, a: int) -> bool:
    """Whether it is a NaN whose first fraction bit is clear (6.2.1)."""
    return a & fmt.magnitude > fmt.infinity and not a & fmt.quiet


def nan_of(fmt: Format, *operands: int) -> tuple[int, int]:
    """The result of an operation on a NaN (20.3; a signalling one is invalid: 6.2)."""
    return fmt.nan, NV if any(is_signaling(fmt, a) for a in operands) else 0


# 20.6, 21.4 Floating-Point Computational Instructions


def add(fmt: Format, a: int, b: int, rm: int) -> tuple[int, int]:
    """a + b (IEEE 754-2019, 5.4.1). Infinities of opposite signs are invalid (7.2)."""
    infinity = fmt.infinity
    if a & infinity == infinity or b & infinity == infinity:
        if is_nan(fmt, a) or is_nan(fmt, b):
            return nan_of(fmt, a, b)
        if a & infinity != infinity:
            return b, 0
        if b & infinity == infinity and a != b:
            return fmt.nan, NV
        return a, 0
    m, e = unpack(fmt, a)
    n, f = unpack(fmt, b)
    if e > f:
        m <<= e - f
        e = f
    else:
        n <<= f - e
    total = m + n
    if not total:  # 6.3: the sign of an exact zero sum
        return (a if a == b else fmt.sign if rm == RDN else 0), 0
    return round_once(fmt, total < 0, abs(total), e, rm)


def sub(fmt: Format, a: int, b: int, rm: int) -> tuple[int, int]:
    """a - b (5.4.1)."""
    return add(fmt, a, b ^ fmt.sign, rm)


def mul(fmt: Format, a: int, b: int, rm: int) -> tuple[int, int]:
    """a * b (5.4.1). Infinity times zero is invalid (7.2)."""
    infinity, sign = fmt.infinity, (a ^ b) & fmt.sign
    if a & infinity == infinity or b & infinity == infinity:
        if is_nan(fmt, a) or is_nan(fmt, b):
            return nan_of(fmt, a, b)
        if not a & fmt.magnitude or not b & fmt.magnitude:
            return fmt.nan, NV
        return sign | infinity, 0
    m, e = unpack(fmt, a)
    n, f = unpack(fmt, b)
    product = m * n
    if not product:
        return sign, 0
    return round_once(fmt, product < 0, abs(product), e + f, rm)


def div(fmt: Format, a: int, b: int, rm: int) -> tuple[int, int]:
    """a / b (5.4.1). A finite number by zero raises DZ (7.3); 0/0 and inf/inf are invalid (7.2)."""
    infinity, sign = fmt.infinity, (a ^ b) & fmt.sign
    if is_nan(fmt, a) or is_nan(fmt, b):
        return nan_of(fmt, a, b)
    if a & infinity == infinity:
        return (fmt.nan, NV) if b & infinity == infinity else (sign | infinity, 0)
    if b & infinity == infinity:
        return sign, 0
    if not b & fmt.magnitude:
        return (sign | infinity, DZ) if a & fmt.magnitude else (fmt.nan, NV)
    if not a & fmt.magnitude:
        return sign, 0
    m, e = unpack(fmt, a)
    n, f = unpack(fmt, b)
    m, n = abs(m), abs(n)
    shift = max(0, fmt.fraction + 4 + n.bit_length() - m.bit_length())
    quotient, rest = divmod(m << shift, n)
    return round_once(fmt, sign != 0, quotient | (rest != 0), e - f - shift, rm)


def sqrt(fmt: Format, a: int, rm: int) -> tuple[int, int]:
    """The square root (5.4.1). That of a number below zero is invalid (7.2); of -0 it is -0."""
    if is_nan(fmt, a):
        return nan_of(fmt, a)
    if not a & fmt.magnitude or a == fmt.infinity:
        return a, 0
    if a & fmt.sign:
        return fmt.nan, NV
    m, e = unpack(fmt, a)
    shift = 2 * fmt.fraction + 8 - m.bit_length()
    shift += e - shift & 1  # the exponent of a square is even
    m <<= shift
    root = isqrt(m)
    return round_once(fmt, False, root | (root * root != m), (e - shift) // 2, rm)


def fma(fmt: Format, a: int, b: int, c: int, rm: int) -> tuple[int, int]:
    """a * b + c rounded once; its relatives are sign flips of `a` and `c`."""
    infinity, magnitude = fmt.infinity, fmt.magnitude
    sign = (a ^ b) & fmt.sign
    if a & infinity == infinity or b & infinity == infinity:
        # 20.6: infinity times zero is invalid "even when the addend is a quiet NaN"
        if a & magnitude == infinity and not b & magnitude:
            return fmt.nan, NV
        if b & magnitude == infinity and not a & magnitude:
            return fmt.nan, NV
        if is_nan(fmt, a) or is_nan(fmt, b) or is_nan(fmt, c):
            return nan_of(fmt, a, b, c)
        if c & infinity == infinity and (c ^ sign) & fmt.sign:
            return fmt.nan, NV
        return sign | infinity, 0
    if c & infinity == infinity:
        return nan_of(fmt, c) if is_nan(fmt, c) else (c, 0)
    m, e = unpack(fmt, a)
    n, f = unpack(fmt, b)
    k, g = unpack(fmt, c)
    product = m * n
    e += f
    if e > g:
        product <<= e - g
        e = g
    else:
        k <<= g - e
    total = product + k
    if not total:  # 6.3, and a zero product has a sign
        return (c if not k and c & fmt.sign == sign else fmt.sign if rm == RDN else 0), 0
    return round_once(fmt, total < 0, abs(total), e, rm)


def minimum(fmt: Format, a: int, b: int) -> tuple[int, int]:
    """minimumNumber of IEEE 754-2019, 9.6: a number wins over a NaN, and -0 is less than +0."""
    flags = NV if is_signaling(fmt, a) or is_signaling(fmt, b) else 0
    if is_nan(fmt, a):
        return (fmt.nan if is_nan(fmt, b) else b), flags
    return (a if is_nan(fmt, b) or key(fmt, a) < key(fmt, b) else b), flags


def maximum(fmt: Format, a: int, b: int) -> tuple[int, int]:
    """maximumNumber of IEEE 754-2019, 9.6."""
    flags = NV if is_signaling(fmt, a) or is_signaling(fmt, b) else 0
    if is_nan(fmt, a):
        return (fmt.nan if is_nan(fmt, b) else b), flags
    return (a if is_nan(fmt, b) or key(fmt, a) > key(fmt, b) else b), flags


def key(fmt: Format, a: int) -> int:
    """An integer that orders numbers as they are ordered, -0 before +0."""
    return ~(a & fmt.magnitude) if a & fmt.sign else a


# 20.7, 21.5 Floating-Point Conversion and Move Instructions


def convert(source: Format, fmt: Format, a: int, rm: int) -> tuple[int, int]:
    """The number `a` of another format."""
    if is_nan(source, a):
        return fmt.nan, NV if is_signaling(source, a) else 0
    negative = a & source.sign != 0
    sign = fmt.sign if negative else 0
    if a & source.magnitude == source.infinity:
        return sign | fmt.infinity, 0
    if not a & source.magnitude:
        return sign, 0
    m, e = unpack(source, a)
    return round_once(fmt, negative, abs(m), e, rm)


def from_int(fmt: Format, number: int, rm: int) -> tuple[int, int]:
    """The integer `number`, a Python one with its sign."""
    if not number:
        return 0, 0
    return round_once(fmt, number < 0, abs(number), 0, rm)


def to_int(fmt: Format, a: int, width: int, negatives: bool, rm: int) -> tuple[int, int]:
    """The integer nearest to `a` as a pattern of `width` bits, in two's complement if `negatives`.

    What does not fit saturates, and a NaN becomes the largest integer (20.7, the table "Domains of
    float-to-integer conversions"); that is invalid, and then not inexact.
    """
    largest = (1 << width - negatives) - 1
    smallest = -1 - largest if negatives else 0
    flags = 0
    if is_nan(fmt, a):
        number = largest + 1
    elif a & fmt.magnitude == fmt.infinity:
        number = smallest - 1 if a & fmt.sign else largest + 1
    else:
        m, e = unpack(fmt, a)
        negative, m = m < 0, abs(m)
        if e >= 0:
            m <<= e
        elif m:
            flags = NX if m & (1 << -e) - 1 else 0
            m = (m >> -e) + rounds_up(negative, m, -e, rm)
        number = -m if negative else m
    if number > largest:
        return largest, NV
    if number < smallest:
        return smallest & (1 << width) - 1, NV
    return number & (1 << width) - 1, flags


# 20.8, 21.6 Floating-Point Compare Instructions


def eq(fmt: Format, a: int, b: int) -> tuple[int, int]:
    """Quiet: only a signalling NaN is invalid."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, nan_of(fmt, a, b)[1]
    return int(a == b or not (a | b) & fmt.magnitude), 0


def lt(fmt: Format, a: int, b: int) -> tuple[int, int]:
    """Signalling: any NaN is invalid."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, NV
    return int(key(fmt, a) < key(fmt, b) and (a | b) & fmt.magnitude != 0), 0


def le(fmt: Format, a: int, b: int) -> tuple[int, int]:
    """Signalling: any NaN is invalid."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, NV
    return int(key(fmt, a) <= key(fmt, b) or not (a | b) & fmt.magnitude), 0


# 20.9, 21.7 Floating-Point Classify Instruction


def classify(fmt: Format, a: int) -> int:
    """One of ten bits (20.9): from bit 0, -inf, -normal, -subnormal, -0, and back up."""
    magnitude = a & fmt.magnitude
    if magnitude > fmt.infinity:
        return 1 << 9 if a & fmt.quiet else 1 << 8
    size = (magnitude > 0) + (magnitude >= fmt.normal) + (magnitude == fmt.infinity)
    return 1 << 3 - size if a & fmt.sign else 1 << 4 + size


# What the `h.fpu` of an instruction's text may ask for, by name. The format is the result's, or the
# source's for `to_*`; operands and results are patterns, integers in two's complement.
OPERATIONS: dict[str, Callable[..., tuple[int, int]]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": div,
    "sqrt": sqrt,
    "fma": fma,
    "from_i32": lambda fmt, a, rm: from_int(fmt, signed(a, 32), rm),
    "from_u32": from_int,
    "from_i64": lambda fmt, a, rm: from_int(fmt, signed(a, 64), rm),
    "from_u64": from_int,
    "to_i32": lambda fmt, a, rm: to_int(fmt, a, 32, True, rm),
    "to_u32": lambda fmt, a, rm: to_int(fmt, a, 32, False, rm),
    "to_i64": lambda fmt, a, rm: to_int(fmt, a, 64, True, rm),
    "to_u64": lambda fmt, a, rm: to_int(fmt, a, 64, False, rm),
    "widen": lambda fmt, a, rm: convert(BINARY32, fmt, a, rm),
    "narrow": lambda fmt, a, rm: convert(BINARY64, fmt, a, rm),
}


def operand_width(op: str, width: int) -> int:
    """How many bits each operand of `op` in the format of `width` bits has."""
    if op.startswith("from_"):
        return int(op[-2:])
    return {"widen": 32, "narrow": 64}.get(op, width)


def result_width(op: str, width: int) -> int:
    """How many bits the result of `op` in the format of `width` bits has."""
    return int(op[-2:]) if op.startswith("to_") else width


def evaluate(op: str, width: int, rm: int, *operands: int) -> tuple[int, int]:
    """The value and the flags of the operation named `op` in the format of `width` bits."""
    return OPERATIONS[op](FORMATS[width], *operands, rm)
