"""Zba, Zbb and Zbs, each against a line of Python over bits."""

from collections.abc import Callable

import pytest

from auberge.bits.bits import signed
from tests.isa.one import MASK64, result

LOW = 0xFFFF_FFFF
EDGES = [
    0,
    1,
    MASK64,
    1 << 63,
    (1 << 63) - 1,
    0x8000_0000,
    LOW,
    0x80,
    0x8000,
    0x0102_0300_0506_0008,
]


def s(value: int, width: int = 64) -> int:
    return signed(value & (1 << width) - 1, width)


def w(value: int) -> int:
    return s(value, 32) & MASK64


def swapped(value: int) -> int:
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def ored(value: int) -> int:
    return int.from_bytes(
        bytes(255 if byte else 0 for byte in value.to_bytes(8, "little")), "little"
    )


def zeros(bits: str) -> int:
    """How many zeros a string of bits starts with."""
    return len(bits) - len(bits.lstrip("0"))


UNARY: dict[str, Callable[[int], int]] = {
    "clz": lambda a: zeros(f"{a:064b}"),
    "clzw": lambda a: zeros(f"{a & LOW:032b}"),
    "ctz": lambda a: zeros(f"{a:064b}"[::-1]),
    "ctzw": lambda a: zeros(f"{a & LOW:032b}"[::-1]),
    "cpop": lambda a: a.bit_count(),
    "cpopw": lambda a: (a & LOW).bit_count(),
    "sext.b": lambda a: s(a, 8) & MASK64,
    "sext.h": lambda a: s(a, 16) & MASK64,
    "zext.h": lambda a: a & 0xFFFF,
    "zext.w": lambda a: a & LOW,
    "orc.b": ored,
    "rev8": swapped,
}


@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name: str) -> None:
    for a in EDGES:
        assert result(f"{name} a0, a1", a) == UNARY[name](a), hex(a)


def ror(a: int, n: int, width: int = 64) -> int:
    a, n = a & (1 << width) - 1, n % width
    return (a >> n | a << width - n) & (1 << width) - 1


BINARY: dict[str, Callable[[int, int], int]] = {
    "add.uw": lambda a, b: (a & LOW) + b,
    "sh1add": lambda a, b: 2 * a + b,
    "sh2add": lambda a, b: 4 * a + b,
    "sh3add": lambda a, b: 8 * a + b,
    "sh1add.uw": lambda a, b: 2 * (a & LOW) + b,
    "sh2add.uw": lambda a, b: 4 * (a & LOW) + b,
    "sh3add.uw": lambda a, b: 8 * (a & LOW) + b,
    "andn": lambda a, b: a & ~b,
    "orn": lambda a, b: a | ~b,
    "xnor": lambda a, b: ~(a ^ b),
    "max": lambda a, b: max(s(a), s(b)),
    "maxu": max,
    "min": lambda a, b: min(s(a), s(b)),
    "minu": min,
    "rol": lambda a, b: ror(a, -b % 64),
    "rolw": lambda a, b: w(ror(a, -b % 32, 32)),
    "ror": ror,
    "rorw": lambda a, b: w(ror(a, b, 32)),
    "bclr": lambda a, b: a & ~(1 << b % 64),
    "bext": lambda a, b: a >> b % 64 & 1,
    "binv": lambda a, b: a ^ 1 << b % 64,
    "bset": lambda a, b: a | 1 << b % 64,
}


@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name: str) -> None:
    for a in EDGES:
        for b in (0, 1, 31, 32, 63, 64, MASK64, 1 << 63, 0x1_8000_0001):
            expected = BINARY[name](a, b) & MASK64
            assert result(f"{name} a0, a1, a2", a, b) == expected, (hex(a), hex(b))


IMMEDIATE: dict[str, Callable[[int, int], int]] = {
    "slli.uw": lambda a, n: (a & LOW) << n,
    "rori": ror,
    "bclri": BINARY["bclr"],
    "bexti": BINARY["bext"],
    "binvi": BINARY["binv"],
    "bseti": BINARY["bset"],
}


@pytest.mark.parametrize("name", IMMEDIATE)
def test_immediate_amounts(name: str) -> None:
    for a in EDGES:
        for n in (0, 1, 31, 32, 63):
            assert result(f"{name} a0, a1, {n}", a) == IMMEDIATE[name](a, n) & MASK64, hex(a)


def test_roriw() -> None:
    for a in EDGES:
        for n in (0, 1, 31):
            assert result(f"roriw a0, a1, {n}", a) == w(ror(a, n, 32))
