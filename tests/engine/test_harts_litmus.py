"""Litmus tests (Volume I, 20240411, chapter 17 and appendix A.2): outcomes that must never be seen.

Meanwhile other threads stop the harts, interrupt them, and have them flush what they remember.
"""

import random
import threading
import time

import pytest

from auberge.engine.exits import Exit, Idle, Stopped
from tests.engine.board import ABI, DATA
from tests.engine.test_two_harts import Harts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120, method="thread")]

SSIP = 1 << 1

# A trap handler in a corner, which touches nothing.
QUIET = """
    j begin
    .balign 4
handler:
    csrci mip, 2
    mret
begin:
    csrsi mstatus, 8
"""


class Disturbed(Harts):
    """Harts that are disturbed while they run, and run on until each has reached its `wfi`."""

    def __init__(self, text: str, harts: int) -> None:
        super().__init__(
            QUIET + text + "\nend: csrw mie, zero\nwfi\nj end", *["interpreter"] * harts,
            mtvec="handler", mie=SSIP,
        )  # fmt: skip

    def run_disturbed(self, seed: int) -> None:
        """Run all to their ends."""
        ends: list[Exit | None] = [None] * len(self.harts)
        over = threading.Event()
        failures: list[BaseException] = []

        def run(n: int) -> None:
            try:
                while True:
                    out = self.engines[n].run(1 << 40)
                    if isinstance(out, Idle):
                        ends[n] = out
                        return
                    assert out == Stopped()
            except BaseException as failure:
                failures.append(failure)

        def disturb() -> None:
            r = random.Random(seed)
            while not over.is_set():
                hart = r.choice(self.harts)
                what = r.randrange(4)
                if what == 0:
                    hart.request_stop()
                elif what == 1:
                    hart.post_ssip()
                else:
                    hart.request("sfence" if what == 2 else "fence_i")
                time.sleep(r.random() * 0.0005)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(len(self.harts))]
        disturber = threading.Thread(target=disturb)
        for thread in [*threads, disturber]:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        disturber.join()
        assert not failures
        assert None not in ends

    def seen(self) -> list[int]:
        """What each hart has in s11: how often it saw what must not be."""
        return [hart.x[ABI.index("s11")] for hart in self.harts]


ROUNDS, MESSAGES = 20_000_000, 20_000

# Message and flag of each round are words of their own, so that neither side waits for the other's
# answer; the reader is right behind the writer.
MESSAGE = """
    li t0, {rounds}
    li t1, 1
    addi s2, s1, 64         # messages
    add s3, s2, s8          # flags
    bnez a0, reader
writer:
    sd t1, (s2)
    {publish}
    addi s2, s2, 8
    addi s3, s3, 8
    addi t0, t0, -1
    bnez t0, writer
    j end
reader:
    {look}
    beqz t2, reader
    {order}
    ld t3, (s2)
    addi s2, s2, 8
    addi s3, s3, 8
    bnez t3, 1f
    addi s11, s11, 1
1:  addi t0, t0, -1
    bnez t0, reader
"""
PUBLISH = {
    "fence": ("fence w, w\nsd t1, (s3)", "ld t2, (s3)", "fence r, r"),
    "tso": ("fence.tso\nsd t1, (s3)", "ld t2, (s3)", "fence.tso"),
    "amo": ("amoswap.d.rl zero, t1, (s3)", "amoor.d.aq t2, zero, (s3)", ""),
    "lr": ("amoswap.d.rl zero, t1, (s3)", "lr.d.aq t2, (s3)", ""),
}


def late_messages(publish: str, look: str, order: str, seed: int) -> int:
    """How many messages were not there when their flag was."""
    text = MESSAGE.format(rounds=MESSAGES, publish=publish, look=look, order=order)
    harts = Disturbed(text, 2)
    for hart in harts.harts:
        hart.x[ABI.index("s8")] = 8 * MESSAGES
    harts.run_disturbed(seed)
    return sum(harts.seen())


@pytest.mark.parametrize("how", PUBLISH)
def test_a_message_is_there_when_its_flag_is(how: str) -> None:
    assert [late_messages(*PUBLISH[how], seed) for seed in range(20)] == [0] * 20


def test_a_message_that_comes_late_is_found() -> None:
    """This test can fail: the message is written again after its flag."""
    late = "sd zero, (s2)\nsd t1, (s3)\nli t4, 200\n2: addi t4, t4, -1\nbnez t4, 2b\nsd t1, (s2)"
    assert any(late_messages(late, "ld t2, (s3)", "", seed) for seed in range(100))


