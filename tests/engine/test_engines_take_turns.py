"""Engines share the state: any may go on where another stopped, in the middle of anything."""

import random

import pytest

from auberge.engine.choose import Engine, choose
from auberge.engine.exits import Exit, Idle, MmioRead, MmioWrite, Spent
from auberge.engine.lockstep import compare
from tests.engine.board import CODE, DATA, DEVICE, RWX, SV39, Board
from tests.engine.world import World, program


class Alternating(World):
    """A world that changes engines at random, also between a device's exit and its answer."""

    def __init__(self, seed: int, words: list[int]) -> None:
        super().__init__("interpreter", seed, words)
        other = choose("reference").engine(self.hart, self.ram, self.clock)
        self.engines: list[Engine] = [self.engine, other]
        self.random = random.Random(seed)
        self.switches = 0

    def change(self) -> None:
        chosen = self.random.choice(self.engines)
        self.switches += chosen is not self.engine
        self.engine = chosen

    def run(self, budget: int) -> Exit:
        end = self.hart["spent"] + budget
        while self.hart["spent"] < end:
            self.change()
            out = self.engine.run(min(self.random.choice([1, 2, 5, 30]), end - self.hart["spent"]))
            self.change()
            if isinstance(out, MmioRead):
                value = out.address * 0x0101_0101_0101_0101 & 2**64 - 1
                self.engine.resume(None if out.address & 8 else value)
            elif isinstance(out, MmioWrite):
                self.engine.resume(None if out.address & 8 else 0)
            elif not isinstance(out, Idle | Spent):
                return out
        return Spent()


def same(seeds: range) -> None:
    for seed in seeds:
        words = program(seed)
        one, two = World("reference", seed, words), Alternating(seed, words)
        assert one.run(150) == two.run(150)
        if one.code_is_whole():
            assert compare(one, two) == {}, f"seed {seed}"
            assert two.switches > 0


def test_few_random_programs() -> None:
    same(range(4))


@pytest.mark.slow
def test_random_programs() -> None:
    same(range(2000, 2060))


@pytest.mark.parametrize("first", ["reference", "interpreter"])
@pytest.mark.parametrize("answer", [None, 0x1234])
def test_between_an_exit_and_its_answer(first: str, answer: int | None) -> None:
    """One asks, another is told, and either goes on."""
    for second, third in (("reference", "interpreter"), ("interpreter", "reference")):
        b = Board(first, "lw a0, (s1)\nwfi\n.balign 4\nhandler: wfi", mtvec="handler")
        b["s1"] = DEVICE
        engines = {
            n: choose(n).engine(b.hart, b.ram, b.clock) for n in ("reference", "interpreter")
        }
        assert engines[first].run(10) == MmioRead(DEVICE, 4)
        engines[second].resume(answer)
        assert engines[third].run(10) == Idle(None)
        assert (b["a0"], b["mcause"]) == ((0, 5) if answer is None else (0x1234, 0))
        assert b["spent"] == 2


def test_one_remembers_no_translation_that_the_other_has_fenced() -> None:
    def setup(board: Board) -> None:
        board.map(CODE, CODE)
        board["s2"] = board.map(0x40_0000, DATA)
        board.map(board["s2"] & -4096, board["s2"] & -4096)
        board["s1"], board["s3"] = 0x40_0000, DATA + 4096 >> 2 | RWX
        board.put(DATA, 1)
        board.put(DATA + 4096, 2)

    text = "ld a0, (s1)\nsd s3, (s2)\nsfence.vma\nld a1, (s1)\nld a2, (s1)"
    for first, second in (("reference", "interpreter"), ("interpreter", "reference")):
        b = Board(first, text, setup=setup, priv=1, satp=SV39)
        one, two = (choose(n).engine(b.hart, b.ram, b.clock) for n in (first, second))
        assert [one.run(1), two.run(2), one.run(1), two.run(1)] == [Spent()] * 4
        assert (b["a0"], b["a1"], b["a2"]) == (1, 2, 2)
