"""Floating point inside a region: values that stay in the host's registers, and flags of NaNs."""

from itertools import product

import pytest

from auberge.bits import ieee
from auberge.bits.bits import MASK
from auberge.bits.ieee import FORMATS
from auberge.engine.exits import Idle
from tests.engine.board import DATA, FS, XL, Board
from tests.engine.test_translator import plain, translating

pytestmark = pytest.mark.slow

OUT = DATA + 0x2_0000
BOX = MASK[32] << 32
LETTER = {32: "s", 64: "d"}
FUSED = {"fmadd": (0, 0, 0), "fmsub": (0, 0, 1), "fnmsub": (1, 0, 0), "fnmadd": (1, 0, 1)}
OTHERS = {"fadd": 2, "fsub": 2, "fmul": 2, "fdiv": 2, "fsqrt": 1}


def patterns(width: int) -> list[int]:
    """Both zeros, both infinities, both kinds of NaN, large, small, and one in between."""
    fmt = FORMATS[width]
    signaling = fmt.exponent_mask << fmt.fraction | 1
    return [
        0, fmt.sign, fmt.exponent_mask << fmt.fraction,
        fmt.sign | fmt.exponent_mask << fmt.fraction, signaling, signaling | fmt.quiet,
        (fmt.exponent_mask << fmt.fraction) - 1, 3, (fmt.exponent_mask >> 1) << fmt.fraction | 5,
    ]  # fmt: skip


def in_a_loop(body: str, rows: list[tuple[int, ...]]) -> Board:
    """The translator's board after `body` was executed for each row, with flags clear before."""
    text = f"""
            li      s0, {DATA}
            li      s1, {OUT}
            li      s2, {len(rows)}
    again:  fld     fa0, 0(s0)
            fld     fa1, 8(s0)
            fld     fa2, 16(s0)
            {body}
            fsd     fa3, 0(s1)
            csrrw   a0, fflags, zero
            sd      a0, 8(s1)
            addi    s0, s0, 24
            addi    s1, s1, 16
            addi    s2, s2, -1
            bnez    s2, again
            wfi
    """
    boards = [make(text, mstatus=XL | FS, frm=0) for make in (plain, translating)]
    for b in boards:
        for n, value in enumerate(v for row in rows for v in row):
            b.put(DATA + 8 * n, value)
        assert b.exit() == Idle(None)
    one, two = boards
    assert one.hart.visible() == two.hart.visible()
    assert two.engine.statistics()["regions_installed"] >= 1
    assert one.ram.read(OUT, 16 * len(rows)) == two.ram.read(OUT, 16 * len(rows))
    return two


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", [*FUSED, *OTHERS])
def test_values_and_flags_are_those_of_bits_ieee(name: str, width: int) -> None:
    op = "fma" if name in FUSED else name[1:]
    count = 3 if name in FUSED else OTHERS[name]
    box, sign = BOX if width == 32 else 0, FORMATS[width].sign
    rows = list(product(patterns(width), repeat=3))
    sources = ", ".join(f"fa{n}" for n in range(count))
    b = in_a_loop(
        f"{name}.{LETTER[width]} fa3, {sources}", [tuple(v | box for v in row) for row in rows]
    )
    for n, row in enumerate(rows):
        flips = FUSED.get(name, (0, 0, 0))
        operands = [v ^ sign if flip else v for v, flip in zip(row, flips, strict=True)][:count]
        value, flags = ieee.evaluate(op, width, 0, *operands)
        got = b.word(OUT + 16 * n), b.word(OUT + 16 * n + 8)
        assert got == (value | box, flags), [hex(v) for v in row]


@pytest.mark.parametrize("first", ["flt.d a1, fa0, fa1", "fcvt.w.d a1, fa0, rtz"])
def test_flags_of_integer_texts_and_of_the_host_add_up(first: str) -> None:
    """Some are in the state and some in the host's register, before and after a NaN's branch."""
    rows = list(product(patterns(64), repeat=3))
    body = f"""
            {first}
            fmadd.d fa3, fa0, fa1, fa2
            fle.d   a2, fa3, fa2
            fmsub.d fa3, fa1, fa2, fa3
    """
    b = in_a_loop(body, rows)
    assert {b.word(OUT + 16 * n + 8) & 16 for n in range(len(rows))} == {0, 16}


def test_a_number_may_be_taken_for_an_integer_and_back() -> None:
    """The same register as a double, as bits, and as a boxed single."""
    rows = [
        (a, b, c | BOX) for a, b in product(patterns(64), repeat=2) for c in patterns(32)
    ]  # fmt: skip
    body = """
            fmv.x.d a1, fa0
            addi    a1, a1, 1
            fmv.d.x fa4, a1
            fadd.d  fa4, fa4, fa1
            fsgnjn.d fa5, fa4, fa0
            fadd.s  fa6, fa2, fa5
            fcvt.d.s fa7, fa6
            fsw     fa4, 4(s1)
            fmin.d  fa3, fa7, fa5
    """
    in_a_loop(body, rows)
