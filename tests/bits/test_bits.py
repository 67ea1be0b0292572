"""`Bits` is arithmetic modulo 2**width, and what a constructor simplifies keeps its meaning."""

import operator
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.bits.bits import MASK, Bits, concat, const, leaf, select, signed

Meaning = Callable[[int, int, int], int]


def _truncated(a: int, b: int) -> int:
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def _ones(w: int, a: int) -> str:
    return f"{a:0{w}b}"


# What each operation means, said another way than in bits.py.
ARITHMETIC: dict[str, tuple[Callable[[Bits, Bits], Bits], Meaning]] = {
    "+": (operator.add, lambda w, a, b: (a + b) % 2**w),
    "-": (operator.sub, lambda w, a, b: (a - b) % 2**w),
    "&": (operator.and_, lambda w, a, b: sum((a >> i & b >> i & 1) << i for i in range(w))),
    "|": (operator.or_, lambda w, a, b: a + b - (a & b)),
    "^": (operator.xor, lambda w, a, b: a + b - 2 * (a & b)),
    "<<": (operator.lshift, lambda w, a, b: a * 2 ** (b % w) % 2**w),
    "shr": (Bits.shr, lambda w, a, b: a // 2 ** (b % w)),
    "sar": (Bits.sar, lambda w, a, b: signed(a, w) // 2 ** (b % w) % 2**w),
    "mul": (Bits.mul, lambda w, a, b: a * b % 2**w),
}
DIVISION: dict[str, tuple[Callable[[Bits, Bits], Bits], Meaning]] = {
    "udiv": (Bits.udiv, lambda w, a, b: a // b),
    "urem": (Bits.urem, lambda w, a, b: a % b),
    "sdiv": (Bits.sdiv, lambda w, a, b: _truncated(signed(a, w), signed(b, w)) % 2**w),
    "srem": (
        Bits.srem,
        lambda w, a, b: (
            signed(a, w) - signed(b, w) * _truncated(signed(a, w), signed(b, w))
        ) % 2**w,
    ),
}  # fmt: skip
COMPARISON: dict[str, tuple[Callable[[Bits, Bits], Bits], Meaning]] = {
    "eq": (Bits.eq, lambda w, a, b: a == b),
    "ne": (Bits.ne, lambda w, a, b: a != b),
    "ult": (Bits.ult, lambda w, a, b: a < b),
    "ule": (Bits.ule, lambda w, a, b: a <= b),
    "slt": (Bits.slt, lambda w, a, b: signed(a, w) < signed(b, w)),
    "sle": (Bits.sle, lambda w, a, b: signed(a, w) <= signed(b, w)),
}
COUNTING: dict[str, tuple[Callable[[Bits], Bits], Callable[[int, int], int]]] = {
    "clz": (Bits.clz, lambda w, a: len(_ones(w, a)) - len(_ones(w, a).lstrip("0"))),
    "ctz": (Bits.ctz, lambda w, a: len(_ones(w, a)) - len(_ones(w, a).rstrip("0"))),
    "popcount": (Bits.popcount, lambda w, a: _ones(w, a).count("1")),
    "~": (operator.invert, lambda w, a: 2**w - 1 - a),
}
BINARY = ARITHMETIC | DIVISION | COMPARISON
WIDE = (1, 2, 7, 8, 16, 31, 32, 33, 63, 64, 65, 127, 128)


def edges(width: int) -> list[int]:
    """Values at which something may break."""
    around = (0, 1, 2, width - 1, width, width + 1, 1 << width - 1, (1 << width - 1) - 1)
    return sorted(
        {v & MASK[width] for v in (*around, -1, -2, 0x5555, 0xAAAA, (1 << width - 1) + 1)}
    )


def pairs(width: int) -> Iterator[tuple[int, int]]:
    """All there are, where they are few."""
    values = range(1 << width) if width <= 5 else edges(width)
    return product(values, values)


@pytest.mark.parametrize("width", sorted({*range(1, 9), *WIDE}))
@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name: str, width: int) -> None:
    operation, meaning = BINARY[name]
    for a, b in pairs(width):
        if name in DIVISION and b == 0:
            continue
        got = operation(const(a, width), const(b, width))
        assert got.value == int(meaning(width, a, b)), (a, b)
        assert got.width == (1 if name in COMPARISON else width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [6, 7, 8])
@pytest.mark.parametrize("name", BINARY)
def test_two_operands_of_every_value(name: str, width: int) -> None:
    operation, meaning = BINARY[name]
    for a, b in product(range(1 << width), repeat=2):
        if b or name not in DIVISION:
            assert operation(const(a, width), const(b, width)).value == int(meaning(width, a, b))


@pytest.mark.parametrize("width", sorted({*range(1, 9), *WIDE}))
@pytest.mark.parametrize("name", COUNTING)
def test_one_operand(name: str, width: int) -> None:
    operation, meaning = COUNTING[name]
    for a in range(1 << width) if width <= 8 else edges(width):
        assert operation(const(a, width)).value == meaning(width, a) & MASK[width], a


@pytest.mark.parametrize("width", [16, 32, 48, 64, 128])
def test_bswap(width: int) -> None:
    for a in edges(width):
        swapped = const(a, width).bswap()
        assert swapped.value == int.from_bytes(a.to_bytes(width // 8, "big"), "little")
        assert swapped.bswap().value == a


@pytest.mark.parametrize("width", range(1, 9))
def test_widening_and_taking_apart(width: int) -> None:
    for a in range(1 << width):
        v = const(a, width)
        for wider in (width, width + 1, 13, 64):
            assert v.zext(wider).value == a
            assert v.sext(wider).value == signed(a, width) & MASK[wider]
        for hi in range(width):
            assert v[hi].value == a >> hi & 1
            for lo in range(hi + 1):
                assert v[hi:lo].value == (a >> lo) % (1 << hi - lo + 1)
                put = v.insert(hi, lo, const(0b0110_1001, hi - lo + 1))
                bits = list(reversed(f"{a:0{width}b}"))
                new = list(reversed(f"{0b0110_1001 % (1 << hi - lo + 1):0{hi - lo + 1}b}"))
                bits[lo : hi + 1] = new
                assert put.value == int("".join(reversed(bits)), 2)


def test_division_by_zero_has_some_value() -> None:
    """On the path that a select drops, both when it is known and when it is not."""
    for name in DIVISION:
        assert DIVISION[name][0](const(5, 64), const(0, 64)) == const(0, 64)


# -- expressions --------------------------------------------------------------------------------
def substituted(e: Bits, values: dict[int, int]) -> Bits:
    """The expression with its leaves known, built again from the bottom."""
    if e.value is not None:
        return e
    if e.op == "leaf":
        return const(values[e.param], e.width)
    a = [substituted(x, values) for x in e.args]
    match e.op:
        case "select":
            return select(a[0], a[1], a[2])
        case "concat":
            return concat(*a)
        case "extract":
            return a[0][e.param + e.width - 1 : e.param]
        case "sext" | "zext":
            return a[0].sext(e.width) if e.op == "sext" else a[0].zext(e.width)
        case "clz" | "ctz" | "popcount" | "bswap":
            return COUNTS[e.op](a[0])
    return OPERATIONS[e.op](a[0], a[1])


COUNTS: dict[str, Callable[[Bits], Bits]] = {
    "clz": Bits.clz, "ctz": Bits.ctz, "popcount": Bits.popcount, "bswap": Bits.bswap,
}  # fmt: skip
OPERATIONS: dict[str, Callable[[Bits, Bits], Bits]] = {
    "add": operator.add, "sub": operator.sub, "and": operator.and_, "or": operator.or_,
    "xor": operator.xor, "shl": operator.lshift, "lshr": Bits.shr, "ashr": Bits.sar,
    "mul": Bits.mul, "udiv": Bits.udiv, "urem": Bits.urem, "sdiv": Bits.sdiv, "srem": Bits.srem,
    "eq": Bits.eq, "ult": Bits.ult, "slt": Bits.slt,
}  # fmt: skip
LEAVES = 3


@st.composite
def twins(draw: st.DrawFn, width: int, depth: int, values: list[int]) -> tuple[Bits, Bits]:
    """An expression over leaves, and the same made of their values from the start."""
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        if draw(st.booleans()):
            which = draw(st.integers(0, LEAVES - 1))
            return leaf(width, which), const(values[which], width)
        v = draw(
            st.sampled_from([0, 1, -1, 2, 1 << width - 1, width]) | st.integers(0, MASK[width])
        )
        return const(v, width), const(v, width)

    def sub(w: int) -> tuple[Bits, Bits]:
        return draw(twins(w, depth - 1, values))

    match draw(st.integers(0, 8)):
        case 0:
            cond, a, b = sub(1), sub(width), sub(width)
            return select(cond[0], a[0], b[0]), select(cond[1], a[1], b[1])
        case 1 if width == 1:
            inner = draw(st.sampled_from([1, 3, 8]))
            compare = draw(st.sampled_from(sorted(COMPARISON)))
            a, b = sub(inner), sub(inner)
            f = COMPARISON[compare][0]
            return f(a[0], b[0]), f(a[1], b[1])
        case 2 if width > 1:
            lo = draw(st.integers(1, width - 1))
            a, b = sub(width - lo), sub(lo)
            return concat(a[0], b[0]), concat(a[1], b[1])
        case 3 if width > 1:
            narrow = draw(st.integers(1, width))
            a = sub(narrow)
            if draw(st.booleans()):
                return a[0].sext(width), a[1].sext(width)
            return a[0].zext(width), a[1].zext(width)
        case 4:
            lo = draw(st.integers(0, 3))
            a = sub(width + lo + 1)
            return a[0][lo + width - 1 : lo], a[1][lo + width - 1 : lo]
        case 5:
            hi = draw(st.integers(0, width - 1))
            lo = draw(st.integers(0, hi))
            a, b = sub(width), sub(hi - lo + 1)
            return a[0].insert(hi, lo, b[0]), a[1].insert(hi, lo, b[1])
        case 6:
            count = draw(st.sampled_from([Bits.clz, Bits.ctz, Bits.popcount, operator.invert]))
            a = sub(width)
            return count(a[0]), count(a[1])
        case _:
            f = ARITHMETIC[draw(st.sampled_from(sorted(ARITHMETIC)))][0]
            a, b = sub(width), sub(width)
            return f(a[0], b[0]), f(a[1], b[1])


@given(st.data())
def test_a_simplified_expression_means_the_same(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([1, 2, 5, 8, 32, 64]))
    values = [data.draw(st.integers(0, MASK[64])) for _ in range(LEAVES)]
    expression, known = data.draw(twins(width, 4, values))
    assert expression.width == known.width == width
    assert substituted(expression, dict(enumerate(values))) == known


@pytest.mark.parametrize("width", [1, 8, 64])
@pytest.mark.parametrize("name", BINARY)
def test_an_operation_of_which_one_side_is_known_means_the_same(name: str, width: int) -> None:
    operation, unknown = BINARY[name][0], leaf(width, 0)
    for a, b in product(edges(width), repeat=2):
        if b or name not in DIVISION:
            whole = operation(const(a, width), const(b, width))
            assert substituted(operation(unknown, const(b, width)), {0: a}) == whole, (a, b)
            assert substituted(operation(const(a, width), unknown), {0: b}) == whole, (a, b)
            if a == b:
                assert substituted(operation(unknown, unknown), {0: a}) == whole, a


X, Y = leaf(64, 1), leaf(64, 2)


@pytest.mark.parametrize(
    ("made", "simple"),
    [
        (X + 0, X), (X - 0, X), (X | 0, X), (X ^ 0, X), (X << 0, X), (X.shr(0), X), (X.sar(0), X),
        (X & 0, const(0, 64)), (X & -1, X), (const(0, 64) + X, X), (const(-1, 64) & X, X),
        (X.eq(X), const(1, 1)), (X.ne(X), const(0, 1)), (X.ult(X), const(0, 1)),
        (X.ule(X), const(1, 1)), (X.slt(X), const(0, 1)), (X.sle(X), const(1, 1)),
        (X[63:0], X), (X[31:8][7:4], X[15:12]), (X.sext(64), X), (X.zext(64), X), (concat(X), X),
        (select(X[0], Y, Y), Y), (select(const(1, 1), X, Y), X), (select(const(0, 1), X, Y), Y),
    ],
)  # fmt: skip
def test_what_is_known_is_not_computed(made: Bits, simple: Bits) -> None:
    assert made == simple


def test_equal_expressions_are_one_object() -> None:
    assert X + Y is X + Y
    assert X[7:0] is X[7:0]
    assert leaf(64, 1) is X
    assert X + Y is not Y + X


def test_different_things_are_different() -> None:
    assert len({X, Y, leaf(32, 1), X + Y, X - Y, X[1:0], X[2:1], X[0].zext(8), X[0].sext(8)}) == 9
    assert const(1, 8) != const(1, 9)
    assert const(1, 8) == const(257, 8)
    assert hash(const(1, 8)) == hash(const(257, 8))
    assert X != const(0, 64)
    assert (const(1, 8) == 1) is False


# -- refusals -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (lambda: X + leaf(32, 1), TypeError,
         "add of 64-bit and 32-bit values; widen one with .sext() or .zext()"),
        (lambda: const(1, 8).ult(const(1, 9)), TypeError,
         "ult of 8-bit and 9-bit values; widen one with .sext() or .zext()"),
        (lambda: select(X, X, X), TypeError, "select on 64 bits; compare them first"),
        (lambda: select(X[0], X, X[7:0]), TypeError,
         "select of 64-bit and 8-bit values; widen one with .sext() or .zext()"),
        (lambda: X.sext(32), TypeError, "sext of 64 bits to 32; narrow with [hi:lo]"),
        (lambda: X.zext(63), TypeError, "zext of 64 bits to 63; narrow with [hi:lo]"),
        (lambda: X[64:0], IndexError, "[64:0] is outside a 64-bit value"),
        (lambda: X[0:1], IndexError, "[0:1] is outside a 64-bit value"),
        (lambda: X[-1], IndexError, "[-1:-1] is outside a 64-bit value"),
        (lambda: X.insert(7, 0, const(0, 9)), TypeError, "9 bits do not fit [7:0]"),
        (lambda: bool(leaf(1, 9)), TypeError,
         "(leaf@9:1 ) is not known until the guest runs; use select(cond, a, b), not 'if'"),
        (lambda: int(leaf(1, 9)), TypeError,
         "(leaf@9:1 ) is not known until the guest runs; it has no value yet"),
    ],
)  # fmt: skip
def test_refusals(wrong: Callable[[], object], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        wrong()
    assert str(raised.value) == said


@given(st.integers(1, 128), st.integers(), st.integers())
def test_a_ring(width: int, a: int, b: int) -> None:
    x, y = const(a, width), const(b, width)
    assert (x + y, x.mul(y)) == (y + x, y.mul(x))
    assert x - y == x + (~y + 1)
    assert (x + y) - y == x
    assert x.mul(y) + x == x.mul(y + 1)
    assert ~(x & y) == ~x | ~y
    assert x ^ y ^ y == x
    assert concat(x, y)[width - 1 : 0] == y
