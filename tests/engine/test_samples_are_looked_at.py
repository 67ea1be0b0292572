"""How often the translator looks at what was sampled: less often where nothing comes of it."""

import pytest

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Spent
from auberge.engine.state import SAMPLES
from auberge.engine.translations import Translations
from auberge.engine.translator import SOON, Translator
from tests.engine.board import Board
from tests.engine.eager import Bench

FOR_EVER = """
again:  addi    a0, a0, 3
        xori    a0, a0, 5
        j       again
"""
THEN_ELSEWHERE = """
        li      s0, 40000000
again:  addi    s0, s0, -1
        bnez    s0, again
        .balign 64
other:  addi    a0, a0, 1
        j       other
"""


def looks(text: str, heat: int = 3) -> tuple[Board, list[int]]:
    """A board whose looks note how many samples the next one waits for."""
    b = Board("interpreter", text)
    kind = choose("translator")
    noted: list[int] = []

    class Noting(Translator):
        def _look(self) -> None:
            super()._look()
            noted.append(self.hart["samples_wanted"])

    works = Translations(Bench(), None, heat)
    b.engine = Noting(kind._library, works, b.hart, b.ram, ManualClock())  # type: ignore[attr-defined]
    return b, noted


def test_less_often_once_all_that_is_hot_is_translated() -> None:
    b, noted = looks(FOR_EVER)
    assert b.engine.run(400_000_000) == Spent()
    assert b.engine.statistics()["regions_better"] >= 1
    assert noted[0] == SOON
    assert noted[-1] == SAMPLES
    assert len(noted) < b.engine.statistics()["slices"] // SOON // 2


def test_soon_again_where_other_code_is_hot() -> None:
    b, noted = looks(THEN_ELSEWHERE)
    assert b.engine.run(400_000_000) == Spent()
    assert 4 * SOON in noted, "the first loop was left alone"
    after = noted[noted.index(4 * SOON) :]
    assert SOON in after
    assert b.engine.statistics()["regions_better"] >= 2


@pytest.mark.parametrize("places", [1, 40])
def test_each_sample_counts(places: int) -> None:
    """Those of one place that are counted together are as many as they are."""
    code = "".join(f"p{n}: addi a0, a0, 1\nj p{(n + 1) % places}\n" for n in range(places))
    b, _ = looks(code, heat=1 << 40)
    assert b.engine.run(20_000_000) == Spent()
    works = b.engine.translations  # type: ignore[attr-defined]
    counted = sum(sum(level.values()) for level in works.heat.samples.values())
    slices = b.engine.statistics()["slices"]
    assert slices - SOON - 1 <= counted <= slices
    assert counted > SOON
