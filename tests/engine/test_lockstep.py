"""Lockstep names the first instruction after which two subjects differ, and what differs."""

import pytest

from auberge.engine.exits import Exit, Spent, Stuck
from auberge.engine.lockstep import Difference, compare, first_difference
from tests.engine.board import CODE, DATA, Board

TEXT = "again: addi a0, a0, 1\nsd a0, (s1)\nj again"
ADDI, SD = 0x0015_0513, 0x00A4_B023


class Perturbed(Board):
    """A board to which something happens with its n-th instruction."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__("interpreter", TEXT)
        self["s1"] = DATA
        self.at, self.what = at, what

    def run(self, budget: int) -> Exit:
        for _ in range(budget):
            super().run(1)
            if self["spent"] == self.at:
                if self.what == "memory":
                    self.put(DATA + 64, 7)
                elif self.what == "exit":
                    return Stuck(0, 0)
                else:
                    self[self.what] = 0x1234
        return Spent()


def subject() -> Board:
    board = Board("reference", TEXT)
    board["s1"] = DATA
    return board


@pytest.mark.parametrize("stride", [1, 7, 256])
@pytest.mark.parametrize("at", [1, 2, 20, 99, 100])
def test_it_is_found_at_any_stride(at: int, stride: int) -> None:
    wrong = first_difference(subject, lambda: Perturbed(at, "mscratch"), 100, stride)
    assert wrong is not None
    pc = CODE + 4 * ((at - 1) % 3)
    assert (wrong.instructions, wrong.pc) == (at - 1, pc)
    assert wrong.values == {"mscratch": (0, 0x1234)}


def test_memory_differs() -> None:
    wrong = first_difference(subject, lambda: Perturbed(5, "memory"), 100)
    assert wrong == Difference(4, CODE + 4, SD, {f"memory at {DATA + 64:#x}": (0, 7)})


def test_exits_differ() -> None:
    wrong = first_difference(subject, lambda: Perturbed(4, "exit"), 100)
    assert wrong == Difference(3, CODE, ADDI, {"exit": (Spent(), Stuck(0, 0))})


def test_beyond_the_budget_is_not_looked() -> None:
    assert first_difference(subject, lambda: Perturbed(101, "a1"), 100) is None


def test_the_same_is_the_same() -> None:
    assert compare(subject(), subject()) == {}
    assert first_difference(subject, subject, 100) is None