def test_one_word_never_goes_back() -> None:
    """CoRR: of two loads of one address, the later one does not see the older value."""
    harts = Disturbed(
        f"""
        li t0, {ROUNDS}
        addi s2, s1, 64
        li t1, 0
        bnez a0, reader
    writer:
        addi t1, t1, 1
        sd t1, (s2)
        bne t1, t0, writer
        j end
    reader:
        ld t2, (s2)
        ld t3, (s2)
        bgeu t3, t2, 1f
        addi s11, s11, 1
    1:  bne t3, t0, reader
        """,
        2,
    )
    harts.run_disturbed(2)
    assert harts.seen() == [0, 0]


@pytest.mark.parametrize("seed", range(10))
def test_two_readers_agree_on_the_order_of_two_writers(seed: int) -> None:
    """IRIW with fences: one must not see x before y, and the other y before x."""
    count = 30_000
    harts = Disturbed(
        f"""
        li t0, {count}
        slli a2, a0, 63
        srli a2, a2, 63         # of writers and readers: which variable, or which is first
        li a3, 2                # s8: from x to y; s9: what the readers saw
        addi s2, s1, 1024
        bgeu a0, a3, readers
        beqz a2, writer
        add s2, s2, s8
    writer:
        li t1, 1
        sb t1, (s2)
        addi s2, s2, 1
        addi t0, t0, -1
        bnez t0, writer
        j end
    readers:
        add s3, s2, s8
        mv s4, s9               # what is seen: of the first in bit 0, of the second in bit 1
        beqz a2, reader
        mv t1, s2
        mv s2, s3
        mv s3, t1
        add s4, s4, s8
    reader:
        lb t2, (s2)
        fence r, r
        lb t3, (s3)
        slli t3, t3, 1
        or t2, t2, t3
        beqz t2, reader         # both are to come: no news
        sb t2, (s4)
        addi s2, s2, 1
        addi s3, s3, 1
        addi s4, s4, 1
        addi t0, t0, -1
        bnez t0, reader
        """,
        4,
    )
    span, saw = 32 << 10, DATA + (80 << 10)
    for hart in harts.harts:
        hart.x[ABI.index("s8")], hart.x[ABI.index("s9")] = span, saw
    harts.run_disturbed(seed)
    one, two = harts.ram.read(saw, count), harts.ram.read(saw + span, count)
    assert 0 not in one and 0 not in two
    assert [(a, b) for a, b in zip(one, two, strict=True) if a == b == 1] == []


def test_locked_counters_are_exact_however_harts_are_disturbed() -> None:
    """By LR/SC and by AMO, on four harts: each adds as often."""
    count = 300_000
    harts = Disturbed(
        f"""
        li t0, {count}
        li t1, 1
        addi s2, s1, 64
        addi s3, s1, 128
    again:
        amoadd.w zero, t1, (s3)
    lock:
        lr.w.aq t2, (s1)
        bnez t2, lock
        sc.w t2, t1, (s1)
        bnez t2, lock
        ld t3, (s2)
        addi t3, t3, 1
        sd t3, (s2)
        amoswap.w.rl zero, zero, (s1)
        addi t0, t0, -1
        bnez t0, again
        """,
        4,
    )
    harts.run_disturbed(4)
    assert (harts.word(DATA + 64), harts.word(DATA + 128)) == (4 * count, 4 * count)


def test_no_interrupt_is_lost_between_two_harts() -> None:
    """Each is posted only after the one before was taken; one that is lost would be the last."""
    harts = Harts(
        """
        csrsi mstatus, 8
    again:
        addi t0, t0, 1
        j again
        .balign 4
    handler:
        csrci mip, 2            # first: one that comes from here on is another one
        ld t1, 64(s1)           # no atomic, no fence: what it is about is there all the same
        sd t1, 128(s1)
        mret
        """,
        "interpreter",
        mtvec="handler",
        mie=SSIP,
    )
    (hart,), (engine,) = harts.harts, harts.engines
    runner = threading.Thread(target=lambda: engine.run(1 << 60))
    runner.start()
    for number in range(1, 5000):
        harts.ram.write(DATA + 64, number.to_bytes(8, "little"))
        hart.post_ssip()
        deadline = time.monotonic() + 60
        while harts.word(DATA + 128) != number:
            assert time.monotonic() < deadline, number
    engine.request_stop()
    runner.join()
