"""How often the translator looks at what was sampled: less often where nothing comes of it."""

import pytest

from auberge.engine import translator
from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Spent
from auberge.engine.state import SAMPLES, HartState
from auberge.engine.translations import Translations
from auberge.engine.translator import BUSY, LEAST, QUIET
from auberge.engine.workshop import QUICK, Order
from tests.engine.board import CODE, DATA, Board
from tests.engine.eager import Bench

FOR_EVER = """
again:  addi    a0, a0, 3
        xori    a0, a0, 5
        j       again
"""


class Slices:
    """A clock on which each slice takes as long."""

    def __init__(self, hart: HartState, seconds: float) -> None:
        self.hart, self.seconds = hart, seconds

    def monotonic(self) -> float:
        return self.hart["slices"] * self.seconds


def looks(
    text: str, monkeypatch: pytest.MonkeyPatch, seconds: float, heat: int = 3
) -> tuple[Board, list[int]]:
    """A board with slices of so many seconds, whose looks note how many samples the next awaits."""
    b = Board("interpreter", text)
    monkeypatch.setattr(translator, "time", Slices(b.hart, seconds))
    kind = choose("translator")
    noted: list[int] = []

    class Noting(translator.Translator):
        def _look(self) -> None:
            super()._look()
            noted.append(self.hart["samples_wanted"])

    works = Translations(Bench(), None, heat)
    b.engine = Noting(kind._library, works, b.hart, b.ram, ManualClock())  # type: ignore[attr-defined]
    return b, noted


@pytest.mark.parametrize("is_busy", [False, True])
def test_more_often_while_regions_are_compiled(
    is_busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, noted = looks(FOR_EVER, monkeypatch, QUIET / 500)
    if is_busy:
        works = b.engine.translations  # type: ignore[attr-defined]
        works.workshop.open.append((Order(b"somewhere else", 0), QUICK))
    assert b.engine.run(100_000_000) == Spent()
    expected = round(500 * BUSY / QUIET) if is_busy else 500
    assert noted[-1] in range(expected - 5, expected + 6)


@pytest.mark.parametrize("seconds", [10.0, 1e-9])
def test_there_are_bounds(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    b, noted = looks(FOR_EVER, monkeypatch, seconds)
    assert b.engine.run(100_000_000) == Spent()
    assert noted[-1] == (LEAST if seconds > 1 else SAMPLES)


def test_what_pointers_lead_to_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions lead there, and it leads to regions: no slice ends at a branch to it."""
    callees = range(8)
    calls = "".join(f"ld s0, {8 * n}(s1)\n jalr ra, s0, 0\n" for n in callees)
    names = ["former", *(f"f{n}" for n in callees)]
    functions = "".join(f"{name}: addi a0, a0, 1\n ret\n wfi\n" for name in names)
    b, _ = looks(f"again: {calls} j again\n{functions}", monkeypatch, QUIET / 500)
    b.hart.x[9] = DATA
    for n in callees:
        b.put(DATA + 8 * n, b.labels["former"])
    assert b.engine.run(100_000_000) == Spent()
    works = b.engine.translations  # type: ignore[attr-defined]
    (known,) = works.known.values()
    assert b.labels["former"] - CODE in known
    for n in callees:
        b.put(DATA + 8 * n, b.labels[f"f{n}"])
    assert b.engine.run(100_000_000) == Spent()
    assert known.keys() >= {b.labels[f"f{n}"] - CODE for n in callees}


@pytest.mark.parametrize("places", [1, 40])
def test_each_sample_counts(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one place that are counted together are as many as they are."""
    code = "".join(f"p{n}: addi a0, a0, 1\nj p{(n + 1) % places}\n" for n in range(places))
    b, _ = looks(code, monkeypatch, 10.0, heat=1 << 40)
    assert b.engine.run(20_000_000) == Spent()
    works = b.engine.translations  # type: ignore[attr-defined]
    counted = sum(sum(level.values()) for level in works.heat.samples.values())
    slices = b.engine.statistics()["slices"]
    assert slices - LEAST - 1 <= counted <= slices
    assert counted > LEAST
