"""Rounding as expressions: for what hosts do differently, with the same text where all is known."""

from __future__ import annotations

from auberge.bits.bits import Bits, concat, const, select

NX, NV = 1, 16
RNE, _RTZ, RDN, RUP, RMM = range(5)


def to_integer(fmt: int, a: Bits, rm: Bits, width: int, is_signed: bool) -> tuple[Bits, Bits]:
    """The `fmt`-bit float `a` as a `width`-bit integer, and the 5 flags.

    Out of range, infinities and NaNs saturate and raise NV alone (Volume I, 20240411, 20.7).
    """
    fraction, exponent_bits = (52, 11) if fmt == 64 else (23, 8)
    bias = (1 << exponent_bits - 1) - 1
    negative, exponent = a[fmt - 1], a[fmt - 2 : fraction]
    is_nan = exponent.eq(-1) & a[fraction - 1 : 0].ne(0)
    # The significand, its leading one in bit 63; the number is m * 2**(e - 63).
    m = concat(exponent.ne(0), a[fraction - 1 : 0]).zext(64) << 63 - fraction
    e = exponent.zext(64) - bias
    shift = const(63, 64) - e
    too_big = ~e.slt(64)
    tiny = ~too_big & const(64, 64).slt(shift)
    exact = shift.eq(0)
    whole = select(tiny | shift.eq(64), const(0, 64), m.shr(shift))
    below = shift - 1  # of the first bit that is dropped
    half = ~tiny & ~exact & m.shr(below)[0]
    rest = select(tiny, m, select(exact, const(0, 64), m & ((const(1, 64) << below) - 1))).ne(0)
    inexact = half | rest
    up = (
        rm.eq(RNE) & half & (rest | whole[0])
        | rm.eq(RDN) & negative & inexact
        | rm.eq(RUP) & ~negative & inexact
        | rm.eq(RMM) & half
    )
    r = whole + up.zext(64)
    if is_signed:
        most = (1 << width - 1) - 1
        beyond = select(negative, const(most + 1, 64), const(most, 64)).ult(r)
    else:
        most = (1 << width) - 1
        beyond = negative & r.ne(0) | const(most, 64).ult(r)
    invalid = is_nan | too_big | beyond
    least = const(-1 - most if is_signed else 0, 64)
    saturated = select(negative & ~is_nan, least, const(most, 64))
    value = select(invalid, saturated, select(negative, const(0, 64) - r, r))[width - 1 : 0]
    flags = select(invalid, const(NV, 5), select(inexact, const(NX, 5), const(0, 5)))
    return value, flags


def from_unsigned(v: Bits) -> tuple[Bits, Bits]:
    """A 64-bit unsigned `v` where only signed ones convert: (what to convert, doubled?).

    Where `v` has its top bit set, half of it is converted, the lost bit kept as a sticky one: that
    rounds as `v` would, and doubling the result is exact.
    """
    is_big = v[63]
    return select(is_big, v.shr(1) | v & 1, v), is_big
