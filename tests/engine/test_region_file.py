"""Regions kept on disk: whatever happened to the file, what comes out of it is what went in."""

import fcntl
import multiprocessing
import os
import random
import threading
from pathlib import Path

import pytest

from auberge.engine import region_file
from auberge.engine.region_file import RegionFile

PAGES = [bytes([n]) * 16 for n in range(4)]
CODE = {(digest, entry): bytes([n, entry]) * (20 + entry)
        for n, digest in enumerate(PAGES) for entry in (0, 6, 4094 - 4000)}  # fmt: skip


def filled(path: Path) -> None:
    file = RegionFile(str(path))
    for (digest, entry), code in CODE.items():
        file.keep(digest, entry, len(code) // 4, code)


def contents(path: Path) -> dict[tuple[bytes, int], bytes]:
    """All that a new start finds there."""
    file = RegionFile(str(path))
    return {(d, entry): code for d in PAGES for entry, _, code in file.regions(d)}


def test_what_was_kept_is_there(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    assert contents(tmp_path / "regions") == CODE
    file = RegionFile(str(tmp_path / "regions"))
    assert [count for _, count, _ in file.regions(PAGES[0])] == [10, 13, 57]
    assert file.regions(b"x" * 16) == []


def test_nobody_else_may_read_or_write_it(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    assert (tmp_path / "regions").stat().st_mode & 0o777 == 0o600


def test_one_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    (tmp_path / "regions").chmod(0o620)
    assert contents(tmp_path / "regions") == {}


@pytest.mark.parametrize("what", ["folder", "pipe", "link"])
def test_one_that_is_no_file_is_not_used(tmp_path: Path, what: str) -> None:
    path = tmp_path / "regions"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        filled(tmp_path / "other")
        path.symlink_to(tmp_path / "other")
    filled(path)
    assert contents(path) == {}


def test_cut_anywhere_the_rest_is_used_and_the_next_writer_begins_anew(tmp_path: Path) -> None:
    filled(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for cut in random.Random(1).sample(range(len(whole)), 40):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        path.chmod(0o600)
        found = contents(path)
        assert found.items() <= CODE.items()
        file = RegionFile(str(path))
        file.keep(PAGES[3], 0, 1, b"new")
        assert contents(path)[PAGES[3], 0] == b"new"


def test_changed_anywhere_nothing_wrong_comes_out(tmp_path: Path) -> None:
    filled(tmp_path / "whole")
    whole = bytearray((tmp_path / "whole").read_bytes())
    r = random.Random(2)
    for _ in range(200):
        changed = bytearray(whole)
        for _ in range(r.choice([1, 1, 8])):
            changed[r.randrange(len(changed))] ^= 1 << r.randrange(8)
        path = tmp_path / "changed"
        path.write_bytes(changed)
        path.chmod(0o600)
        for place, code in contents(path).items():
            assert CODE.get(place) == code


def test_cut_while_it_is_in_use(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    file = RegionFile(str(tmp_path / "regions"))
    os.truncate(tmp_path / "regions", 100)
    assert file.regions(PAGES[3]) == []
    file.keep(PAGES[1], 2, 1, b"after")
    assert contents(tmp_path / "regions") == {(PAGES[1], 2): b"after"}


def test_a_full_one_is_begun_anew_with_what_was_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "regions")
    size = (tmp_path / "regions").stat().st_size
    monkeypatch.setattr(region_file, "LIMIT", size + 10)
    file = RegionFile(str(tmp_path / "regions"))
    used = {(PAGES[2], entry): code for entry, _, code in file.regions(PAGES[2])}
    file.keep(PAGES[0], 8, 1, b"more")
    assert contents(tmp_path / "regions") == used | {(PAGES[0], 8): b"more"}


def append(path: str, writer: int) -> None:
    file = RegionFile(path)
    for n in range(50):
        digest = writer.to_bytes(8, "little") + n.to_bytes(8, "little")
        file.keep(digest, 2 * writer, n, bytes([writer, n]) * 300)


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "regions")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append, args=(path, n)) for n in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    file = RegionFile(path)
    for writer in range(3):
        for n in range(50):
            digest = writer.to_bytes(8, "little") + n.to_bytes(8, "little")
            assert file.regions(digest) == [(2 * writer, n, bytes([writer, n]) * 300)]


def test_a_writer_that_was_stopped_stops_nobody_else(tmp_path: Path) -> None:
    stopped = os.open(tmp_path / "regions", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    file = RegionFile(str(tmp_path / "regions"))
    keeping = threading.Thread(target=filled, args=(tmp_path / "regions",), daemon=True)
    keeping.start()
    keeping.join(10)
    assert not keeping.is_alive()
    file.keep(PAGES[0], 0, 1, b"code")
    os.close(stopped)
    file.keep(PAGES[0], 0, 1, b"code")  # it does not try again
    assert os.path.getsize(tmp_path / "regions") == 0


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    file = RegionFile(str(tmp_path / "absent" / "regions"))
    file.keep(PAGES[0], 0, 1, b"code")
    assert file.regions(PAGES[0]) == []
