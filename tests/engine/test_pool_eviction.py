"""Code that needs more decoded pages than the pool has executes all the same."""

import pytest

from auberge.engine import interpreter
from auberge.engine.exits import Idle, MmioRead
from auberge.engine.interpreter import Interpreter
from tests.engine.board import CODE, DEVICE, PAGE, Board

PAGES = 10
pytestmark = pytest.mark.slow


def chain(pages: int) -> str:
    """A function in each of many pages, called round and round."""
    calls = "\n".join(f"call f{n}" for n in range(pages))
    functions = "\n".join(f".balign {PAGE}\nf{n}: addi a0, a0, {n}\nret" for n in range(pages))
    return f"li s2, 3\nagain:\n{calls}\naddi s2, s2, -1\nbnez s2, again\nwfi\n{functions}"


@pytest.mark.parametrize("pool", [1, 2, 7, PAGES, PAGES + 1])
def test_any_pool_is_large_enough(pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "POOL", pool)
    b = Board("interpreter", chain(PAGES))
    b.finish()
    assert b["a0"] == 3 * PAGES * (PAGES - 1) // 2
    flushes = b.engine.statistics()["code_flushes"]
    assert flushes == 0 if pool > PAGES else flushes > 0


def test_budgets_stay_exact_when_the_pool_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "POOL", 2)
    whole, split = (Board("interpreter", chain(PAGES)) for _ in range(2))
    whole.run(100)
    for part in [1] * 20 + [7] * 10 + [10]:
        split.run(part)
    assert (split["spent"], split["pc"], split["a0"]) == (100, whole["pc"], whole["a0"])


def test_a_page_that_is_forgotten_while_a_device_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The access completes with its answer, though its record is gone."""
    monkeypatch.setattr(interpreter, "POOL", 2)
    b = Board("interpreter", "lw a0, (s1)\nlw a1, (s1)\nwfi")
    b["s1"] = DEVICE
    for n in (1, 2):
        assert b.exit() == MmioRead(DEVICE, 4)
        assert isinstance(b.engine, Interpreter)
        b.engine.forget_code()
        b.engine.resume(n)
    b.finish()
    assert (b["a0"], b["a1"]) == (1, 2)


def test_an_instruction_across_pages_when_the_pool_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "POOL", 1)

    def setup(board: Board) -> None:
        board.put(CODE + 2 * PAGE - 2, 0x0105_0513, 4)  # addi a0, a0, 16
        board.put(CODE + 2 * PAGE + 2, 0x8067, 4)

    text = f"li s2, 5\nli s1, {CODE + 2 * PAGE - 2}\n"
    text += "again: jalr s1\naddi s2, s2, -1\nbnez s2, again\nwfi"
    b = Board("interpreter", text, setup=setup)
    assert b.exit() == Idle(None)
    assert b["a0"] == 80
