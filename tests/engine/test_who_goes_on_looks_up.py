"""What an engine owes to those that call it, and to the one before it, it owes after any exit."""

import pytest

from auberge.engine.choose import choose
from auberge.engine.clock import HostClock, InstructionClock
from auberge.engine.exits import Idle, MmioRead, Spent
from tests.engine.board import CODE, DATA, DEVICE, RWX, SV39, Board

MIE, MTIE = 8, 1 << 7
FENCE_I = 0x100F

POLL = """
    loop: lw a0, (s1)
    beqz s2, loop
    wfi
    .balign 4
    handler: li s2, 1
    csrw mie, zero
    mret
"""


def test_a_timer_interrupts_a_guest_that_only_polls_a_device(engine: str) -> None:
    b = Board(engine, POLL, clock=HostClock, mtvec="handler", mie=MTIE)
    b["mstatus"] |= MIE
    b["s1"], b["mtimecmp"] = DEVICE, 0
    b["mtimecmp"] = b.clock.ticks() + 1000  # 100 us
    for _ in range(100_000):
        out = b.run(1 << 40)
        if not isinstance(out, MmioRead):
            break
        b.engine.resume(0)
    assert out == Idle(None)


def test_which_poll_it_interrupts_is_the_same_on_every_engine() -> None:
    polls = []
    for engine in ("reference", "interpreter"):
        b = Board(engine, POLL, clock=InstructionClock, mtvec="handler", mie=MTIE)
        b["mstatus"] |= MIE
        b["s1"], b["mtimecmp"] = DEVICE, 6
        count = 0
        while isinstance(b.run(1 << 40), MmioRead):
            count += 1
            b.engine.resume(0)
        polls.append((count, b["mepc"], b["spent"]))
    assert polls[0] == polls[1]
    assert polls[0][0] == 6 * 16 // 2 + 1  # and one that was interrupted before it asked


def test_a_flush_asked_for_during_an_access_is_done_right_after_it(engine: str) -> None:
    """The next instruction has the new translation, though no branch is in between."""

    def setup(board: Board) -> None:
        board.map(CODE, CODE)
        board.map(0x50_0000, DEVICE)
        board["s2"] = board.map(0x40_0000, DATA)
        board["s3"], board["s1"] = 0x40_0000, 0x50_0000
        board.put(DATA, 1)
        board.put(DATA + 4096, 2)

    b = Board(engine, "ld a0, (s3)\nlw t0, (s1)\nld a1, (s3)", setup=setup, priv=1, satp=SV39)
    assert isinstance(b.run(10), MmioRead)
    b.put(b["s2"], DATA + 4096 >> 2 | RWX)
    b.hart.request("sfence")
    b.engine.resume(0)
    assert b.run(2) == Spent()
    assert (b["a0"], b["a1"]) == (1, 2)


CHANGES = """
    call f
    mv s1, a0
    la t0, f
    la t1, g
    lw t2, (t1)
    sw t2, (t0)
    {fence}
    call f
    mv s2, a0
    wfi
.balign 4096
f:  li a0, 1
    ret
g:  li a0, 2
"""


@pytest.mark.parametrize("asked", [False, True])
def test_a_fence_of_one_engine_holds_for_the_next(asked: bool) -> None:
    """Be it an instruction, or a request of another hart."""
    b = Board("interpreter", CHANGES.format(fence="nop" if asked else "fence.i"))
    reference = choose("reference").engine(b.hart, b.ram, b.clock)
    while True:
        marked = b.word(b["pc"], 4)
        if marked == FENCE_I or (asked and marked == 0x13):
            break
        assert b.run(1) == Spent()
    if asked:
        b.hart.request("fence_i")
    assert reference.run(1) == Spent()
    assert b.run(100) == Idle(None)
    assert (b["s1"], b["s2"]) == (1, 2)
