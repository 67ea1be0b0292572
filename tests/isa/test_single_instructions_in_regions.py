"""The privileged tests' third engine does execute single instructions in regions, which trap."""

import pytest

from auberge.engine.translator import Translator
from tests.engine import regions
from tests.isa.bench import CODE, DATA, Bench, M, Trap


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(Bench, "engine_name", regions.ALONE)
    return Bench()


def exits(bench: Bench, cause: str) -> int:
    assert isinstance(bench.engine, Translator)
    return bench.engine.statistics()[f"exits_{cause}"]


def test_what_traps_leaves_the_region_first(bench: Bench) -> None:
    bench.hart.x[11] = DATA + 1
    for times in range(1, 4):
        trap = bench.insn("lr.d", rd=10, rs1=11, aq=0, rl=0)
        assert trap == Trap(M, 4, DATA + 1)
        assert exits(bench, "trap") == times


def test_what_does_not_trap_completes_in_it(bench: Bench) -> None:
    bench.ram.write(DATA, (5).to_bytes(8, "little"))
    bench.hart.x[11] = DATA
    assert bench.insn("ld", rd=10, rs1=11, imm=0) is None
    assert (bench.hart.x[10], bench["pc"]) == (5, CODE + 4)
    assert [exits(bench, cause) for cause in ("trap", "device", "crossing")] == [0] * 3
