"""`Spent` means that exactly the budget has been retired, wherever it ends."""

from collections.abc import Callable

import pytest

from auberge.engine.clock import Clock, HostClock, InstructionClock, ManualClock
from auberge.engine.exits import Idle, Spent
from tests.engine.board import CODE, Board

# A path of every kind: straight, branches taken and not, jumps, calls, traps, CSRs.
TEXT = """
again:
    addi a0, a0, 1
    andi t0, a0, 3
    beqz t0, skip
    csrw mscratch, a0
    csrs mstatus, t0
skip:
    jal ra, function
    ecall
    j again
function:
    sd a0, (s1)
    ld a1, (s1)
    ret
    .balign 4
handler:
    csrr t1, mepc
    addi t1, t1, 4
    csrw mepc, t1
    mret
"""


def board(engine: str, clock: Callable[[], Clock] = ManualClock) -> Board:
    def setup(board: Board) -> None:
        board["s1"] = CODE + 0x1000

    return Board(engine, TEXT, clock, setup, mtvec="handler")


def state(board: Board) -> tuple[int, ...]:
    return (board["pc"], *board.hart.x, board["mepc"], board["mscratch"], board["mstatus"])


@pytest.mark.slow
def test_any_split_of_a_budget_is_the_same_run(engine: str) -> None:
    whole = board(engine)
    whole.run(300)
    for parts in ([1] * 300, [7] * 42 + [6], [299, 1], [2, 298], [150, 0, 150]):
        split = board(engine)
        for part in parts:
            assert split.run(part) == Spent()
        assert split["spent"] == 300
        assert state(split) == state(whole)


@pytest.mark.slow
def test_each_budget_ends_where_single_steps_do() -> None:
    steps = board("reference")
    seen = []
    for _ in range(100):
        seen.append(state(steps))
        steps.run(1)
    for budget, wanted in enumerate(seen):
        b = board("interpreter")
        assert b.run(budget) == Spent()
        assert (b["spent"], state(b)) == (budget, wanted)


@pytest.mark.parametrize("clock", [ManualClock, HostClock, InstructionClock])
@pytest.mark.parametrize("budget", [32767, 32768, 32769, 100_001])
def test_beyond_a_slice(clock: Callable[[], Clock], budget: int) -> None:
    b = Board("interpreter", "again: addi a0, a0, 1\nj again", clock)
    assert b.run(budget) == Spent()
    assert (b["spent"], b["a0"]) == (budget, (budget + 1) // 2)


def test_no_budget_does_nothing(engine: str) -> None:
    b = board(engine)
    assert b.run(0) == Spent()
    assert (b["pc"], b["spent"]) == (CODE, 0)


def test_a_trapping_instruction_costs_one(engine: str) -> None:
    b = Board(engine, "ecall\n.balign 4\nhandler: nop\nwfi", mtvec="handler")
    assert b.run(1) == Spent()
    assert (b["pc"], b["spent"], b["mepc"]) == (CODE + 4, 1, CODE)


def test_an_interrupt_costs_nothing(engine: str) -> None:
    b = Board(engine, "nop\nnop\nhandler: addi a0, a0, 1", mtvec="handler", mie=8)
    b["mstatus"] |= 8
    b.hart.set_line(3, True)
    assert b.run(1) == Spent()
    assert (b["pc"], b["spent"], b["mepc"]) == (b.labels["handler"] + 4, 1, CODE)
    assert b["a0"] == 1


def test_instructions_that_change_the_mode_end_budgets_too(engine: str) -> None:
    b = Board(engine, "la t0, there\ncsrw mepc, t0\nmret\n.balign 4\nthere: wfi")
    assert b.run(4) == Spent()
    assert (b["pc"], b["priv"]) == (b.labels["there"], 0)


def test_a_wfi_at_the_end_of_a_budget_is_still_an_exit(engine: str) -> None:
    b = Board(engine, "nop\nwfi\nnop")
    assert b.run(2) == Idle(None)
    assert (b["pc"], b["spent"]) == (CODE + 8, 2)
    assert b.run(1) == Spent()
