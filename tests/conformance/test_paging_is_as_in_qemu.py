"""Accesses through random page tables do on every engine what they do on QEMU's board virt."""

import shutil
from pathlib import Path

import pytest

from auberge.isa.riscv.rv64 import rv64
from tests.conformance.boards import QEMU, run_here, run_in_qemu
from tests.conformance.paging import alike, cases, describe, image, outcomes
from tests.engine import eager, regions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is not installed"),
]


def differences(engine: str, seed: str, count: int, directory: Path) -> list[str]:
    """What that many cases of a seed do otherwise on `engine` than on QEMU."""
    tried = cases(seed, count)
    code = image(tried)
    ours, theirs = outcomes(run_here(engine, code)), outcomes(run_in_qemu(code, directory))
    assert len(ours) == len(theirs) == count
    return [
        f"case {n} of seed {seed}: {describe(*each)}"
        for n, each in enumerate(zip(tried, ours, theirs, strict=True))
        if not alike(*each)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_accesses_of_the_interpreter(seed: int, tmp_path: Path) -> None:
    assert differences("interpreter", f"{seed}", 3000, tmp_path)[:1] == []


@pytest.mark.parametrize("engine", [eager.NAME, regions.NAME])
def test_accesses_in_regions(engine: str, tmp_path: Path) -> None:
    assert differences(engine, engine, 3000, tmp_path)[:1] == []


def test_accesses_of_the_reference(tmp_path: Path) -> None:
    assert differences("reference", "r", 60, tmp_path)[:1] == []


def test_a_bug_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rv64.routines, "translate_store", rv64.routines["translate_load"])
    found = differences("reference", "r", 40, tmp_path)
    assert found[0].partition(": ")[2].startswith(("sd at", "sw at")), found[0]
