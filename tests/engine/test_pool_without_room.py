"""Decoded code where the host gives less memory than the pool would have: less is enough."""

import ctypes
import mmap

import pytest

from auberge.engine import interpreter
from auberge.engine import pool as pools
from auberge.engine.pool import NO_ROOM, Pool
from auberge.engine.records import PAGE_OF_RECORDS
from auberge.refusal import Refusal
from tests.engine.board import Board
from tests.engine.test_pool_eviction import PAGES, chain

pytestmark = pytest.mark.slow
PER_PAGE = 8  # mappings
UNDECODED = 0x1234_5678


def refusing(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """From that many mappings on the kernel says that there is no memory."""
    real, count = Pool._map, 0

    def few(pool: Pool, page: int) -> bool:
        nonlocal count
        count += 1
        return count <= after and real(pool, page)

    monkeypatch.setattr(Pool, "_map", few)


@pytest.mark.parametrize("pages", range(1, PAGES))
def test_programs_run_in_the_pages_that_there_are(
    pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "POOL", 16)
    refusing(monkeypatch, pages)
    b = Board("interpreter", chain(PAGES))
    b.finish()
    assert b["a0"] == 3 * PAGES * (PAGES - 1) // 2
    assert b.engine.statistics()["code_flushes"] > 0
    pool: Pool = b.engine.pool  # type: ignore[attr-defined]
    assert pool.end - pool.start == pages * PAGE_OF_RECORDS


def test_none_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, 0)
    with pytest.raises(Refusal) as refusal:
        Board("interpreter", "wfi")
    assert str(refusal.value) == NO_ROOM


def test_a_mapping_that_the_kernel_refuses_is_noticed() -> None:
    pool = Pool(8, UNDECODED)
    pool._mmap = lambda *_: 2**64 - 1  # MAP_FAILED
    with pytest.raises(Refusal):
        pool.first()


def first_word(pool: Pool) -> ctypes.c_uint64:
    return ctypes.c_uint64.from_address(pool.start)


@pytest.mark.parametrize("locked", [False, True])
def test_what_is_cleared_is_undecoded_also_where_memory_is_locked(locked: bool) -> None:
    pool = Pool(8, UNDECODED)
    start, end = pool.first()
    first_word(pool).value = 7
    if locked and ctypes.CDLL(None).mlock(ctypes.c_void_p(start), ctypes.c_size_t(mmap.PAGESIZE)):
        pytest.skip("this user may lock no memory (ulimit -l)")
    pool.clear(start, end)
    assert first_word(pool).value == UNDECODED


def test_without_descriptors_all_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(pools.os, "memfd_create", fails)
    pool = Pool(8, UNDECODED)
    assert not pool.is_blank
    taken = pools._taken
    del pool
    assert pools._taken == taken - 8 * (PER_PAGE + 1)
