"""What IEEE 754 and RISC-V say about the edges of floating point, one table per statement."""

import itertools

import pytest

from auberge.bits import ieee
from auberge.bits.ieee import (
    BINARY32,
    BINARY64,
    DZ,
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
BOTH = pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=repr)


class Names:
    """The landmarks of a format."""

    def __init__(self, fmt: Format) -> None:
        self.sign, self.inf, self.nan = fmt.sign, fmt.infinity, fmt.nan
        self.snan, self.payload = fmt.infinity | 1, fmt.nan | fmt.sign | 5
        self.zero, self.minus_zero = 0, fmt.sign
        self.least, self.below_normal, self.normal = 1, fmt.normal - 1, fmt.normal
        self.largest = fmt.infinity - 1
        self.one = (fmt.exponent_mask >> 1) << fmt.fraction
        self.two, self.half = self.one + fmt.normal, self.one - fmt.normal
        self.three = self.two | fmt.quiet
        self.ulp = self.one - (fmt.fraction << fmt.fraction)  # one in the last place of one


@BOTH
@pytest.mark.parametrize("rm", MODES)
def test_an_overflow_goes_to_infinity_or_the_largest_number_as_the_mode_says(
    fmt: Format, rm: int
) -> None:
    n = Names(fmt)
    up = n.largest if rm in (RTZ, RDN) else n.inf
    down = n.sign | (n.largest if rm in (RTZ, RUP) else n.inf)
    for value in (
        ieee.add(fmt, n.largest, n.largest, rm),
        ieee.mul(fmt, n.largest, n.two, rm),
        ieee.div(fmt, n.largest, n.least, rm),
        ieee.fma(fmt, n.largest, n.largest, n.one, rm),
    ):
        assert value == (up, OF | NX)
    for value in (
        ieee.add(fmt, n.largest | n.sign, n.largest | n.sign, rm),
        ieee.mul(fmt, n.largest, n.two | n.sign, rm),
        ieee.fma(fmt, n.largest, n.largest | n.sign, n.one, rm),
    ):
        assert value == (down, OF | NX)


@BOTH
@pytest.mark.parametrize("rm", MODES)
def test_beyond_the_largest_number_by_less_than_its_rounding_is_no_overflow(
    fmt: Format, rm: int
) -> None:
    n = Names(fmt)
    half_ulp = n.largest + 1 - ((fmt.fraction + 2) << fmt.fraction)
    tie = ieee.add(fmt, n.largest, half_ulp & ~fmt.fraction_mask, rm)
    less = ieee.add(fmt, n.largest, (half_ulp & ~fmt.fraction_mask) - 1, rm)
    assert tie == ((n.inf, OF | NX) if rm in (RNE, RUP, RMM) else (n.largest, NX))
    assert less == ((n.inf, OF | NX) if rm == RUP else (n.largest, NX))


@BOTH
def test_a_tie_goes_to_even_or_away_or_as_directed(fmt: Format) -> None:
    n = Names(fmt)
    tie = n.ulp - fmt.normal
    even = {RNE: n.one, RTZ: n.one, RDN: n.one, RUP: n.one + 1, RMM: n.one + 1}
    odd = {RNE: n.one + 2, RTZ: n.one + 1, RDN: n.one + 1, RUP: n.one + 2, RMM: n.one + 2}
    minus = {RNE: n.one, RTZ: n.one, RDN: n.one + 1, RUP: n.one, RMM: n.one + 1}
    for rm in MODES:
        assert ieee.add(fmt, n.one, tie, rm) == (even[rm], NX)
        assert ieee.add(fmt, n.one + 1, tie, rm) == (odd[rm], NX)
        assert ieee.add(fmt, n.one | n.sign, tie | n.sign, rm) == (minus[rm] | n.sign, NX)


@BOTH
def test_an_exact_subnormal_does_not_underflow(fmt: Format) -> None:
    n = Names(fmt)
    assert ieee.mul(fmt, n.normal, n.half, RNE) == (fmt.quiet, 0)
    assert ieee.add(fmt, n.least, n.least, RNE) == (2, 0)
    assert ieee.sub(fmt, n.normal, n.least, RNE) == (n.below_normal, 0)


@BOTH
@pytest.mark.parametrize("rm", MODES)
def test_half_of_the_least_subnormal_underflows(fmt: Format, rm: int) -> None:
    n = Names(fmt)
    assert ieee.mul(fmt, n.least, n.half, rm) == (int(rm in (RUP, RMM)), UF | NX)
    assert ieee.mul(fmt, n.least, n.least, rm) == (int(rm == RUP), UF | NX)
    minus = n.sign | int(rm in (RDN, RMM))
    assert ieee.mul(fmt, n.least, n.half | n.sign, rm) == (minus, UF | NX)


