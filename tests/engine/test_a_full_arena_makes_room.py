"""When the memory for translated code is full, all of it is dropped: no hart runs what is gone."""

import gc
import threading
import weakref
from pathlib import Path

import pytest

from auberge.engine import translations
from auberge.engine.exits import Idle, Spent
from auberge.engine.region_file import RegionFile
from auberge.engine.region_record import Region
from auberge.engine.translations import Translations
from auberge.engine.translator import Translator
from auberge.engine.workshop import Workshop
from auberge.memory.arena import Arena
from tests.engine.board import Board
from tests.engine.test_translator import SILENT, board, plain

pytestmark = pytest.mark.slow

PAGES = 20
# In each page a loop of its own; a few rounds over all of them.
LOOPS = "".join(
    f"""
page{n}: li     s0, 100
1:      addi    a0, a0, {n}
        sd      a0, {8 * n}(s1)
        xor     a1, a1, a0
        addi    s0, s0, -1
        bnez    s0, 1b
        j       page{n + 1}
        .align  12
"""
    for n in range(PAGES)
)
PROGRAM = f"""
        li      s2, 4
again:  j       page0
        .align  12
{LOOPS}
page{PAGES}:
        addi    s2, s2, -1
        beqz    s2, end
        j       again
end:
        wfi
"""
ROOM = 4096  # bytes: for some regions of PROGRAM, not for all


def works(file: RegionFile | None = None, workshop: Workshop | None = None) -> Translations:
    """Translations with little room."""
    made = Translations(workshop or Workshop(), file, heat=1, waits=True)
    made.arena, made.rest = Arena(ROOM), 0.0
    return made


def counted(b: Board, name: str) -> int:
    return b.engine.statistics()[name]


def test_what_does_not_fit_is_translated_again() -> None:
    one, two = plain(PROGRAM), board(PROGRAM, works())
    assert one.exit() == two.exit() == Idle(None)
    assert one.hart.visible() == two.hart.visible()
    assert one["spent"] == two["spent"]
    assert counted(two, "regions_dropped") >= 2
    assert counted(two, "region_bytes") <= ROOM
    assert counted(two, "regions") > PAGES
    assert counted(two, "slices_in_regions") > 10


def test_what_was_dropped_is_loaded_again(tmp_path: Path) -> None:
    path = str(tmp_path / "regions")
    first = board(PROGRAM, works(RegionFile(path)))
    assert first.exit() == Idle(None)
    second = board(PROGRAM, works(RegionFile(path), SILENT))
    assert second.exit() == Idle(None)
    assert second.hart.visible() == first.hart.visible()
    assert counted(second, "regions_dropped") >= 2
    assert counted(second, "regions_loaded") > 2 * PAGES
    assert counted(second, "compiler_cpu_ms") == SILENT.starts == 0


def test_what_was_compiled_since_is_loaded_too(tmp_path: Path) -> None:
    b = board(PROGRAM, works(RegionFile(str(tmp_path / "regions"))))
    assert b.exit() == Idle(None)
    assert 0 < counted(b, "regions_loaded")
    assert counted(b, "regions") - counted(b, "regions_loaded") <= 2 * PAGES


def test_an_arena_goes_when_its_last_hart_has_forgotten_it() -> None:
    """A hart that never comes back, as one that is off, holds on to its own and to no other."""
    shared = works()
    sleeper, worker = (board(PROGRAM, shared) for _ in range(2))
    assert sleeper.engine.run(3000) == Spent()
    assert counted(sleeper, "regions_installed") >= 1
    slept_in = weakref.ref(shared.arena)
    arenas = {id(shared.arena): slept_in}
    for _ in range(30):
        assert worker.engine.run(1000) == Spent()
        arenas.setdefault(id(shared.arena), weakref.ref(shared.arena))
    assert shared.dropped >= 2
    gc.collect()
    assert slept_in() is not None
    alive = {id(arena) for each in arenas.values() if (arena := each()) is not None}
    assert alive <= {id(slept_in()), id(shared.arena), id(worker.engine._arena)}  # type: ignore[attr-defined]
    one = plain(PROGRAM)
    assert one.exit() == sleeper.exit() == Idle(None)
    assert one.hart.visible() == sleeper.hart.visible()
    gc.collect()
    assert slept_in() is None


def test_two_harts_that_drop_for_each_other() -> None:
    shared = works()
    boards = [board(PROGRAM, shared) for _ in range(2)]
    threads = [threading.Thread(target=b.engine.run, args=(100_000,)) for b in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one = plain(PROGRAM)
    assert one.exit() == Idle(None)
    for b in boards:
        assert one.hart.visible() == b.hart.visible()
    assert shared.dropped >= 2


def test_a_hart_is_told_before_it_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look and an installation, somebody else may have filled the arena."""
    shared = works()
    b = board(PROGRAM, shared)
    assert b.engine.run(3000) == Spent()
    engine = b.engine
    assert isinstance(engine, Translator)
    page, digest = next(iter(engine._digests.items()))
    while not shared.dropped:
        shared.add(digest, Region(2, 1, b"\xcc" * 1000))  # would end us
    before = engine.installed
    engine._meet(page)
    engine._look()
    assert engine.installed == before
    shared.known.clear()
    shared.news.clear()
    assert b.exit() == Idle(None)


def test_a_host_without_memory_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(size: int) -> Arena:
        raise OSError(12, "Cannot allocate memory")

    shared = works()
    monkeypatch.setattr(translations, "Arena", none)
    one, two = plain(PROGRAM), board(PROGRAM, shared)
    assert one.exit() == two.exit() == Idle(None)
    assert one.hart.visible() == two.hart.visible()
    assert (shared.dropped, counted(two, "region_bytes") <= ROOM) == (0, True)


def test_what_never_fits_does_not_drop_all_the_time() -> None:
    """It is interpreted for a while; else each page that is met again would empty the arena."""
    shared = works()
    shared.rest = 1000.0
    one, two = plain(PROGRAM), board(PROGRAM, shared)
    assert one.exit() == two.exit() == Idle(None)
    assert one.hart.visible() == two.hart.visible()
    assert (shared.dropped, 0 < shared.regions < PAGES) == (0, True)
    shared.began -= 1000.0
    shared.add(b"d" * 16, Region(0, 1, bytes(ROOM // 2)))
    assert (shared.dropped, set(shared.known)) == (1, {b"d" * 16})


def test_a_region_that_fits_none() -> None:
    shared = works()
    shared.add(b"d" * 16, Region(0, 1, bytes(ROOM + 1)))
    assert shared.known == {}
