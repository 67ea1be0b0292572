"""A program that holds translations forks: parent and child have nothing that changes in common."""

import ctypes
import os
import threading
from pathlib import Path

import pytest

from auberge.engine.choose import choose
from auberge.engine.exits import Idle
from auberge.engine.region_file import RegionFile
from auberge.engine.region_record import Region
from auberge.engine.translations import Translations
from auberge.engine.workshop import Order, Workshop
from tests.engine.test_region_file import in_child
from tests.engine.test_translator import LOOP, SILENT, board, plain, translating

pytestmark = pytest.mark.slow
DIGEST = b"d" * 16


def test_code_of_the_one_is_not_the_others(tmp_path: Path) -> None:
    works = Translations(Workshop(("-c", "")), None)
    works.add(DIGEST, Region(0, 1, b"before"))

    def child() -> bool:
        before, _held = works.known[DIGEST][0], works.arena  # as by a hart
        works.forked()
        works.add(DIGEST, Region(2, 1, b"child!"))
        ours = works.known[DIGEST]
        return 0 not in ours and read(before) == b"before" and read(ours[2]) == b"child!"

    assert in_child(child)
    works.add(DIGEST, Region(2, 1, b"parent"))
    assert [read(works.known[DIGEST][entry]) for entry in (0, 2)] == [b"before", b"parent"]
    in_child(child)
    assert read(works.known[DIGEST][2]) == b"parent"


def read(address: int) -> bytes:
    return ctypes.string_at(address, 6)


def test_a_child_whose_host_has_no_room_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    works = Translations(Workshop(("-c", "")), None)
    works.add(DIGEST, Region(0, 1, b"before"))
    where = works.known[DIGEST][0]

    def child() -> bool:
        def fails(size: int) -> None:
            raise OSError("too many open files")

        monkeypatch.setattr("auberge.engine.translations.Arena", fails)
        works.forked()
        works.add(DIGEST, Region(2, 1, b"child!"))
        return 2 not in works.known[DIGEST]

    assert in_child(child)
    works.add(DIGEST, Region(2, 1, b"parent"))
    assert read(where) == b"before"


def test_a_lock_that_another_thread_had_is_free() -> None:
    works: Translations = choose("translator").translations  # type: ignore[attr-defined]
    has, may_go = threading.Event(), threading.Event()

    def other() -> None:
        with works.lock:
            has.set()
            may_go.wait()

    thread = threading.Thread(target=other)
    thread.start()
    has.wait()
    assert in_child(lambda: works.lock.acquire(timeout=5))
    may_go.set()
    thread.join()


def test_both_run_on(tmp_path: Path) -> None:
    """A guest in the middle of its loop, whose records lead to regions of before the fork."""
    b, expected = translating(LOOP, RegionFile(str(tmp_path / "regions"))), plain(LOOP)
    b.run(5000)
    expected.exit()
    works = b.engine.translations  # type: ignore[attr-defined]
    assert works.regions

    def goes_on() -> bool:
        return b.exit() == Idle(None) and b.hart.visible() == expected.hart.visible()

    def child() -> bool:
        works.forked()
        return goes_on() and works.dropped == 1

    assert in_child(child)
    assert goes_on()
    assert works.dropped == 0
    found = board(LOOP, Translations(SILENT, RegionFile(str(tmp_path / "regions"))))
    assert found.exit() == Idle(None)
    assert found.engine.statistics()["regions_loaded"] >= 1


def test_orders_of_the_parent_are_none_of_the_childs() -> None:
    workshop = Workshop(("-c", "import time; time.sleep(100)"))
    workshop.order(Order(DIGEST, 0), (), bytes(4096))
    process, will = workshop.process, workshop._will
    assert process is not None

    def child() -> bool:
        return workshop.done() == [] and not workshop.open and not is_open(will)

    assert in_child(child)
    assert is_open(will)
    assert workshop.process is process
    assert process.poll() is None
    workshop.close()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
