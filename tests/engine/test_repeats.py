"""Loops of one block, several times in a row: the same to the instruction and to the byte."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from auberge.engine import choose
from auberge.engine.exits import Idle, Spent
from auberge.engine.explore import Explorer, Shape
from auberge.engine.lowering import Context
from auberge.engine.region import Region
from auberge.engine.repeats import LONGEST, MOST, Near, Repeat, repeats_of
from auberge.engine.spans import WIDEST, Span
from auberge.engine.state import Layout
from auberge.engine.workshop import WELL
from auberge.isa.assembler import assembly
from auberge.isa.hart import LOAD, STORE
from auberge.isa.riscv.rv64 import rv64
from tests.engine import regions
from tests.engine.board import CODE, DATA, PAGE, SV39, Board
from tests.engine.test_region_paths import paged
from tests.engine.test_translator import plain

if TYPE_CHECKING:
    from auberge.engine.region_record import Region as Compiled

COPY = """
again:  ld      a0, (s1)
        addi    s1, s1, 8
        sw      a0, 4(s2)
        addi    s2, s2, 8
        bne     s1, s3, again
        wfi
"""
WALK = """
        li      s3, 8
walk:   li      s1, {first}
        mv      s2, s4
again:  ld      a0, (s1)
        add     a1, a1, a0
        sh      a1, 6(s1)
        addi    s2, s2, -1
        addi    s1, s1, {step}
        bnez    s2, again
        addi    s3, s3, -1
        addi    s4, s4, {more}
        bnez    s3, walk
        wfi
"""
GONE = """
again:  {access} a0, (s1)
        addi    a1, a1, 1
        {access} a2, 8(s1)
        addi    s1, s1, 16
        bne     s1, s3, again
        mv      s1, s2
        mv      s3, a4
        addi    a3, a3, 1
        bnez    s1, again
        wfi
        .align  6
handler:
        wfi
"""
COUNT = """
        li      s1, 1000
again:  addi    a0, a0, 3
        xor     a1, a1, a0
        addi    s1, s1, -1
        bnez    s1, again
        wfi
