"""Random user-mode programs do on every engine, bit by bit, what they do in Debian's QEMU."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from auberge.bits.bits import Bits, const, select
from auberge.isa.hart import Hart
from auberge.isa.riscv import floating
from auberge.isa.riscv.rv64 import rv64
from tests.conformance.differ import Difference, trial
from tests.conformance.generate import FORMS, UNKNOWN, WEIGHTS, generate
from tests.conformance.runs import QEMU

pytestmark = pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is not installed")

SHARDS, PROGRAMS = 8, 8
COUNTERS = {"Zicntr", "Zihpm"}


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_ten_million_instructions_of_the_interpreter(shard: int, tmp_path: Path) -> None:
    count = 0
    for n in range(PROGRAMS):
        count += trial("interpreter", f"{shard}.{n}", tmp_path / "program")
    assert count >= 10_000_000 / SHARDS


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(4))
def test_many_instructions_once(shard: int, tmp_path: Path) -> None:
    """Where a form meets its operands only a few times, more forms and immediates are seen."""
    for n in range(5):
        trial("interpreter", f"{shard}.{n}.wide", tmp_path / "program", items=2000, iterations=20)


@pytest.mark.slow
def test_round_to_nearest_max_magnitude(tmp_path: Path) -> None:
    """No host has it: every such instruction goes to the reference, with the hart's flags."""
    for n in range(6):
        trial("interpreter", f"{n}m", tmp_path / "program", iterations=40)


@pytest.mark.slow
def test_a_hundred_thousand_instructions_of_the_reference(tmp_path: Path) -> None:
    count = 0
    for n in range(9):
        count += trial("reference", f"{n}m", tmp_path / "program", items=400, iterations=30)
    assert count >= 100_000


def test_every_extension_of_users_takes_part() -> None:
    of_users = {e.name for e in rv64.extensions if not e.name.startswith("S")}
    assert of_users - COUNTERS == set(WEIGHTS) | UNKNOWN


def test_every_form_takes_part() -> None:
    seen = set()
    for n in range(5):
        for item in generate(f"{n}", 2000, 1).items:
            seen |= {step.form.name for step in item.steps}
    assert {form.name for forms in FORMS.values() for form in forms} <= seen


def sltu_signed(h: Hart, **r: Bits) -> None:
    h.x[r["rd"]] = h.x[r["rs1"]].slt(h.x[r["rs2"]]).zext(64)


def divw_by_zero_is_zero(h: Hart, **r: Bits) -> None:
    a, b = (h.x[r[name]][31:0] for name in ("rs1", "rs2"))
    overflow = a.eq(1 << 31) & b.eq(-1)
    quotient = a.sdiv(select(b.eq(0) | overflow, const(1, 32), b))
    h.x[r["rd"]] = select(b.eq(0), const(0, 32), quotient).sext(64)


def fsgnj_unboxed(h: Hart, **r: Bits) -> None:
    a, b = (h.f[r[name]] for name in ("rs1", "rs2"))
    floating.write(h, 32, r["rd"], a[31:0].insert(31, 31, b[31]))


def fcvt_wu_extends_zeros(h: Hart, **r: Bits) -> None:
    mode = floating.rounding(h, r["rm"])
    h.x[r["rd"]] = h.fpu("to_u32", 64, mode, h.f[r["rs1"]]).zext(64)
    floating.dirty(h)


def feq_signals(h: Hart, **r: Bits) -> None:
    a, b = (floating.read(h, 64, r[name]) for name in ("rs1", "rs2"))
    floating.equal(h, 64, r["rd"], r["rs1"], r["rs2"])
    floating.raise_invalid(h, floating.is_nan(a) | floating.is_nan(b))


BUGS = {
    "sltu": sltu_signed,
    "divw": divw_by_zero_is_zero,
    "fsgnj.s": fsgnj_unboxed,
    "fcvt.wu.d": fcvt_wu_extends_zeros,
    "feq.d": feq_signals,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found_and_its_program_is_small(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text: Callable[..., None] = BUGS[name]
    monkeypatch.setattr(rv64[name], "execute", text)
    with pytest.raises(Difference) as found:
        for n in range(100):
            trial("reference", f"{n}", tmp_path / "program", items=150, iterations=4)
    program = found.value.program
    assert len(program.items) <= 3, found.value
    assert name in {step.form.insn.name for item in program.items for step in item.steps}
    assert "again: python -m tests.conformance.differ reference" in str(found.value)
