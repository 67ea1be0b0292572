"""M: products by Python's integers, and the table of divisions that have no quotient (13.2)."""

import pytest

from auberge.bits.bits import signed
from tests.isa.one import MASK64, result

LOWEST, LOWEST32 = 1 << 63, 0xFFFF_FFFF_8000_0000
EDGES = [0, 1, 2, MASK64, LOWEST, LOWEST - 1, 0x8000_0000, 0xFFFF_FFFF, 0x1234_5678_9ABC_DEF0]


def s(value: int) -> int:
    return signed(value, 64)


def w(value: int) -> int:
    return signed(value & 0xFFFF_FFFF, 32) & MASK64


@pytest.mark.parametrize("a", EDGES)
@pytest.mark.parametrize("b", EDGES)
def test_products(a: int, b: int) -> None:
    assert result("mul a0, a1, a2", a, b) == a * b & MASK64
    assert result("mulh a0, a1, a2", a, b) == s(a) * s(b) >> 64 & MASK64
    assert result("mulhsu a0, a1, a2", a, b) == s(a) * b >> 64 & MASK64
    assert result("mulhu a0, a1, a2", a, b) == a * b >> 64
    assert result("mulw a0, a1, a2", a, b) == w(a * b)


# assembly, dividend, divisor, result
DIVISIONS = [
    ("div", 7, MASK64 - 1, MASK64 - 2),  # toward zero
    ("rem", 7, MASK64 - 1, 1),  # the sign of the dividend
    ("div", MASK64 - 6, 2, MASK64 - 2),
    ("rem", MASK64 - 6, 2, MASK64),
    ("div", 5, MASK64, MASK64 - 4),
    ("rem", 5, MASK64, 0),
    ("div", 5, 0, MASK64),
    ("divu", 5, 0, MASK64),
    ("rem", 5, 0, 5),
    ("remu", MASK64, 0, MASK64),
    ("div", LOWEST, MASK64, LOWEST),
    ("rem", LOWEST, MASK64, 0),
    ("divu", LOWEST, MASK64, 0),
    ("remu", LOWEST, MASK64, LOWEST),
    ("divu", MASK64, 3, 0x5555_5555_5555_5555),
    ("remu", MASK64, 10, 5),
    ("divw", 0x1_0000_0007, MASK64 - 1, MASK64 - 2),
    ("remw", 0x1_0000_0007, MASK64 - 1, 1),
    ("divw", 5, 0xFFFF_FFFF, MASK64 - 4),
    ("divw", 5, 0x1_0000_0000, MASK64),
    ("divuw", 5, 0x1_0000_0000, MASK64),
    ("remw", 0x8000_0005, 0, 0xFFFF_FFFF_8000_0005),
    ("remuw", 0x8000_0005, 0, 0xFFFF_FFFF_8000_0005),
    ("divw", 0x8000_0000, 0xFFFF_FFFF, LOWEST32),
    ("remw", 0x8000_0000, 0xFFFF_FFFF, 0),
    ("divuw", 0xFFFF_FFFF, 1, MASK64),
    ("remuw", 0xFFFF_FFFF, 0x1_0000, 0xFFFF),
]


@pytest.mark.parametrize(("name", "a", "b", "expected"), DIVISIONS)
def test_divisions(name: str, a: int, b: int, expected: int) -> None:
    assert result(f"{name} a0, a1, a2", a, b) == expected
