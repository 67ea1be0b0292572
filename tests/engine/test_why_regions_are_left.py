"""Each time a region cannot go on, the reason is counted; once, and for regions alone."""

import pytest

from auberge.engine.exits import Idle, MmioRead
from auberge.engine.state import CAUSES
from tests.engine.board import DEVICE, FS, Board
from tests.engine.test_translator import LOOP, plain, translating

pytestmark = pytest.mark.slow

ROUNDS = 2000


def causes(b: Board) -> dict[str, int]:
    """Those that occurred."""
    counted = b.engine.statistics()
    return {cause: n for cause in CAUSES if (n := counted[f"exits_{cause}"])}


def test_the_slice_ends() -> None:
    b = translating(LOOP)
    assert b.exit() == Idle(None)
    (cause,) = causes(b)
    assert cause == "budget"
    assert abs(causes(b)["budget"] - b["cold_slices"]) <= 1


def test_the_interpreter_leaves_nothing() -> None:
    b = plain(LOOP)
    assert b.exit() == Idle(None)
    assert not any(b[f"exits_{cause}"] for cause in CAUSES)


def test_traps() -> None:
    text = f"""
            li      s0, {ROUNDS}
    again:  addi    a0, a0, 1
            addi    a1, a1, 1
            amoadd.w a2, a2, (s3)       # not aligned
    back:   addi    s0, s0, -1
            bnez    s0, again
            wfi
            .align  6
    handler:
            csrw    mepc, s4
            mret
    """
    b = translating(text, mtvec="handler")
    b["s3"], b["s4"] = b["s1"] + 1, b.labels["back"]
    assert b.exit() == Idle(None)
    assert b["mcause"] == 6
    assert ROUNDS // 2 < causes(b)["trap"] <= ROUNDS
    assert causes(b).keys() <= {"trap", "budget"}


def test_devices() -> None:
    text = f"""
            li      s0, {ROUNDS}
    again:  addi    a0, a0, 1
            lw      a1, (s1)            # RAM until it is hot, then a device
            addi    s0, s0, -1
            bnez    s0, again
            li      s0, {ROUNDS}
            mv      s1, s3
            li      s3, 0
            bnez    s1, again
            wfi
    """
    b = translating(text)
    b["s3"] = DEVICE
    accesses = 0
    while isinstance(out := b.exit(), MmioRead):
        accesses += 1
        b.engine.resume(7)
    assert (out, accesses) == (Idle(None), ROUNDS)
    # An access counts as many instructions, so that some happen as the last of a slice.
    assert ROUNDS // 10 < causes(b)["device"] <= ROUNDS
    assert causes(b).keys() <= {"device", "budget"}


def test_code_that_is_in_no_tlb() -> None:
    text = f"""
            li      s0, {ROUNDS}
    again:  sfence.vma
            li      s1, 20
    inner:  addi    s1, s1, -1
            bnez    s1, inner
            j       other
            .align  12
    other:  addi    s0, s0, -1
            beqz    s0, end
            j       again
    end:    wfi
    """
    b = translating(text)
    assert b.exit(200_000) == Idle(None)
    assert ROUNDS // 2 < causes(b)["fetch"] <= 2 * ROUNDS
    assert causes(b).keys() <= {"fetch", "budget"}


def test_another_rounding_mode() -> None:
    text = f"""
            fadd.d  f1, f1, f2
            li      s0, {ROUNDS}
    again:  fadd.d  f1, f1, f2
            addi    s0, s0, -1
            bnez    s0, again
            csrwi   frm, 1
            li      s0, {ROUNDS}
            beqz    s2, end
            li      s2, 0
            j       again
    end:    wfi
    """
    b = translating(text, mstatus=FS)
    b["s2"] = 1
    assert b.exit() == Idle(None)
    assert causes(b)["mode"] >= ROUNDS // 2
    assert causes(b).keys() <= {"mode", "budget"}
