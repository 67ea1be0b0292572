"""`rounding`, which engines lower, gives what `ieee`, which defines, gives."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auberge.bits import ieee
from auberge.bits.bits import const
from auberge.bits.rounding import from_unsigned, to_integer

KINDS = {"to_i32": (32, True), "to_u32": (32, False), "to_i64": (64, True), "to_u64": (64, False)}


def boundary(fmt: int) -> st.SearchStrategy[int]:
    """Floats of every magnitude around those of integers, and all specials."""
    fraction, bias, top = (52, 1023, 2047) if fmt == 64 else (23, 127, 255)
    exponents = st.integers(bias - 3, bias + 66) | st.sampled_from([0, 1, top - 1, top])
    last = (1 << fraction) - 1
    fractions = st.integers(0, last) | st.sampled_from([0, 1, last, last - 1, 1 << fraction - 1])
    return st.builds(
        lambda s, e, f: s << fmt - 1 | e << fraction | f, st.integers(0, 1), exponents, fractions
    )


@pytest.mark.parametrize("rm", range(5))
@pytest.mark.parametrize("op", KINDS)
@settings(max_examples=15)
@given(st.data())
def test_to_integer(op: str, rm: int, data: st.DataObject) -> None:
    width, is_signed = KINDS[op]
    for fmt in (32, 64, 32, 64):
        a = data.draw(boundary(fmt))
        value, flags = to_integer(fmt, const(a, fmt), const(rm, 3), width, is_signed)
        assert (value.value, flags.value) == ieee.evaluate(op, fmt, rm, a), hex(a)


@pytest.mark.parametrize("rm", range(5))
@pytest.mark.parametrize("fmt", [32, 64])
@settings(max_examples=30)
@given(v=st.integers(0, 2**64 - 1) | st.builds(lambda n, d: (1 << n) + d & 2**64 - 1,
                                               st.integers(0, 63), st.integers(-3, 3)))  # fmt: skip
@example(v=2**64 - 1)
@example(v=2**63)
@example(v=2**63 + 1024)
def test_from_unsigned(fmt: int, rm: int, v: int) -> None:
    """What is converted, doubled where it was halved, is `v` converted; with the same flags."""
    half, is_big = from_unsigned(const(v, 64))
    got, flags = ieee.evaluate("from_i64", fmt, rm, int(half))
    if is_big:
        got += 1 << (52 if fmt == 64 else 23)
    assert (got, flags) == ieee.evaluate("from_u64", fmt, rm, v)