"""


class Good(regions.Everywhere):
    """Has good code of all that follows each instruction."""

    def regions(self, code: bytes) -> Iterator["Compiled | None"]:
        for entry in range(0, PAGE, 2):
            if code[entry : entry + 2] != bytes(2):
                yield regions.compiled(code, entry, 128, WELL)


choose.add(regions.Everywheres("good", Good))


def boards(text: str, **cells: int | str) -> tuple[Board, Board]:
    """A board without regions, and one with good ones."""
    return plain(text, **cells), Board("good", text, **cells)


def shape(text: str) -> Shape:
    """Of the region that a text begins with."""
    page = assembly(rv64, text, CODE).code.ljust(PAGE, b"\0")
    return Explorer(rv64, Context.of(rv64, Layout(()), True).watched, {}).shape(page, 0)


def only(text: str) -> Repeat:
    """The one loop of a text."""
    (repeat,) = repeats_of(rv64, shape(text)).values()
    return repeat


def test_what_is_near_to_registers_that_drift_is_asked_for_once() -> None:
    repeat = only(COPY)
    assert (repeat.times, len(repeat.block), repeat.more) == (MOST, 5, 15)
    assert repeat.near == [Near("x9", LOAD, Span(0, 32)), Near("x18", STORE, Span(4, 32))]
    assert [near.room for near in repeat.near] == [PAGE - 31, PAGE - 27]


@pytest.mark.parametrize(
    ("text", "registers"),
    [
        (COPY.replace("s1, s1, 8", "s1, s1, -8"), {"x9", "x18"}),
        (COPY.replace("s1, s1, 8", f"s1, s1, {WIDEST // 3}"), {"x18"}),
        (COPY.replace("addi    s1, s1, 8", "add s1, s1, a1"), {"x18"}),
        (COPY.replace("a0, (s1)", "s1, (s1)"), {"x18"}),
        (COPY.replace("(s1)", "(x0)"), {"x18"}),
    ],
)
def test_what_else_moves_is_asked_for_each_time(text: str, registers: set[str]) -> None:
    assert {near.register for near in only(text).near} == registers


@pytest.mark.parametrize(("size", "times"), [(2, 4), (8, 4), (9, 3), (16, 2), (17, 1), (40, 1)])
def test_a_long_loop_is_there_less_often(size: int, times: int) -> None:
    body = "add a0, a0, a1\n" * (size - 1)
    found = repeats_of(rv64, shape(f"again: {body} bnez a0, again\n wfi"))
    assert [repeat.times for repeat in found.values()] == [times] * (times > 1)
    assert size * times <= max(LONGEST, size)


@pytest.mark.parametrize(
    "end",
    [
        "j again",  # not a question
        "beqz a0, out\n bnez a1, again\n out:",  # two blocks
        "bnez a0, out\n out: nop",
    ],
)
def test_only_loops_of_one_block(end: str) -> None:
    assert repeats_of(rv64, shape(f"again: addi a0, a0, 1\n {end}\n wfi")) == {}


def test_only_good_code_has_them() -> None:
    page = assembly(rv64, COPY, CODE).code.ljust(PAGE, b"\0")
    context = Context.of(rv64, Layout(()), True)
    explorer = Explorer(rv64, context.watched, {})
    good, quick = (
        Region(context, explorer, explorer.shape(page, 0), 0, "region", level).text
        for level in (True, False)
    )
    assert good.count("store volatile i32") == 1 + MOST
    assert quick.count("store volatile i32") == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", [8, 9, -8, -3, 24, 400, 1000])
@pytest.mark.parametrize(("times", "more"), [(1, 1), (100, 0)])
def test_a_loop_walks_over_pages_that_are_not_neighbours(step: int, times: int, more: int) -> None:
    """As often as it is there in a row, less, and more; aligned or not, forward or back."""
    first = DATA + PAGE - 256 if step > 0 else DATA + 3 * PAGE + 256
    times = min(times, 2 * PAGE // abs(step))
    text = WALK.format(first=first, step=step, more=more)
    one, two = boards(text, satp=SV39, priv=1)
    for b in (one, two):
        paged(b)
        b["s4"] = times
        assert b.exit() == Idle(None)
    assert one.hart.visible() == two.hart.visible()
    assert one["spent"] == two["spent"]
    assert one.ram.read(DATA, 4 * PAGE) == two.ram.read(DATA, 4 * PAGE)
    assert two.engine.statistics()["regions_installed"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("access", ["ld", "sd"])
@pytest.mark.parametrize("there", range(0, 96, 8))
def test_a_page_that_is_not_there_is_missed_by_the_very_instruction(
    there: int, access: str
) -> None:
    """First a loop finds a page; then it comes to where that ends."""
    one, two = boards(GONE.format(access=access), satp=SV39, priv=1, mtvec="handler")
    for b in (one, two):
        for page in range(2):
            b.map(CODE + PAGE * page, CODE + PAGE * page)
        b.map(DATA, DATA)
        b["s1"], b["s3"] = DATA, DATA + 160
        b["s2"], b["a4"] = DATA + PAGE - there, 0
        assert b.exit() == Idle(None)
    assert one["mcause"] == {"ld": 13, "sd": 15}[access]
    assert one["mtval"] == DATA + PAGE
    assert one.hart.visible() == two.hart.visible()
    assert one.ram.read(DATA, PAGE) == two.ram.read(DATA, PAGE)


@pytest.mark.parametrize("address", [0, 8, (1 << 64) - 8, (1 << 64) - PAGE, 1 << 62])
def test_no_page_is_known_before_one_is_found(address: int) -> None:
    one, two = boards(GONE.format(access="ld"), satp=SV39, priv=1, mtvec="handler")
    for b in (one, two):
        b.map(CODE, CODE)
        b["s1"] = address
        assert b.exit() == Idle(None)
    assert one["mcause"] == 13 and one["mtval"] == address
    assert one.hart.visible() == two.hart.visible()


def test_budgets_are_exact() -> None:
    one, two = boards(COUNT)
    for budget in (1, 2, 50, 7, 300, 1, 1, 16, 15, 17, 129, 400):
        assert one.engine.run(budget) == two.engine.run(budget) == Spent()
        assert one.hart.visible() == two.hart.visible()
        assert one["spent"] == two["spent"]
    assert one.exit() == two.exit() == Idle(None)
    assert one.hart.visible() == two.hart.visible()


@pytest.mark.parametrize("branch", ["beq x0, x0, again", "bne x0, x0, again", "bgeu a0, a0, again"])
def test_a_loop_that_always_goes_on_or_never(branch: str) -> None:
    one, two = boards(COUNT.replace("bnez    s1, again", branch))
    assert one.engine.run(5000) == two.engine.run(5000)
    assert one.hart.visible() == two.hart.visible()
    assert one["spent"] == two["spent"]
