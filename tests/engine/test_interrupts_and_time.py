"""Interrupts come at the same instruction on every engine; time comes from the clock handed in."""

from collections.abc import Callable

import pytest

from auberge.engine.clock import Clock, HostClock, InstructionClock, ManualClock
from auberge.engine.exits import Idle, Spent
from tests.engine.board import CODE, Board, finished

MIE, SIE = 8, 2
STCE = 1 << 63
INTERRUPT = 1 << 63


# -- at which instruction -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("enable", "after"),
    [
        ("csrsi mstatus, 8", 0),  # the very next instruction does not execute any more
        ("csrw mie, t0", 0),
        ("csrw mip, t1", 0),
    ],
)
def test_what_a_csr_write_lets_through_comes_before_the_next(enable: str, after: int) -> None:
    board = finished(
        f"""
        li t0, 2
        li t1, 2
        csrw mip, t1
        csrw mie, t0
        csrsi mstatus, 8
        csrci mstatus, 8
        li s2, 0
        {enable}
        addi s2, s2, 1
        wfi
        .balign 4
    handler:
        csrw mie, zero
        addi s3, s3, 1
        csrr s4, mepc
        wfi
        """,
        mtvec="handler",
    )
    assert (board["s2"], board["mcause"]) == (after, INTERRUPT | 1)


def test_mret_and_sret_let_interrupts_in_where_they_go() -> None:
    board = finished(
        """
        li t0, 2
        csrw mie, t0
        csrw mip, t0
        la t0, there
        csrw mepc, t0
        li t0, 0x880            # MPIE, MPP = S
        csrw mstatus, t0
        mret
        .balign 4
    there:
        li a0, 1
        .balign 4
    handler:
        csrw mie, zero
        wfi
        """,
        mtvec="handler",
    )
    assert (board["mepc"], board["a0"]) == (board.labels["there"], 0)


@pytest.mark.parametrize("vectored", [0, 1])
def test_vectored(vectored: int) -> None:
    text = "csrsi mstatus, 8\nwfi\n.balign 256\nvectors:\n"
    text += "\n".join(f"j vector{n}" for n in range(12))
    text += "".join(f"\nvector{n}: li a0, {n}\ncsrw mie, zero\nwfi" for n in range(12))

    def setup(board: Board) -> None:
        board["mtvec"] |= vectored
        board.hart.set_line(9, True)

    board = finished(text, setup=setup, mtvec="vectors", mie=1 << 9)
    assert board["a0"] == (9 if vectored else 0)
    assert board["mcause"] == INTERRUPT | 9


def test_a_line_that_falls_in_time_is_not_seen(engine: str) -> None:
    b = Board(engine, "nop\nnop\ncsrsi mstatus, 8\nnop\nhandler: wfi", mtvec="handler", mie=8)
    b.hart.set_line(3, True)
    b.run(2)
    b.hart.set_line(3, False)
    b.run(2)
    assert (b["mcause"], b["pc"]) == (0, b.labels["handler"])


def test_an_interrupt_from_outside_comes_before_the_first_instruction_of_a_run(engine: str) -> None:
    text = "again: addi a0, a0, 1\nj again\n.balign 4\nhandler: nop"
    b = Board(engine, text, mtvec="handler", mie=0x802)
    b["mstatus"] |= MIE
    b.run(1000)
    b.hart.post_ssip()
    assert b.run(1) == Spent()
    assert (b["a0"], b["mcause"], b["mip"]) == (500, INTERRUPT | 1, 2)
    assert b["pc"] == b.labels["handler"] + 4


# -- timers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("due", [0, 1, 2, 10, 50])
def test_sstc_comes_at_an_exact_instruction_of_the_instruction_clock(due: int) -> None:
    board = finished(
        f"""
        li t0, {STCE}
        csrw menvcfg, t0
        li t0, {due}
        csrw stimecmp, t0
        li t0, 32
        csrw mie, t0
        csrsi mstatus, 8
    again:
        addi a0, a0, 1
        j again
        .balign 4
    handler:
        csrr a1, time
        csrw mie, zero
        wfi
        """,
        clock=InstructionClock,
        mtvec="handler",
    )
    assert board["mcause"] == INTERRUPT | 5
    assert board["a1"] == due if due > 1 else board["a1"] <= 2


def test_stimecmp_clears_and_sets_the_pending_bit_at_once() -> None:
    board = finished(
        """
        li t0, 32
        csrr a0, mip
        csrw stimecmp, zero
        csrr a1, mip
        li t1, -1
        csrw stimecmp, t1
        csrr a2, mip
        wfi
        """,
        menvcfg=STCE,
    )
    assert (board["a0"], board["a1"], board["a2"]) == (0, 32, 0)


