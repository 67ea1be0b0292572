"""`bits/ieee.py` against facts from elsewhere: Python's floats, C's, and a rational oracle."""

import math
import random
import struct
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.bits import ieee
from auberge.bits.ieee import (
    BINARY32,
    BINARY64,
    NV,
    NX,
    OF,
    RDN,
    RMM,
    RNE,
    RTZ,
    RUP,
    UF,
    Format,
)

MODES = [RNE, RTZ, RDN, RUP, RMM]
Operands = tuple[int, ...]
PACKING = {32: ("<I", "<f"), 64: ("<Q", "<d")}


def pattern(x: float, fmt: Format = BINARY64) -> int:
    """The pattern of a Python float; a binary32 one must hold it exactly, or be NaN or infinite."""
    as_int, as_float = PACKING[fmt.width]
    (p,) = struct.unpack(as_int, struct.pack(as_float, x))
    return int(p)


def number(p: int, fmt: Format = BINARY64) -> float:
    """The Python float of a pattern; exact for both formats."""
    as_int, as_float = PACKING[fmt.width]
    (x,) = struct.unpack(as_float, struct.pack(as_int, p))
    return float(x)


# -- the oracle: rationals, and a search among the patterns -------------------------------------


def rational(fmt: Format, p: int) -> Fraction:
    """What a pattern without sign stands for; infinity, for the first power of two too big."""
    if p == fmt.infinity:
        return 2 * rational(fmt, fmt.infinity - fmt.normal)
    return Fraction(number(p, fmt))