@BOTH
@pytest.mark.parametrize("rm", MODES)
def test_tininess_is_detected_after_rounding_to_full_precision(fmt: Format, rm: int) -> None:
    """Full precision has half a subnormal step there; both may round to the least normal."""
    n = Names(fmt)
    quarter = n.half - fmt.normal
    up = rm in (RNE, RUP, RMM)
    # Half a step below the least normal number: exact to full precision, so tiny in every mode.
    got = ieee.fma(fmt, n.least, n.half | n.sign, n.normal, rm)
    assert got == (n.normal if up else n.below_normal, UF | NX)
    all_ones = n.one + (fmt.fraction - 1 << fmt.fraction) | fmt.fraction_mask
    got = ieee.mul(fmt, n.least, all_ones, rm)
    assert got == (n.normal if up else n.below_normal, UF | NX)
    # A quarter below: to full precision it may round to the normal number, and is then not tiny.
    got = ieee.fma(fmt, n.least, quarter | n.sign, n.normal, rm)
    assert got == ((n.normal, NX) if up else (n.below_normal, UF | NX))
    # Above it nothing is tiny, whatever is dropped.
    got = ieee.fma(fmt, n.least, quarter, n.normal, rm)
    assert got == (n.normal + (rm == RUP), NX)


@BOTH
@pytest.mark.parametrize("rm", MODES)
def test_a_zero_sum_is_minus_zero_only_downwards(fmt: Format, rm: int) -> None:
    n = Names(fmt)
    zero = n.minus_zero if rm == RDN else 0
    assert ieee.sub(fmt, n.one, n.one, rm) == (zero, 0)
    assert ieee.add(fmt, 0, n.minus_zero, rm) == (zero, 0)
    assert ieee.add(fmt, 0, 0, rm) == (0, 0)
    assert ieee.add(fmt, n.minus_zero, n.minus_zero, rm) == (n.minus_zero, 0)
    assert ieee.fma(fmt, n.one, n.two, n.two | n.sign, rm) == (zero, 0)
    assert ieee.fma(fmt, 0, n.one | n.sign, 0, rm) == (zero, 0)
    assert ieee.fma(fmt, 0, n.one, n.minus_zero, rm) == (zero, 0)
    assert ieee.fma(fmt, 0, n.one | n.sign, n.minus_zero, rm) == (n.minus_zero, 0)
    assert ieee.fma(fmt, 0, n.one, 0, rm) == (0, 0)


@BOTH
def test_a_product_that_underflows_and_an_addend_of_zero_keep_the_products_sign(
    fmt: Format,
) -> None:
    n = Names(fmt)
    got = ieee.fma(fmt, n.least, n.least | n.sign, 0, RNE)
    assert got == (n.minus_zero, UF | NX)


@BOTH
def test_invalid_operations_give_the_canonical_nan(fmt: Format) -> None:
    n = Names(fmt)
    minus_inf = n.inf | n.sign
    for got in (
        ieee.sub(fmt, n.inf, n.inf, RNE),
        ieee.add(fmt, n.inf, minus_inf, RNE),
        ieee.mul(fmt, n.inf, 0, RNE),
        ieee.mul(fmt, n.minus_zero, minus_inf, RNE),
        ieee.div(fmt, 0, n.minus_zero, RNE),
        ieee.div(fmt, n.inf, minus_inf, RNE),
        ieee.sqrt(fmt, n.one | n.sign, RNE),
        ieee.sqrt(fmt, minus_inf, RNE),
        ieee.sqrt(fmt, n.sign | 1, RNE),
        ieee.fma(fmt, n.inf, 0, n.one, RNE),
        ieee.fma(fmt, n.inf, n.one, minus_inf, RNE),
        ieee.fma(fmt, minus_inf, n.one, n.inf, RNE),
        ieee.add(fmt, n.snan, n.one, RNE),
        ieee.add(fmt, n.payload, n.snan, RNE),
        ieee.mul(fmt, n.inf, n.snan, RNE),
        ieee.div(fmt, n.snan, 0, RNE),
        ieee.sqrt(fmt, n.snan | n.sign, RNE),
        ieee.fma(fmt, n.one, n.one, n.snan, RNE),
    ):
        assert got == (n.nan, NV)


