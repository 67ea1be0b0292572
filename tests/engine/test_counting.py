"""Regions that count how often they are entered: exactly, and whatever becomes of their records."""

import ctypes
import marshal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from auberge.engine.clock import ManualClock
from auberge.engine.counting import COUNT, Counting, CountingTranslator
from auberge.engine.exits import Idle, Spent
from auberge.engine.workshop import QUICK, WELL
from tests.engine.board import CODE, DATA, Board
from tests.engine.test_translator import LOOP, translating

pytestmark = pytest.mark.slow

CALLS = """
start:  li      s0, 5000
again:  jal     function
        addi    s0, s0, -1
        bnez    s0, again
        li      s0, 5000
        li      a0, 0
        bnez    s2, again
        wfi
        .align 6
function:
        addi    a0, a0, 3
        mv      a2, a0
        ret
"""
LENGTH = 6  # instructions of a call and of what it is among


@pytest.fixture
def kind(tmp_path: Path) -> Iterator[Counting]:
    counting = Counting(str(tmp_path), 0)
    yield counting
    counting.close()


def counting_board(kind: Counting, text: str) -> tuple[Board, CountingTranslator]:
    b = Board("interpreter", text)
    b.hart.x[9] = DATA
    engine = kind.engine(b.hart, b.ram, ManualClock())
    b.engine = engine
    return b, engine


def entries(kind: Counting) -> dict[int, int]:
    """How often, by address; there may be two of one, if the rest of their page changed."""
    found: Counter[int] = Counter()
    for each in kind.entered():
        found[each.gpa or 0] += each.times
    return found


def test_as_often_as_it_was_called(kind: Counting) -> None:
    b, _ = counting_board(kind, CALLS)
    b["s2"] = 1
    assert b.engine.run(20_000) == Spent()  # all is hot now
    function = b.labels["function"]
    assert entries(kind)[function] > 1000
    kind.begin()
    assert entries(kind) == {}
    calls = 3000
    slices = b["slices"]
    assert b.engine.run(calls * LENGTH) == Spent()
    # once more at most where a slice ended, since it goes on there by entering again
    assert calls - 2 <= entries(kind)[function] <= calls + 2 + b["slices"] - slices
    (most, *_) = kind.entered()
    assert most.gva == most.gpa
    assert most.gpa in range(b.labels["again"], function + 1)


def test_nothing_else_changes(kind: Counting) -> None:
    one, (two, _) = Board("interpreter", CALLS), counting_board(kind, CALLS)
    one.hart.x[9] = DATA
    for budget in (1, 5000, 77, 12345, 40_000):
        assert type(one.engine.run(budget)) is type(two.engine.run(budget))
        assert one.hart.visible() == two.hart.visible()


def test_counts_outlive_their_records(kind: Counting) -> None:
    b, engine = counting_board(kind, CALLS)
    b["s2"] = 1
    assert b.engine.run(20_000) == Spent()
    before = entries(kind)
    engine.forget_code()
    assert entries(kind) == before
    assert b.engine.run(20_000) == Spent()
    function = b.labels["function"]
    assert entries(kind)[function] >= before[function] + 3000
    code = b.ram.read(CODE, 8)
    b.ram.write(CODE + 2048, b"\1")  # another page of code, where that one was
    b.hart.request("fence_i")
    assert b.engine.run(20_000) == Spent()
    assert entries(kind)[function] >= before[function] + 3000
    assert b.ram.read(CODE, 8) == code
    kind.begin()
    assert entries(kind) == {}


def test_a_region_that_is_compiled_anew_counts_on(kind: Counting) -> None:
    b, engine = counting_board(kind, CALLS)
    b["s2"] = 1
    assert b.engine.run(20_000) == Spent()
    before = entries(kind)
    for digest, pages in engine._pages.items():
        for entry, address in engine.translations.known.get(digest, {}).items():
            for page in pages:
                engine._install(page, entry, address)
    assert entries(kind) == before


def test_the_same_is_counted_again(tmp_path: Path) -> None:
    """What is translated, and when, depends on the guest alone."""
    counts = []
    for n in range(2):
        (tmp_path / str(n)).mkdir()
        kind = Counting(str(tmp_path / str(n)), 1 << 20)
        b, _ = counting_board(kind, CALLS)
        assert b.exit() == Idle(None)
        counts.append(kind.entered())
        kind.close()
    assert counts[0] == counts[1] != []


def test_by_hart(kind: Counting) -> None:
    boards = [counting_board(kind, CALLS)[0] for _ in range(2)]
    for n, b in enumerate(boards):
        b.hart["mhartid"] = n
        b["s2"] = 1
        assert b.engine.run(20_000 * (n + 1)) == Spent()
    both, first, second = (
        sum(each.times for each in kind.entered(hartid)) for hartid in (None, 0, 1)
    )
    assert both == first + second
    assert first < second


def test_what_it_is_made_of(kind: Counting) -> None:
    b, _ = counting_board(kind, CALLS)
    b.exit()
    chosen = [each for each in kind.entered() if each.gpa == b.labels["function"]]
    (parts,) = kind.explain([each.order for each in chosen])
    function = b.labels["function"] - CODE
    assert parts.offsets == [function, function + 4, function + 8]
    assert parts.page == b.ram.read(CODE, 4096)
    lines = parts.ir.splitlines()
    assert lines[0].startswith("define preserve_nonecc void @region(ptr ")
    assert lines[-1] == "}"
    assert any(line.endswith("; x10") for line in lines)
    assert any(line.endswith("; attention") for line in lines)
    assert "@body" not in parts.ir, "what is shown does not count"
    assert parts.level in (QUICK, WELL)
    assert parts.assembly.startswith("region:\n")
    assert ".cfi" not in parts.assembly


def test_an_ordinary_region_leaves_its_record_alone() -> None:
    b = translating(LOOP)
    assert b.engine.run(3000) == Spent()
    (page,) = b.engine._digests  # type: ignore[attr-defined]
    operands = ctypes.c_uint64.from_address(page + 8 * (b.labels["again"] - CODE) + COUNT)
    before = operands.value
    assert b.engine.statistics()["regions_installed"] >= 1
    assert b.exit() == Idle(None)
    assert operands.value == before


def test_what_counts_is_never_kept_on_disk(kind: Counting) -> None:
    b, engine = counting_board(kind, LOOP)
    assert b.exit() == Idle(None)
    assert entries(kind)
    assert engine.translations.file is None


def test_it_compiles_for_aarch64(tmp_path: Path) -> None:
    from auberge.engine.explainer import Counting as Compiler
    from auberge.engine.explainer import explain
    from auberge.engine.host import Host
    from auberge.isa.assembler import assemble
    from auberge.isa.riscv.rv64 import rv64

    compiler = Compiler(Host("aarch64", "generic", ("lse",)), str(tmp_path))
    page = assemble(rv64, "add a0, a0, a1; ret").ljust(4096, b"\0")
    for level in (QUICK, WELL):
        assert compiler.compile(page, 0, (), level) is not None
        (note,) = tmp_path.iterdir()
        _, offsets, text, said = marshal.loads(note.read_bytes())
        assert (offsets, said) == ([0, 4], level)
        _, assembly = explain(compiler, text, level)
        assert "\tbr\tx" in assembly
        assert "//" not in assembly
