"""Ways through regions that random programs seldom take: pages kept around a loop, calls inside."""

import pytest

from auberge.engine.exits import Idle, MmioRead, Spent
from auberge.engine.explore import Explorer, Shape
from auberge.engine.lowering import Context
from auberge.engine.state import Layout
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from tests.engine import regions
from tests.engine.board import CODE, DATA, DEVICE, PAGE, SV39, Board, finished
from tests.engine.test_translator import plain, translating

pytestmark = pytest.mark.slow


def paged(board: Board) -> None:
    """Four pages of data, in frames that are not in order; all else is where it is."""
    for va in range(CODE, CODE + 2 * PAGE, PAGE):
        board.map(va, va)
    for page, frame in enumerate((2, 0, 3, 1)):
        board.map(DATA + PAGE * page, DATA + PAGE * frame)
    for word in range(4 * PAGE // 8):
        board.put(DATA + 8 * word, 0x0101_0203_0508_0D15 * (word + 1) & (1 << 64) - 1)


@pytest.mark.parametrize("step", [8, 9, 13, -8, -3, 1000])
def test_a_loop_walks_over_pages_that_are_not_neighbours(step: int) -> None:
    """Aligned or not, forward or back; some accesses lie across two pages."""
    first = DATA + PAGE - 256 if step > 0 else DATA + 3 * PAGE + 256
    text = f"""
            li      s3, 40
    walk:   li      s1, {first}
            li      s2, {min(100, 2 * PAGE // abs(step))}
    again:  ld      a0, (s1)
            add     a1, a1, a0
            sh      a1, 6(s1)
            lbu     a2, 7(s1)
            xor     a3, a3, a2
            addi    s1, s1, {step}
            addi    s2, s2, -1
            bnez    s2, again
            addi    s3, s3, -1
            bnez    s3, walk
            wfi
    """
    boards = [make(text, satp=SV39, priv=1) for make in (plain, translating)]
    for b in boards:
        paged(b)
        assert b.exit() == Idle(None)
    one, two = boards
    assert one.hart.visible() == two.hart.visible()
    assert one.ram.read(DATA, 4 * PAGE) == two.ram.read(DATA, 4 * PAGE)
    assert two.engine.statistics()["regions_installed"] >= 1


CALLS = """
        li      sp, {stack}
        li      a0, 9
        call    fibonacci
        wfi
fibonacci:
        li      t0, 2
        bltu    a0, t0, end
        addi    sp, sp, -24
        sd      ra, (sp)
        sd      a0, 8(sp)
        addi    a0, a0, -1
        jal     ra, fibonacci
        sd      a0, 16(sp)
        ld      a0, 8(sp)
        addi    a0, a0, -2
        jal     ra, fibonacci
        ld      a1, 16(sp)
        add     a0, a0, a1
        ld      ra, (sp)
        addi    sp, sp, 24
end:    ret
"""


def shape_of(text: str, entry: str) -> tuple[Shape, dict[str, int]]:
    program = assembly(rv64, text, CODE)
    context = Context.of(rv64, Layout(()), True)
    explorer = Explorer(rv64, context.watched, {})
    page = program.code.ljust(PAGE, b"\0")
    shape = explorer.shape(page, program.symbols[entry] - CODE, calls=True)
    return shape, program.symbols


def test_a_recursion_is_one_region() -> None:
    shape, symbols = shape_of(CALLS.format(stack=DATA), "fibonacci")
    assert len(shape.returns) == 2
    assert min(shape.steps) == symbols["fibonacci"] - CODE
    board = finished(CALLS.format(stack=DATA + 1000))
    assert board["a0"] == 34


def test_a_callee_that_leaves_is_no_part() -> None:
    text = """
    main:   addi    s0, s0, 1
            jal     ra, other
            jal     ra, whole
            addi    s0, s0, 1
            wfi
    whole:  addi    a0, a0, 1
            ret
    other:  addi    a0, a0, 2
            jr      a1
    """
    shape, symbols = shape_of(text, "main")
    assert symbols["other"] - CODE not in shape.steps
    assert not shape.returns
    shape, symbols = shape_of(text.replace("jr      a1", "ret"), "main")
    assert len(shape.returns) == 2
    assert symbols["other"] - CODE in shape.steps


def test_an_interrupt_waits_for_an_access_at_the_start_of_a_region() -> None:
    """Also when there is budget for more slices. The text is so short that all begin regions."""
    text = """
            lw      a0, (s0)
            mv      a1, a0
            wfi
            .align  6
    handler:
            mv      a2, a0
            csrw    mie, x0
            mret
    """
    for engine in ("interpreter", regions.NAME):
        b = Board(engine, text, mtvec="handler", mie=8, mstatus=8)
        b["s0"] = DEVICE
        assert b.run(100_000) == MmioRead(DEVICE, 4)
        b.hart.set_line(3, True)
        b.engine.resume(9)
        assert b.run(100_000) == Idle(None), engine
        assert (b["a0"], b["a1"], b["a2"]) == (9, 9, 9), engine


def test_budgets_are_exact_in_calls() -> None:
    text = CALLS.format(stack=DATA + 1000)
    one, two = plain(text), Board(regions.NAME, text)
    two.hart.x[9] = DATA
    for budget in (1, 2, 50, 7, 3, 1, 64, 129, 200):
        assert one.run(budget) == two.run(budget) == Spent()
        assert one.hart.visible() == two.hart.visible()