@BOTH
def test_a_quiet_nan_passes_quietly_and_loses_its_payload(fmt: Format) -> None:
    n = Names(fmt)
    for other in (0, n.one, n.inf, n.inf | n.sign, n.payload):
        for a, b in ((n.payload, other), (other, n.payload)):
            assert ieee.add(fmt, a, b, RNE) == (n.nan, 0)
            assert ieee.mul(fmt, a, b, RNE) == (n.nan, 0)
            assert ieee.div(fmt, a, b, RNE) == (n.nan, 0)
            assert ieee.fma(fmt, a, b, n.one, RNE) == (n.nan, 0)
        assert ieee.fma(fmt, n.one, other, n.payload, RNE) == (n.nan, 0)
    assert ieee.sqrt(fmt, n.payload, RNE) == (n.nan, 0)


@BOTH
def test_infinity_times_zero_is_invalid_even_when_the_addend_is_a_quiet_nan(fmt: Format) -> None:
    n = Names(fmt)
    for a, b in ((n.inf, 0), (0, n.inf), (n.inf | n.sign, 0), (n.minus_zero, n.inf)):
        assert ieee.fma(fmt, a, b, n.payload, RNE) == (n.nan, NV)


@BOTH
def test_infinities_that_are_no_error_are_exact(fmt: Format) -> None:
    n = Names(fmt)
    minus_inf = n.inf | n.sign
    assert ieee.add(fmt, n.inf, n.inf, RDN) == (n.inf, 0)
    assert ieee.add(fmt, n.one, minus_inf, RUP) == (minus_inf, 0)
    assert ieee.mul(fmt, n.inf, n.one | n.sign, RNE) == (minus_inf, 0)
    assert ieee.div(fmt, n.one, minus_inf, RNE) == (n.minus_zero, 0)
    assert ieee.div(fmt, minus_inf, n.one, RNE) == (minus_inf, 0)
    assert ieee.div(fmt, n.inf, n.minus_zero, RNE) == (minus_inf, 0)
    assert ieee.sqrt(fmt, n.inf, RNE) == (n.inf, 0)
    assert ieee.fma(fmt, n.largest, n.largest, minus_inf, RNE) == (minus_inf, 0)
    assert ieee.fma(fmt, n.inf, n.one, n.inf, RNE) == (n.inf, 0)
    assert ieee.fma(fmt, n.inf, n.two, n.largest | n.sign, RNE) == (n.inf, 0)


@BOTH
def test_a_finite_number_by_zero_is_a_signed_infinity(fmt: Format) -> None:
    n = Names(fmt)
    assert ieee.div(fmt, n.one, 0, RTZ) == (n.inf, DZ)
    assert ieee.div(fmt, n.one, n.minus_zero, RTZ) == (n.inf | n.sign, DZ)
    assert ieee.div(fmt, n.minus_zero, n.three, RTZ) == (n.minus_zero, 0)


@BOTH
def test_the_root_of_minus_zero_is_minus_zero(fmt: Format) -> None:
    assert ieee.sqrt(fmt, fmt.sign, RDN) == (fmt.sign, 0)
    assert ieee.sqrt(fmt, 0, RDN) == (0, 0)


@BOTH
def test_min_and_max_prefer_numbers_and_order_the_zeros(fmt: Format) -> None:
    n = Names(fmt)
    ladder = [n.inf | n.sign, n.one | n.sign, n.sign | 1, n.minus_zero, 0, 1, n.one, n.inf]
    for a, b in itertools.combinations(ladder, 2):
        for pair in ((a, b), (b, a)):
            assert ieee.minimum(fmt, *pair) == (a, 0)
            assert ieee.maximum(fmt, *pair) == (b, 0)
    for operation in (ieee.minimum, ieee.maximum):
        for a in ladder:
            assert operation(fmt, a, a) == (a, 0)
            assert operation(fmt, a, n.payload) == (a, 0)
            assert operation(fmt, n.payload, a) == (a, 0)
            assert operation(fmt, a, n.snan) == (a, NV)
            assert operation(fmt, n.snan, a) == (a, NV)
        assert operation(fmt, n.payload, n.payload) == (n.nan, 0)
        assert operation(fmt, n.payload, n.snan) == (n.nan, NV)


@BOTH
def test_comparisons_with_nan_are_false_and_only_equality_is_quiet(fmt: Format) -> None:
    n = Names(fmt)
    for a in (0, n.one, n.inf, n.payload):
        for pair in ((a, n.payload), (n.payload, a)):
            assert ieee.eq(fmt, *pair) == (0, 0)
            assert ieee.lt(fmt, *pair) == (0, NV)
            assert ieee.le(fmt, *pair) == (0, NV)
        for pair in ((a, n.snan), (n.snan, a)):
            assert ieee.eq(fmt, *pair) == (0, NV)
            assert ieee.lt(fmt, *pair) == (0, NV)
            assert ieee.le(fmt, *pair) == (0, NV)
    assert ieee.eq(fmt, 0, n.minus_zero) == (1, 0)
    assert ieee.le(fmt, 0, n.minus_zero) == (1, 0)
    assert ieee.lt(fmt, n.minus_zero, 0) == (0, 0)