def test_a_timer_of_the_platform(engine: str) -> None:
    text = "csrsi mstatus, 8\nagain: j again\n.balign 4\nhandler: csrw mie, zero\nwfi"
    b = Board(engine, text, mtvec="handler", mie=1 << 7, mtimecmp=50)
    assert b.run(1000) == Spent()
    assert isinstance(b.clock, ManualClock)
    b.clock.advance(49)
    assert b.run(1000) == Spent()
    b.clock.advance(1)
    assert b.run(1000) == Idle(None)
    assert b["mcause"] == INTERRUPT | 7


# -- clocks -------------------------------------------------------------------------------------
def test_a_manual_clock_stands_still(engine: str) -> None:
    b = Board(engine, "csrr a0, time\ncsrr a1, time\nwfi", lambda: ManualClock(77))
    b.finish()
    assert (b["a0"], b["a1"]) == (77, 77)


def test_an_instruction_clock_counts_instructions(engine: str) -> None:
    b = Board(engine, "csrr a0, time\n" + "nop\n" * 31 + "csrr a1, time\nwfi",
              lambda: InstructionClock(1000))  # fmt: skip
    b.finish()
    assert (b["a0"], b["a1"]) == (1000, 1002)
    assert b.clock.ticks() == 1000 + (34 >> InstructionClock.SHIFT)


def test_skipped_time_is_seen(engine: str) -> None:
    clock = InstructionClock()
    b = Board(engine, "wfi\ncsrr a0, time\nwfi", lambda: clock)
    assert b.exit() == Idle(None)
    clock.skip_to(5000)
    clock.skip_to(100)
    b.finish()
    assert b["a0"] == 5000


def test_a_host_clock_is_the_hosts(engine: str) -> None:
    clock = HostClock(500)
    b = Board(engine, "csrr a0, time\ncsrr a1, time\nwfi", lambda: clock)
    before = clock.ticks()
    b.finish()
    assert 500 <= before <= b["a0"] <= b["a1"] <= clock.ticks()


@pytest.mark.parametrize("clock", [ManualClock, InstructionClock, HostClock])
def test_the_counter_can_be_denied(engine: str, clock: Callable[[], Clock]) -> None:
    b = Board(engine, "csrr a0, time\n.balign 4\nhandler: wfi", clock, priv=1, mtvec="handler")
    b.finish()
    assert b["mcause"] == 2


# -- sleep --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cells", "deadline"),
    [
        ({}, None),
        ({"mie": 1 << 7, "mtimecmp": 300}, 300),
        ({"mie": 1 << 5, "stimecmp": 200, "menvcfg": STCE}, 200),
        ({"mie": 1 << 5, "stimecmp": 200}, None),
        ({"mie": 0xA0, "stimecmp": 400, "mtimecmp": 300, "menvcfg": STCE}, 300),
        ({"mie": 1 << 7}, None),
        ({"mie": 1 << 9}, None),
    ],
)
def test_wfi_says_until_when(engine: str, cells: dict[str, int], deadline: int | None) -> None:
    b = Board(engine, "wfi\nnop", **cells)
    assert b.run(5) == Idle(deadline)
    assert (b["pc"], b["spent"]) == (CODE + 4, 1)


@pytest.mark.parametrize("globally", [0, MIE])
def test_wfi_does_not_sleep_with_something_pending(engine: str, globally: int) -> None:
    b = Board(engine, "wfi\nli a0, 1\nnop\n.balign 4\nhandler: nop\nnop", mtvec="handler", mie=8)
    b["mstatus"] |= globally
    b.run(0)
    b.hart.set_line(3, True)
    assert b.run(2) == Spent()
    assert (b["a0"], b["mcause"]) == ((1, 0) if not globally else (0, INTERRUPT | 3))


def test_after_sleep_the_interrupt_is_taken(engine: str) -> None:
    b = Board(engine, "wfi\nnop\n.balign 4\nhandler: nop\nnop", mtvec="handler", mie=8)
    b["mstatus"] |= MIE
    assert b.run(10) == Idle(None)
    b.hart.set_line(3, True)
    assert b.run(1) == Spent()
    assert (b["mepc"], b["pc"]) == (CODE + 4, b.labels["handler"] + 4)


def test_wfi_that_may_not(engine: str) -> None:
    for cells in ({"priv": 0}, {"priv": 1, "mstatus": 1 << 21}):
        b = Board(engine, "wfi\n.balign 4\nhandler: nop", mtvec="handler", **cells)
        assert b.run(1) == Spent()
        assert b["mcause"] == 2
