"""Accesses of a block that are near to each other: in one page, in two, or where there is none."""

from collections.abc import Callable

import pytest

from auberge.engine.exits import Idle
from auberge.engine.explore import Explorer
from auberge.engine.lowering import Context
from auberge.engine.region import Region
from auberge.engine.spans import FEWEST, WIDEST, Span, span_of
from auberge.engine.state import Layout
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from tests.engine import regions
from tests.engine.board import CODE, DATA, PAGE, SV39, Board
from tests.engine.test_region_paths import paged
from tests.engine.test_translator import plain, translating

LOADS = """
        ld      a0, 8(sp)
        lw      a1, 4(sp)
        {middle}
        lbu     a2, 40(sp)
        ld      a3, (sp)
        ret
"""
FRAMES = """
        li      s3, 12
walk:   li      sp, {first}
        li      s2, 100
again:  addi    sp, sp, -48
        sd      a0, 8(sp)
        sd      a1, 40(sp)
        sw      a2, 33(sp)
        sd      a3, (sp)
        sb      a4, 31(sp)
        mul     a0, a0, s2
        ld      a1, 8(sp)
        lw      a2, 34(sp)
        addi    a3, sp, 16
        ld      a4, 16(a3)
        xor     a0, a0, a4
        lhu     a4, -9(a3)
        add     a1, a1, a2
        ld      a3, 40(sp)
        add     a3, a3, a4
        addi    sp, sp, {step}
        addi    s2, s2, -1
        bnez    s2, again
        addi    s3, s3, -1
        bnez    s3, walk
        wfi
"""
GONE = """
        li      s4, 1000
again:  mv      sp, s5
        mv      s11, a0
        {access} a0, 8(sp)
        addi    a1, a1, 1
        {access} a2, 16(sp)
        addi    a1, a1, 2
        {access} a3, 24(sp)
        addi    a1, a1, 4
        {access} a4, 32(sp)
        addi    a1, a1, 8
        addi    s4, s4, -1
        bnez    s4, again
        mv      s5, s6
        li      s4, 1000
        addi    s7, s7, 1
        bltu    s7, s8, again
        wfi
        .align  6
handler:
        wfi
"""


def everywhere(text: str, **cells: int | str) -> Board:
    """A board with regions at random entries."""
    b = Board(regions.NAME, text, **cells)
    b.hart.x[9] = DATA
    return b


def span(text: str) -> tuple[int, Span] | None:
    """Of the block that a text begins with."""
    page = assembly(rv64, text, CODE).code.ljust(PAGE, b"\0")
    explorer = Explorer(rv64, Context.of(rv64, Layout(()), True).watched, {})
    return span_of(rv64, explorer.shape(page, 0).block(0))


def test_the_second_access_asks_for_all_after_it() -> None:
    assert span(LOADS.format(middle="add a0, a0, a1")) == (4, Span(0, 41))


def test_a_register_may_be_moved_meanwhile() -> None:
    _, found = span(LOADS.format(middle="addi sp, sp, 64")) or (0, Span(0, 0))
    assert found == Span(4, 64 + 41)


@pytest.mark.parametrize(
    "middle",
    [
        "mv sp, a0",  # another address
        "ld sp, (a0)",
        f"addi sp, sp, 2047\naddi sp, sp, {WIDEST - 2047}",
    ],
)
def test_too_few_or_too_far(middle: str) -> None:
    assert FEWEST == 4
    assert span(LOADS.format(middle=middle)) is None


def test_stores_are_for_themselves() -> None:
    assert span(LOADS.format(middle="sd a0, 16(sp)")) == (4, Span(0, 41))
    assert span(LOADS.format(middle="nop").replace("lbu ", "sb  ")) is None


@pytest.mark.parametrize("step", [48 - 8, 48 + 8, 48 - 3, 48 + 9])
@pytest.mark.slow
def test_frames_walk_over_pages_that_are_not_neighbours(step: int) -> None:
    """Aligned or not, up or down; some frames lie across two pages, some accesses too."""
    first = DATA + 2 * PAGE + (200 if step < 48 else -200)
    text = FRAMES.format(first=first, step=step)
    boards = [make(text, satp=SV39, priv=1) for make in (plain, translating, everywhere)]
    for b in boards:
        paged(b)
        b.hart.x[12] = 0x0123_4567_89AB_CDEF
        assert b.exit() == Idle(None)
    for other in boards[1:]:
        assert other.hart.visible() == boards[0].hart.visible()
        assert other.ram.read(DATA, 4 * PAGE) == boards[0].ram.read(DATA, 4 * PAGE)
        assert other.engine.statistics()["regions_installed"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("make", [translating, everywhere])
@pytest.mark.parametrize("access", ["ld", "sd"])
@pytest.mark.parametrize("there", range(0, 48, 8))
def test_a_frame_whose_end_is_not_there(
    there: int, access: str, make: Callable[..., Board]
) -> None:
    """What is accessed before the page ends has been; what follows has not."""
    text = GONE.format(access=access)
    boards = []
    for each in (plain, make):
        b = each(text, satp=SV39, priv=1, mtvec="handler")
        for page in range(2):
            b.map(CODE + PAGE * page, CODE + PAGE * page)
        b.map(DATA, DATA)
        for word in range(PAGE // 8):
            b.put(DATA + 8 * word, 0x0101_0203_0508_0D15 * (word + 1) & (1 << 64) - 1)
        b["s8"] = 2
        b["s5"], b["s6"] = DATA + 256, DATA + PAGE - there
        assert b.exit() == Idle(None)
        boards.append(b)
    one, two = boards
    if there < 40:
        assert one["mcause"] == {"ld": 13, "sd": 15}[access]
    assert one.hart.visible() == two.hart.visible()
    assert one.ram.read(DATA, PAGE) == two.ram.read(DATA, PAGE)


def test_good_code_asks_once() -> None:
    page = assembly(rv64, FRAMES.format(first=DATA, step=40), CODE).code.ljust(PAGE, b"\0")
    context = Context.of(rv64, Layout(()), True)
    explorer = Explorer(rv64, context.watched, {})
    shape = explorer.shape(page, 0)
    good, quick = (
        Region(context, explorer, shape, 0, "region", spans).text for spans in (True, False)
    )
    assert "narrow" in good
    assert "narrow" not in quick
