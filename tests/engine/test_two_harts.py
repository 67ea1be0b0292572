"""Harts on threads of their own share memory; atomics are atomic, and requests reach the others."""

import threading
from collections.abc import Callable

import pytest

from auberge.engine.choose import Engine, choose
from auberge.engine.clock import HostClock
from auberge.engine.exits import Exit, Idle, Spent, Stopped
from auberge.engine.state import HartState
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram
from tests.engine import eager, regions
from tests.engine.board import ABI, BASE, CODE, DATA, SIZE

PATIENCE = 60.0


class Harts:
    """Two harts in M-mode at the start of one text; a0 is the hart's number, s1 is DATA."""

    def __init__(self, text: str, *engines: str, **cells: int | str) -> None:
        program = assembly(rv64, text, CODE)
        self.ram = Ram(BASE, SIZE)
        self.ram.write(CODE, program.code)
        self.harts: list[HartState] = []
        self.engines: list[Engine] = []
        for n, name in enumerate(engines):
            kind = choose(name)
            hart = kind.hart(n)
            for cell, value in ({"pc": CODE} | cells).items():
                hart[cell] = program.symbols[value] if isinstance(value, str) else value
            hart.x[ABI.index("a0")], hart.x[ABI.index("s1")] = n, DATA
            self.harts.append(hart)
            self.engines.append(kind.engine(hart, self.ram, HostClock()))

    def word(self, at: int) -> int:
        return int.from_bytes(self.ram.read(at, 8), "little")

    def run(self, budget: int = 1 << 60) -> list[Exit | None]:
        """Run each on its thread to its exit; None is one that has none in time."""
        exits: list[Exit | None] = [None] * len(self.harts)

        def run(n: int) -> None:
            exits[n] = self.engines[n].run(budget)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(len(self.harts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        for engine, exit_ in zip(self.engines, exits, strict=True):
            if exit_ is None:
                engine.request_stop()
        for thread in threads:
            thread.join(PATIENCE)
        return exits


TWICE = [("interpreter", "interpreter")]
REGIONS = [(regions.NAME, regions.NAME), (eager.NAME, eager.NAME), ("interpreter", eager.NAME)]
MIXED = [("reference", "reference"), *REGIONS]
COUNT = {"interpreter": 300_000, "reference": 200, regions.NAME: 300_000, eager.NAME: 20_000}
# Neither begins before the other is there.
MEET = """
    li t1, 1
    li t4, 2
    addi t2, s1, 512
    amoadd.d zero, t1, (t2)
meet:
    ld t3, (t2)
    bltu t3, t4, meet
"""


@pytest.mark.parametrize("engines", TWICE + MIXED, ids="+".join)
@pytest.mark.parametrize("add", ["amoadd.d t2, t1, (s1)", "amoadd.w.aqrl t2, t1, (s1)"])
def test_counting_by_amo_is_exact(engines: tuple[str, str], add: str) -> None:
    count = min(COUNT[e] for e in engines)
    text = f"{MEET}\nli t0, {count}\nagain: {add}\naddi t0, t0, -1\nbnez t0, again\nwfi"
    harts = Harts(text, *engines)
    assert harts.run() == [Idle(None), Idle(None)]
    assert harts.word(DATA) == 2 * count


@pytest.mark.parametrize("engines", TWICE + MIXED, ids="+".join)
def test_amos_of_every_kind_lose_nothing(engines: tuple[str, str]) -> None:
    """Each hart flips its own bit an even number of times, and raises a maximum."""
    count = min(COUNT[e] for e in engines) // 5  # even
    harts = Harts(
        f"""
        {MEET}
        li t0, {count}
        sll t1, t1, a0
        addi s2, s1, 8
        add t3, t0, a0
    again:
        amoxor.d t2, t1, (s1)
        sub t4, t3, t0
        amomaxu.d t2, t4, (s2)
        addi t0, t0, -1
        bnez t0, again
        wfi
        """,
        *engines,
    )
    assert harts.run() == [Idle(None), Idle(None)]
    assert (harts.word(DATA), harts.word(DATA + 8)) == (0, count)


@pytest.mark.parametrize("engines", TWICE + MIXED, ids="+".join)
@pytest.mark.parametrize("width", ["w", "d"])
def test_a_lock_by_lr_and_sc_excludes(engines: tuple[str, str], width: str) -> None:
    """Under the lock: a plain load, an addition, a plain store; long waits, for more clashes."""
    count = min(COUNT[e] for e in engines)
    wait = "nop\n" * (1 if engines == MIXED[0] else 20)
    harts = Harts(
        f"""
        {MEET}
        li t0, {count}
        addi s2, s1, 64
    lock:
        lr.{width}.aq t2, (s1)
        bnez t2, lock
        {wait}
        sc.{width} t2, t1, (s1)
        bnez t2, lock
        ld t3, (s2)
        addi t3, t3, 1
        {wait}
        sd t3, (s2)
        fence rw, rw
        amoswap.{width}.rl zero, zero, (s1)
        addi t0, t0, -1
        bnez t0, lock
        wfi
        """,
        *engines,
    )
    assert harts.run() == [Idle(None), Idle(None)]
    assert harts.word(DATA + 64) == 2 * count


def test_a_spin_on_a_plain_load_ends() -> None:
    harts = Harts(
        """
        bnez a0, wait
        li t0, 200000
    delay:
        addi t0, t0, -1
        bnez t0, delay
        li t0, 1
        sd t0, (s1)
        wfi
    wait:
        ld t0, (s1)
        beqz t0, wait
        wfi
        """,
        "interpreter",
        "interpreter",
    )
    assert harts.run() == [Idle(None), Idle(None)]


@pytest.mark.slow
def test_store_buffering_with_fences_is_sequential() -> None:
    """Each stores 1, fences, and loads the other's: never 0 in both."""
    harts = Harts(
        """
        li t0, 500
        addi s2, s1, 64         # x
        addi s3, s1, 128        # y
        addi s4, s1, 192        # barrier
        addi s5, s1, 256        # seen
        li t6, 0
        beqz a0, round
        mv t1, s2
        mv s2, s3
        mv s3, t1
        addi s5, s5, 64
    round:
        sd zero, (s2)
        addi t6, t6, 2
        li t1, 1
        amoadd.d zero, t1, (s4)
    first:
        ld t2, (s4)
        bltu t2, t6, first
        sd t1, (s2)
        fence rw, rw
        ld t3, (s3)
        sd t3, (s5)
        addi t6, t6, 2
        fence rw, rw
        amoadd.d zero, t1, (s4)
    second:
        ld t2, (s4)
        bltu t2, t6, second
        bnez a0, next
        ld t3, 256(s1)
        ld t4, 320(s1)
        or t3, t3, t4
        bnez t3, next
        addi s11, s11, 1
    next:
        addi t6, t6, 2
        amoadd.d zero, t1, (s4)
    third:
        ld t2, (s4)
        bltu t2, t6, third
        addi t0, t0, -1
        bnez t0, round
        wfi
        """,
        "interpreter",
        "interpreter",
    )
    assert harts.run() == [Idle(None), Idle(None)]
    assert harts.harts[0].x[ABI.index("s11")] == 0


@pytest.mark.parametrize("engines", TWICE + MIXED, ids="+".join)
def test_an_interrupt_from_another_hart(engines: tuple[str, str]) -> None:
    harts = Harts(
        """
        csrsi mstatus, 8
    again:
        j again
        .balign 4
    handler:
        csrw mie, zero
        wfi
        """,
        *engines,
        mie=2,
        mtvec="handler",
    )
    for hart in harts.harts:
        threading.Timer(0.01, hart.post_ssip).start()
    assert harts.run() == [Idle(None), Idle(None)]
    assert [hart["mcause"] for hart in harts.harts] == [1 << 63 | 1] * 2


@pytest.mark.parametrize("engines", TWICE + MIXED, ids="+".join)
@pytest.mark.parametrize("what", ["fence_i", "sfence"])
def test_requests_to_each_other_are_served_while_both_run(
    engines: tuple[str, str], what: str
) -> None:
    harts = Harts("again: addi t0, t0, 1\nj again", *engines)
    one, two = harts.harts
    done = []

    def ask() -> None:
        for _ in range(3):
            for hart in (one, two):
                hart.request(what)
            while not (one.request_served(what) and two.request_served(what)):
                pass
        done.append(True)
        for engine in harts.engines:
            engine.request_stop()

    thread = threading.Thread(target=ask)
    thread.start()
    assert harts.run() == [Stopped(), Stopped()]
    thread.join(PATIENCE)
    assert done == [True]


def test_code_that_another_hart_wrote_executes_after_the_request() -> None:
    harts = Harts(
        """
        bnez a0, other
    again:
        jal function
        beqz s2, again
        wfi
    other:
        la t0, function
        li t1, 0x00100913       # li s2, 1
        sw t1, (t0)
        fence rw, rw
        li t1, 1
        sd t1, (s1)
        wfi
        .balign 4096
    function:
        nop
        ret
        """,
        "interpreter",
        "interpreter",
    )

    def ask_when_written() -> None:
        while not harts.word(DATA):
            pass
        harts.harts[0].request("fence_i")

    thread = threading.Thread(target=ask_when_written)
    thread.start()
    assert harts.run() == [Idle(None), Idle(None)]
    thread.join(PATIENCE)


def test_two_machines_do_not_see_each_other() -> None:
    """The same program at the same addresses in two RAMs, on two threads, one library."""
    text = """
        li t0, 100000
    again:
        ld t1, (s1)
        add t1, t1, a1
        sd t1, (s1)
        csrw mscratch, t1
        addi t0, t0, -1
        bnez t0, again
        wfi
    """
    machines = [Harts(text, "interpreter") for _ in range(2)]
    for n, machine in enumerate(machines):
        machine.harts[0].x[ABI.index("a1")] = n + 1
    exits: dict[int, list[Exit | None]] = {}

    def runner(n: int) -> Callable[[], None]:
        return lambda: exits.update({n: machines[n].run()})

    threads = [threading.Thread(target=runner(n)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert exits == {0: [Idle(None)], 1: [Idle(None)]}
    for n, machine in enumerate(machines):
        assert machine.word(DATA) == machine.harts[0]["mscratch"] == 100_000 * (n + 1)


def test_a_budget_is_exact_on_each_of_two_harts() -> None:
    harts = Harts("again: amoadd.d zero, t0, (s1)\nj again", "interpreter", "interpreter")
    assert harts.run(1_000_003) == [Spent(), Spent()]
    assert [hart["spent"] for hart in harts.harts] == [1_000_003] * 2
