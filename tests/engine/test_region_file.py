"""Regions kept on disk: whatever happened to the file, what comes out of it is what went in."""

import fcntl
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auberge.engine import region_file
from auberge.engine.region_file import RegionFile
from auberge.engine.region_index import kept_in
from auberge.engine.region_record import Region

PAGES = [bytes([n]) * 16 for n in range(4)]
CODE = {(digest, entry): bytes([n, entry]) * (20 + entry)
        for n, digest in enumerate(PAGES) for entry in (0, 6, 4094 - 4000)}  # fmt: skip


def filled(path: Path) -> None:
    file = RegionFile(str(path))
    for (digest, entry), code in CODE.items():
        file.keep(digest, Region(entry, len(code) // 4, code))


def contents(path: Path) -> dict[tuple[bytes, int], bytes]:
    """All that a new start finds there."""
    file = RegionFile(str(path))
    return {(d, entry): code for d in PAGES for entry, _, code, *_ in file.regions(d)}


def test_what_was_kept_is_there(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    assert contents(tmp_path / "regions") == CODE
    file = RegionFile(str(tmp_path / "regions"))
    assert [count for _, count, *_ in file.regions(PAGES[0])] == [10, 13, 57]
    assert file.regions(b"x" * 16) == []


def test_nobody_else_may_read_or_write_it(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    assert (tmp_path / "regions").stat().st_mode & 0o777 == 0o600


def test_one_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    (tmp_path / "regions").chmod(0o620)
    assert contents(tmp_path / "regions") == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_one_of_another_user_is_not_used(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    os.chown(tmp_path / "regions", 12345, 12345)
    assert contents(tmp_path / "regions") == {}
    size = (tmp_path / "regions").stat().st_size
    filled(tmp_path / "regions")
    assert (tmp_path / "regions").stat().st_size == size


def test_using_one_is_noted_in_its_time(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    os.utime(tmp_path / "regions", (0, 0))
    RegionFile(str(tmp_path / "regions"))
    assert (tmp_path / "regions").stat().st_mtime > 1_000_000_000


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
        file.keep(PAGES[3], Region(0, 1, b"new"))
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
    file.keep(PAGES[1], Region(2, 1, b"after"))
    first = (PAGES[0], 0)  # the one within 100 bytes
    assert contents(tmp_path / "regions") == {first: CODE[first], (PAGES[1], 2): b"after"}


def test_a_full_one_is_replaced_by_what_was_used_and_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "regions")
    before = (tmp_path / "regions").stat()
    monkeypatch.setattr(region_file, "LIMIT", before.st_size + 10)
    file = RegionFile(str(tmp_path / "regions"))
    used = {(PAGES[0], entry): code for entry, _, code, *_ in file.regions(PAGES[0])}
    file.keep(PAGES[0], Region(8, 1, b"more"))
    kept = contents(tmp_path / "regions")
    assert kept.items() >= used.items()
    assert kept[PAGES[0], 8] == b"more"
    others = {digest for digest, _ in kept} - {PAGES[0]}
    assert others == {PAGES[3]}
    after = (tmp_path / "regions").stat()
    assert after.st_size <= before.st_size // 2 + 100
    assert after.st_mode == before.st_mode


def test_of_more_that_is_in_use_than_fits_the_newest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_file, "LIMIT", 10_000)
    file = RegionFile(str(tmp_path / "regions"))
    for n in range(100):
        file.keep(PAGES[n % 4], Region(2 * n, 1, bytes([n]) * 300))
        assert contents(tmp_path / "regions")[PAGES[n % 4], 2 * n] == bytes([n]) * 300
        assert (tmp_path / "regions").stat().st_size <= 10_000
    found = {entry // 2 for _, entry in contents(tmp_path / "regions")}
    assert found == set(range(100 - len(found), 100))
    assert len(found) >= 10_000 // 2 // 340


def test_who_reads_one_that_is_replaced_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "regions")
    size = (tmp_path / "regions").stat().st_size
    reader, writer = (RegionFile(str(tmp_path / "regions")) for _ in range(2))
    monkeypatch.setattr(region_file, "LIMIT", size + 10)
    writer.keep(PAGES[0], Region(8, 1, b"more"))
    monkeypatch.undo()
    for digest in PAGES[:3]:
        found = {(digest, entry): code for entry, _, code, *_ in reader.regions(digest)}
        assert found == {place: code for place, code in CODE.items() if place[0] == digest}
    assert not reader.is_damaged
    reader.keep(PAGES[1], Region(10, 1, b"too"))  # into the one that is there now
    now = contents(tmp_path / "regions")
    assert (now[PAGES[0], 8], now[PAGES[1], 10]) == (b"more", b"too")
    assert [code for _, _, code, *_ in reader.regions(PAGES[0])] == [b"more"]  # it knows of both
    assert [code for _, _, code, *_ in writer.regions(PAGES[0])] == [b"more"]


def test_one_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    file = RegionFile(str(tmp_path / "regions"))
    (tmp_path / "regions").unlink()
    assert len(file.regions(PAGES[0])) == 3
    file.keep(PAGES[1], Region(2, 1, b"after"))
    assert contents(tmp_path / "regions") == {(PAGES[1], 2): b"after"}


def test_what_another_has_kept_is_not_kept_twice(tmp_path: Path) -> None:
    one, two = (RegionFile(str(tmp_path / "regions")) for _ in range(2))
    one.keep(PAGES[0], Region(0, 1, b"code"))
    size = (tmp_path / "regions").stat().st_size
    two.keep(PAGES[0], Region(0, 1, b"code"))
    assert (tmp_path / "regions").stat().st_size == size
    assert two.regions(PAGES[0]) == [Region(0, 1, b"code")]  # and is known from there on
    two.keep(PAGES[0], Region(2, 1, b"edoc"))
    one.look_again()
    assert one.regions(PAGES[0]) == [Region(0, 1, b"code"), Region(2, 1, b"edoc")]


def test_damage_takes_nothing_else_with_it(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    file = RegionFile(str(tmp_path / "regions"))
    at = next(kept.at for kept in kept_in(file._index.places[PAGES[1]]) if kept.entry == 6)
    with open(tmp_path / "regions", "r+b") as damaged:
        damaged.seek(at)
        damaged.write(b"\xff")
    assert [entry for entry, *_ in file.regions(PAGES[1])] == [0, 94]
    file.keep(PAGES[0], Region(8, 1, b"more"))
    rest = {place: code for place, code in CODE.items() if place != (PAGES[1], 6)}
    assert contents(tmp_path / "regions") == rest | {(PAGES[0], 8): b"more"}
    again = RegionFile(str(tmp_path / "regions"))
    assert [len(again.regions(digest)) for digest in PAGES] == [4, 2, 3, 3]
    assert not again.is_damaged, "it was not kept, to be found damaged each time"
    assert [path.name for path in tmp_path.iterdir()] == ["regions"]


def append(path: str, writer: int, count: int, limit: int) -> None:
    region_file.LIMIT = limit
    file = RegionFile(path)
    for n in range(count):
        digest = writer.to_bytes(8, "little") + n.to_bytes(8, "little")
        file.keep(digest, Region(2 * writer, n, bytes([writer, n]) * 300))


def appended(path: str, count: int, limit: int) -> dict[int, list[int]]:
    """What three processes leave, that write at once: by writer, the numbers that are there."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append, args=(path, n, count, limit)) for n in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
        assert each.exitcode == 0
    file = RegionFile(path)
    found: dict[int, list[int]] = {writer: [] for writer in range(3)}
    for digest in list(file._index.places):
        writer, n = (int.from_bytes(digest[at : at + 8], "little") for at in (0, 8))
        assert file.regions(digest) == [Region(2 * writer, n, bytes([writer, n]) * 300)]
        found[writer].append(n)
    assert not file.is_damaged
    return found


@pytest.mark.slow
def test_several_processes_write_at_once(tmp_path: Path) -> None:
    found = appended(str(tmp_path / "regions"), 50, 1 << 20)
    assert found == {writer: list(range(50)) for writer in range(3)}


@pytest.mark.slow
def test_several_processes_replace_it_at_once(tmp_path: Path) -> None:
    limit = 30_000
    found = appended(str(tmp_path / "regions"), 200, limit)
    assert os.path.getsize(tmp_path / "regions") <= limit
    assert sum(map(len, found.values())) >= limit // 2 // 640 - 1
    assert [path.name for path in tmp_path.iterdir()] == ["regions"]
    assert any(199 in numbers for numbers in found.values())  # whoever was last


def test_a_writer_that_was_stopped_stops_nobody_else(tmp_path: Path) -> None:
    stopped = os.open(tmp_path / "regions", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    file = RegionFile(str(tmp_path / "regions"))
    keeping = threading.Thread(target=filled, args=(tmp_path / "regions",), daemon=True)
    keeping.start()
    keeping.join(10)
    assert not keeping.is_alive()
    file.keep(PAGES[0], Region(0, 1, b"code"))
    os.close(stopped)
    file.keep(PAGES[0], Region(0, 1, b"code"))  # it does not try again
    assert os.path.getsize(tmp_path / "regions") == 0


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    file = RegionFile(str(tmp_path / "absent" / "regions"))
    file.keep(PAGES[0], Region(0, 1, b"code"))
    assert file.regions(PAGES[0]) == []


def in_child(act: Callable[[], bool]) -> bool:
    """What a forked child says."""
    pid = os.fork()
    if not pid:
        said = 2
        try:
            said = int(act())
        finally:
            os._exit(said)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 1), "the child failed"
    return bool(status)


def test_a_forked_child_locks_for_itself(tmp_path: Path) -> None:
    """Of what was opened before the fork there is one lock, which both would have at once."""
    filled(tmp_path / "regions")
    file = RegionFile(str(tmp_path / "regions"))
    fcntl.flock(file._file, fcntl.LOCK_EX)  # as in the middle of `keep`, in another thread

    def child() -> bool:
        file.keep(PAGES[0], Region(8, 1, b"child"))
        return file.keeps

    assert not in_child(child), "it did not wait for its parent"
    assert (PAGES[0], 8) not in contents(tmp_path / "regions")
    fcntl.flock(file._file, fcntl.LOCK_UN)
    assert in_child(child)
    assert contents(tmp_path / "regions")[PAGES[0], 8] == b"child"
    file.keep(PAGES[0], Region(10, 1, b"parent"))
    assert contents(tmp_path / "regions")[PAGES[0], 10] == b"parent"
    assert file.level(PAGES[0], 8) == 1, "the parent has not seen what its child added"


def test_one_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    """Nobody but root may write to what nobody may; so this is not root for a while."""
    with as_a_user() as where:
        path = where / "code" / "regions"
        path.parent.mkdir(0o700)
        filled(path)
        path.chmod(0o400)
        path.parent.chmod(0o500)
        before = path.read_bytes()
        with pytest.raises(PermissionError):
            path.open("r+b")
        file = RegionFile(str(path))
        assert not file.keeps
        assert [code for _, _, code, *_ in file.regions(PAGES[2])] == [
            code for (digest, _), code in CODE.items() if digest == PAGES[2]
        ]
        file.keep(PAGES[0], Region(8, 1, b"more"))
        assert path.read_bytes() == before
        assert contents(path) == CODE


def test_one_that_is_full_in_a_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with as_a_user() as where:
        path = where / "code" / "regions"
        path.parent.mkdir(0o700)
        filled(path)
        path.parent.chmod(0o500)
        monkeypatch.setattr(region_file, "LIMIT", path.stat().st_size + 1)
        file = RegionFile(str(path))
        file.keep(PAGES[0], Region(8, 1, b"more"))
        assert not file.keeps
        assert contents(path) == CODE


@contextmanager
def as_a_user() -> Iterator[Path]:
    """A folder of a user's whom permissions bind, and who this process is meanwhile."""
    where = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(where, 12345, 12345)
        os.seteuid(12345)
    try:
        yield where
    finally:
        if is_root:
            os.seteuid(0)
        for path in (where, *where.iterdir()):
            path.chmod(0o700)
        shutil.rmtree(where)


def test_what_is_closed_keeps_nothing_and_finds_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "regions")
    file = RegionFile(str(tmp_path / "regions"))
    before = len(os.listdir("/proc/self/fd"))
    file.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    file.keep(PAGES[0], Region(8, 1, b"more"))
    assert (file.keeps, file.news(), file.regions(PAGES[0])) == (False, [], [])
    assert contents(tmp_path / "regions") == CODE