def nearest(fmt: Format, x: Fraction, rm: int) -> int:
    """The pattern without overflow's exceptions: infinity is one power of two more."""
    negative, x = x < 0, abs(x)
    low, high = 0, fmt.infinity
    if x >= rational(fmt, high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if rational(fmt, middle) <= x:
            low = middle
        else:
            high = middle
    below, above = x - rational(fmt, low), rational(fmt, high) - x
    if not below:
        return low
    nearer = low if below < above else high
    return {
        RNE: (low if low % 2 == 0 else high) if below == above else nearer,
        RTZ: low,
        RDN: high if negative else low,
        RUP: low if negative else high,
        RMM: high if below == above else nearer,
    }[rm]


def rounded(fmt: Format, x: Fraction, rm: int) -> tuple[int, int]:
    """The pattern and the flags of the nonzero rational `x`, as IEEE 754-2019, 7.4 to 7.6, say."""
    sign = fmt.sign if x < 0 else 0
    p = nearest(fmt, x, rm)
    if p == fmt.infinity:
        inward = rm == RTZ or rm == (RUP if x < 0 else RDN)
        return sign | fmt.infinity - inward, OF | NX
    if rational(fmt, p) == abs(x):
        return sign | p, 0
    least = rational(fmt, fmt.normal)
    if abs(x) >= least:
        return sign | p, NX
    # Tiny after rounding: as if the exponent were unbounded, which a power of two emulates.
    far = 1 << 60
    tiny = rational(fmt, nearest(fmt, x * far, rm)) < least * far
    return sign | p, NX | UF if tiny else NX


def signed_rational(fmt: Format, p: int) -> Fraction:
    value = rational(fmt, p & fmt.magnitude)
    return -value if p & fmt.sign else value


# -- operands -----------------------------------------------------------------------------------


def edges(fmt: Format) -> list[int]:
    """Zero, the subnormals' borders, one and its neighbours, the infinities and NaNs."""
    one = pattern(1.0, fmt)
    sizes = [0, 1, 2, 3, fmt.normal - 2, fmt.normal - 1, fmt.normal, fmt.normal + 1]
    sizes += [one - 1, one, one + 1, one + fmt.normal, one + fmt.quiet, one - fmt.normal]
    sizes += [fmt.infinity - 2, fmt.infinity - 1, fmt.infinity]
    sizes += [fmt.infinity + 1, fmt.nan - 1, fmt.nan, fmt.nan + 1, fmt.magnitude]
    return [s | p for p in sizes for s in (0, fmt.sign)]


def patterns(fmt: Format) -> st.SearchStrategy[int]:
    """Any pattern, with the edges and few-bit fractions more often than chance gives them."""
    exponents = st.integers(0, fmt.exponent_mask) | st.sampled_from(
        [0, 1, 2, fmt.fraction, fmt.exponent_mask // 2, fmt.exponent_mask - 1]
    )
    bit = st.integers(0, fmt.fraction - 1).map(lambda n: 1 << n)
    ones = st.integers(0, fmt.fraction).map(lambda n: fmt.fraction_mask >> n << n)
    fractions = st.integers(0, fmt.fraction_mask) | bit | ones | st.just(0)
    built = st.builds(
        lambda s, e, f: s | e << fmt.fraction | f,
        st.sampled_from([0, fmt.sign]),
        exponents,
        fractions,
    )
    return built | st.sampled_from(edges(fmt))


def finite(fmt: Format) -> st.SearchStrategy[int]:
    return patterns(fmt).filter(lambda p: p & fmt.infinity != fmt.infinity)


formats = st.sampled_from([BINARY32, BINARY64])
modes = st.sampled_from(MODES)


@st.composite
def numbers(draw: st.DrawFn, count: int) -> tuple[Format, Operands]:
    """Finite operands of one format, often near each other."""
    fmt = draw(formats)
    first = draw(finite(fmt))
    near = st.integers(0, 7).map(lambda d: first ^ d) | st.integers(0, 3).map(
        lambda d: (first ^ fmt.sign) + (d << fmt.fraction) & (fmt.sign | fmt.infinity - 1)
    )
    others = [
        draw(finite(fmt) | near.filter(lambda p: p & fmt.infinity != fmt.infinity))
        for _ in range(count - 1)
    ]
    return fmt, (first, *others)


# -- every operation is the exact result, rounded once ------------------------------------------

EXACT: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@given(operands=numbers(2), rm=modes)
def test_two_operands_give_the_exact_result_rounded_once(
    name: str, operands: tuple[Format, Operands], rm: int
) -> None:
    fmt, (a, b) = operands
    x, y = signed_rational(fmt, a), signed_rational(fmt, b)
    if name == "div" and not y:
        return
    exact = EXACT[name](x, y)
    got = ieee.evaluate(name, fmt.width, rm, a, b)
    if exact:
        assert got == rounded(fmt, exact, rm)
    else:
        assert (got[0] & fmt.magnitude, got[1]) == (0, 0)


@pytest.mark.slow
@given(operands=numbers(3), rm=modes, cancel=st.booleans())
def test_fma_is_the_exact_product_and_sum_rounded_once(
    operands: tuple[Format, Operands], rm: int, cancel: bool
) -> None:
    fmt, (a, b, c) = operands
    if cancel:  # an addend near the product's negation shows whether the product was rounded
        product = ieee.mul(fmt, a, b, RTZ)[0] ^ fmt.sign
        c = product if product & fmt.infinity != fmt.infinity else c
    exact = signed_rational(fmt, a) * signed_rational(fmt, b) + signed_rational(fmt, c)
    got = ieee.fma(fmt, a, b, c, rm)
    if exact:
        assert got == rounded(fmt, exact, rm)
    else:
        assert (got[0] & fmt.magnitude, got[1]) == (0, 0)


@pytest.mark.slow
@given(operands=numbers(1), rm=modes)
def test_sqrt_lies_between_the_neighbours_that_its_mode_allows(
    operands: tuple[Format, Operands], rm: int
) -> None:
    fmt, (a,) = operands
    a &= fmt.magnitude
    if not a:
        return
    x = rational(fmt, a)
    low, flags = ieee.sqrt(fmt, a, RDN)
    exact = rational(fmt, low) ** 2 == x
    assert rational(fmt, low) ** 2 <= x < rational(fmt, low + 1) ** 2
    assert flags == (0 if exact else NX)
    nearer = low if ((rational(fmt, low) + rational(fmt, low + 1)) / 2) ** 2 > x else low + 1
    expected = {RNE: nearer, RMM: nearer, RTZ: low, RDN: low, RUP: low + 1}[rm]
    assert ieee.sqrt(fmt, a, rm) == (low if exact else expected, flags)


@pytest.mark.slow
@given(a=finite(BINARY64), rm=modes)
def test_narrowing_is_rounding_once(a: int, rm: int) -> None:
    x = signed_rational(BINARY64, a)
    expected = rounded(BINARY32, x, rm) if x else (a >> 32, 0)
    assert ieee.convert(BINARY64, BINARY32, a, rm) == expected


@pytest.mark.slow
@given(
    fmt=formats,
    n=st.integers(-(2**63), 2**64 - 1) | st.integers(0, 63).map(lambda k: 1 << k),
    rm=modes,
)
def test_an_integer_becomes_the_nearest_number(fmt: Format, n: int, rm: int) -> None:
    assert ieee.from_int(fmt, n, rm) == (rounded(fmt, Fraction(n), rm) if n else (0, 0))


@pytest.mark.slow
@given(operands=numbers(1), rm=modes, width=st.sampled_from([32, 64]), negatives=st.booleans())
def test_a_number_becomes_the_nearest_integer_or_saturates(
    operands: tuple[Format, Operands], rm: int, width: int, negatives: bool
) -> None:
    fmt, (a,) = operands
    x = signed_rational(fmt, a)
    low = math.floor(x)
    half = x - low - Fraction(1, 2)
    away = low if x < 0 else low + 1
    n = low + (x != low) if rm == RUP else low
    if rm == RTZ:
        n = math.trunc(x)
    elif rm in (RNE, RMM):
        n = low if half < 0 else low + 1 if half > 0 else away if rm == RMM else low + low % 2
    bounds = (-(1 << width - 1), (1 << width - 1) - 1) if negatives else (0, (1 << width) - 1)
    clamped = max(bounds[0], min(n, bounds[1]))
    flags = NV if clamped != n else NX if n != x else 0
    assert ieee.to_int(fmt, a, width, negatives, rm) == (clamped % (1 << width), flags)


def test_binary64_to_nearest_is_what_python_computes() -> None:
    rng = random.Random(1)

    def operand(near: int) -> int:
        if rng.random() < 0.2:
            return rng.choice(edges(BINARY64))
        if rng.random() < 0.5:
            return near ^ rng.getrandbits(1) << 63 ^ rng.getrandbits(55)
        return rng.getrandbits(64)

    for _ in range(5000):
        a = operand(pattern(1.0))
        b = operand(a)
        x, y = number(a), number(b)
        assert_is(ieee.add(BINARY64, a, b, RNE)[0], x + y)
        assert_is(ieee.sub(BINARY64, a, b, RNE)[0], x - y)
        assert_is(ieee.mul(BINARY64, a, b, RNE)[0], x * y)
        if y:
            assert_is(ieee.div(BINARY64, a, b, RNE)[0], x / y)
        if not x < 0:
            assert_is(ieee.sqrt(BINARY64, a, RNE)[0], math.sqrt(x))
        assert ieee.eq(BINARY64, a, b)[0] == (x == y)
        assert ieee.lt(BINARY64, a, b)[0] == (x < y)
        assert ieee.le(BINARY64, a, b)[0] == (x <= y)


def assert_is(p: int, x: float) -> None:
    assert p == (BINARY64.nan if math.isnan(x) else pattern(x))


def test_binary32_to_nearest_is_what_c_computes() -> None:
    """A sum, product or root of binary32 is innocuously rounded twice, by way of binary64."""
    rng = random.Random(2)
    for _ in range(5000):
        a, b = (
            rng.choice(edges(BINARY32)) if rng.random() < 0.2 else rng.getrandbits(32)
            for _ in range(2)
        )
        x, y = number(a, BINARY32), number(b, BINARY32)
        assert_is_single(ieee.add(BINARY32, a, b, RNE)[0], x + y)
        assert_is_single(ieee.mul(BINARY32, a, b, RNE)[0], x * y)
        if not x < 0:
            assert_is_single(ieee.sqrt(BINARY32, a, RNE)[0], math.sqrt(x))


def assert_is_single(p: int, x: float) -> None:
    if math.isnan(x):
        assert p == BINARY32.nan
        return
    try:
        assert p == pattern(x, BINARY32)
    except OverflowError:  # struct refuses what C rounds to infinity
        assert p == pattern(math.copysign(math.inf, x), BINARY32)