@BOTH
def test_classify_has_ten_classes(fmt: Format) -> None:
    n = Names(fmt)
    ladder = [n.inf | n.sign, n.one | n.sign, n.sign | 1, n.minus_zero, 0, 1, n.one, n.inf]
    ladder += [n.snan, n.nan]
    assert [ieee.classify(fmt, a) for a in ladder] == [1 << bit for bit in range(10)]
    assert ieee.classify(fmt, n.normal) == ieee.classify(fmt, n.largest) == 1 << 6
    assert ieee.classify(fmt, n.below_normal | n.sign) == 1 << 2
    assert ieee.classify(fmt, n.snan | n.sign) == 1 << 8


@BOTH
@pytest.mark.parametrize("width", [32, 64])
def test_what_no_integer_holds_saturates(fmt: Format, width: int) -> None:
    n = Names(fmt)
    ones = (1 << width) - 1
    for rm in MODES:
        for a in (n.inf, n.nan, n.nan | n.sign, n.snan, n.largest):
            assert ieee.to_int(fmt, a, width, True, rm) == (ones >> 1, NV)
            assert ieee.to_int(fmt, a, width, False, rm) == (ones, NV)
        for a in (n.inf | n.sign, n.largest | n.sign):
            assert ieee.to_int(fmt, a, width, True, rm) == (1 << width - 1, NV)
            assert ieee.to_int(fmt, a, width, False, rm) == (0, NV)
        assert ieee.to_int(fmt, n.one | n.sign, width, False, rm) == (0, NV)


@BOTH
def test_a_negative_fraction_is_an_unsigned_zero_unless_it_rounds_to_minus_one(
    fmt: Format,
) -> None:
    n = Names(fmt)
    expected = {RNE: (0, NX), RTZ: (0, NX), RDN: (0, NV), RUP: (0, NX), RMM: (0, NV)}
    for rm in MODES:
        assert ieee.to_int(fmt, n.half | n.sign, 64, False, rm) == expected[rm]
        assert ieee.to_int(fmt, n.minus_zero, 64, False, rm) == (0, 0)


def test_the_ends_of_the_integers_convert_exactly() -> None:
    for width, negatives in itertools.product((32, 64), (True, False)):
        end = 1 << width - negatives
        p, flags = ieee.from_int(BINARY64, end, RNE)
        assert flags == 0
        assert ieee.to_int(BINARY64, p, width, negatives, RNE) == (end - 1, NV)
        assert ieee.to_int(BINARY64, p - 1, 64, False, RTZ)[1] == (NX if width == 32 else 0)
        if negatives:
            assert ieee.to_int(BINARY64, p | BINARY64.sign, width, True, RNE) == (end, 0)


def test_widening_is_exact_and_quiets_a_nan() -> None:
    n, w = Names(BINARY32), Names(BINARY64)
    for a, expected in (
        (n.one, (w.one, 0)),
        (n.minus_zero, (w.minus_zero, 0)),
        (n.inf | n.sign, (w.inf | w.sign, 0)),
        (n.payload, (w.nan, 0)),
        (n.snan, (w.nan, NV)),
        (n.least, ((1023 - 149) << 52, 0)),
    ):
        for rm in MODES:
            assert ieee.convert(BINARY32, BINARY64, a, rm) == expected


def test_narrowing_quiets_a_nan_and_keeps_infinities_and_zeros() -> None:
    n, w = Names(BINARY32), Names(BINARY64)
    for a, expected in (
        (w.payload, (n.nan, 0)),
        (w.snan, (n.nan, NV)),
        (w.inf | w.sign, (n.inf | n.sign, 0)),
        (w.minus_zero, (n.minus_zero, 0)),
        (w.largest, (n.inf, OF | NX)),
        (w.least, (0, UF | NX)),
    ):
        assert ieee.convert(BINARY64, BINARY32, a, RNE) == expected


def test_every_operation_has_its_widths() -> None:
    for op in ieee.OPERATIONS:
        for width in (32, 64):
            operands = [0] * (3 if op == "fma" else 2 if op in ("add", "sub", "mul", "div") else 1)
            value, _ = ieee.evaluate(op, width, RNE, *operands)
            assert value >> ieee.result_width(op, width) == 0
    assert [ieee.operand_width(op, 64) for op in ("add", "from_i32", "to_i32", "widen")] == [
        64,
        32,
        64,
        32,
    ]
    assert ieee.operand_width("narrow", 32) == 64
    assert ieee.result_width("to_u64", 32) == 64
