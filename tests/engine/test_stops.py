"""How a run ends that no instruction asked to end: a stuck hart, and other threads."""

import threading
import time

import pytest

from auberge.engine.clock import Clock, HostClock, InstructionClock, ManualClock
from auberge.engine.exits import Idle, Spent, Stopped, Stuck
from tests.engine.board import CODE, Board

FOREVER = "again: addi a0, a0, 1\nj again"


def test_a_hart_whose_trap_handler_is_illegal(engine: str) -> None:
    b = Board(engine, "ecall\n.balign 4\nhandler: .word 0", mtvec="handler")
    assert b.run(1000) == Stuck(b.labels["handler"], 2)
    assert b.run(1000) == Stuck(b.labels["handler"], 2)


def test_a_hart_whose_trap_handler_cannot_be_fetched(engine: str) -> None:
    b = Board(engine, "ecall", mtvec=0x100)
    assert b.run(1000) == Stuck(0x100, 1)
    assert b["spent"] == 2


def test_a_trap_to_the_next_instruction_is_not_stuck(engine: str) -> None:
    b = Board(engine, "ecall\n.balign 4\nhandler: j handler", mtvec="handler")
    assert b.run(1000) == Spent()


def test_a_request_before_the_run(engine: str) -> None:
    b = Board(engine, FOREVER)
    b.engine.request_stop()
    assert b.run(100) == Stopped()
    assert (b["pc"], b["spent"]) == (CODE, 0)
    assert b.run(100) == Spent()


@pytest.mark.parametrize("clock", [ManualClock, HostClock, InstructionClock])
@pytest.mark.parametrize("text", [FOREVER, "again: j again", "a: la t0, a\njr t0",
                                  "again: csrw mscratch, a0\nj again",
                                  "li t0, 8\nagain: csrs mstatus, t0\nj again"])  # fmt: skip
def test_a_request_from_another_thread(engine: str, clock: type[Clock], text: str) -> None:
    b = Board(engine, text, clock)
    thread = threading.Timer(0.005, b.engine.request_stop)
    thread.start()
    assert b.run(1 << 60) == Stopped()
    thread.join()
    spent = b["spent"]
    assert b.run(10) == Spent()
    assert b["spent"] == spent + 10


def test_what_another_thread_posts_is_seen_in_the_middle_of_a_run(engine: str) -> None:
    text = FOREVER + "\n.balign 4\nhandler: csrw mie, zero\nwfi"
    b = Board(engine, text, mtvec="handler", mie=0x202)
    b["mstatus"] |= 8
    thread = threading.Timer(0.005, b.hart.post_ssip)
    thread.start()
    assert b.exit(1 << 60) == Idle(None)
    thread.join()
    assert b["mcause"] == 1 << 63 | 1


def test_a_line_raised_in_the_middle_of_a_run(engine: str) -> None:
    b = Board(engine, FOREVER + "\n.balign 4\nhandler: j handler", mtvec="handler", mie=0x200)
    b["mstatus"] |= 8

    def raise_and_stop() -> None:
        b.hart.set_line(9, True)
        deadline = time.monotonic() + 10
        while not b["mcause"] and time.monotonic() < deadline:
            time.sleep(0.001)
        b.engine.request_stop()

    thread = threading.Timer(0.005, raise_and_stop)
    thread.start()
    assert b.run(1 << 60) == Stopped()
    thread.join()
    assert b["mcause"] == 1 << 63 | 9


@pytest.mark.parametrize("what", ["sfence", "fence_i"])
def test_requests_are_served_while_running(engine: str, what: str) -> None:
    b = Board(engine, FOREVER)
    served = threading.Event()

    def ask() -> None:
        b.hart.request(what)
        while not b.hart.request_served(what):
            pass
        served.set()
        b.engine.request_stop()

    thread = threading.Thread(target=ask)
    thread.start()
    assert b.run(1 << 60) == Stopped()
    thread.join(10)
    assert served.is_set()
