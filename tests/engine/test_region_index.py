"""What is noted of a region file spares reading it; whatever is noted, what is told is right."""

import marshal
import os
import random
import zlib
from pathlib import Path

import pytest

from auberge.engine import region_file
from auberge.engine.region_file import RegionFile
from auberge.engine.region_index import CHECK
from auberge.engine.region_record import HEADER, Region
from tests.engine.test_region_file import CODE, PAGES, contents, filled

NOTED = "places-key"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a note beside it."""
    path = tmp_path / "regions-key"
    filled(path)
    RegionFile(str(path)).note()
    assert (tmp_path / NOTED).stat().st_mode & 0o777 == 0o600
    return path


def looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What a start reads before it is asked for a region: places and sizes."""
    seen = []
    read = RegionFile._read

    def noticed(self: RegionFile, at: int, size: int) -> bytes:
        seen.append((at, size))
        return read(self, at, size)

    with monkeypatch.context() as patch:
        patch.setattr(RegionFile, "_read", noticed)
        RegionFile(str(path))
    return seen


def test_a_start_reads_only_what_is_new(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = path.stat().st_size
    assert looked_at(path, monkeypatch) == [(size, 0)]
    RegionFile(str(path)).keep(PAGES[3], Region(2, 1, b"new"))
    assert looked_at(path, monkeypatch) == [(size, path.stat().st_size - size)]
    assert contents(path) == CODE | {(PAGES[3], 2): b"new"}


def test_what_is_long_is_noted_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_file, "WORTH_NOTING", 100)
    filled(tmp_path / "regions-key")
    assert not (tmp_path / NOTED).exists()
    assert contents(tmp_path / "regions-key") == CODE
    before = (tmp_path / NOTED).stat().st_ino
    assert contents(tmp_path / "regions-key") == CODE
    assert (tmp_path / NOTED).stat().st_ino == before, "nothing is new"


def test_a_note_of_another_file_is_not_believed(path: Path) -> None:
    noted = (path.parent / NOTED).read_bytes()
    path.unlink()
    RegionFile(str(path)).keep(PAGES[2], Region(2, 1, b"other"))
    (path.parent / NOTED).write_bytes(noted)
    assert contents(path) == {(PAGES[2], 2): b"other"}


def test_a_note_of_a_longer_file_is_not_believed(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
    found = contents(path)
    assert found
    assert found.items() < CODE.items()


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_note_is_not_believed(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    noted = bytearray((path.parent / NOTED).read_bytes())
    if seed % 2:
        del noted[chance.randrange(len(noted)) :]
    else:
        noted[chance.randrange(len(noted))] ^= 1 << chance.randrange(8)
    (path.parent / NOTED).write_bytes(noted)
    assert contents(path) == CODE


def test_a_note_that_others_may_write_is_not_believed(path: Path) -> None:
    lie(path, {})
    (path.parent / NOTED).chmod(0o666)
    assert contents(path) == CODE


def lie(path: Path, places: "dict[bytes, bytes] | int | None") -> None:
    """Note something else, with all the rest as it should be."""
    whole = (path.parent / NOTED).read_bytes()
    *rest, _ = marshal.loads(whole[CHECK:])
    data = marshal.dumps((*rest, places))
    (path.parent / NOTED).write_bytes(zlib.crc32(data).to_bytes(CHECK, "little") + data)


@pytest.mark.parametrize("seed", range(40))
def test_lies_of_a_note_are_found_out(path: Path, seed: int) -> None:
    """Regions that are told of are what was kept, or there are none."""
    chance = random.Random(seed)
    places = {digest: chance.randbytes(chance.choice([0, 7, 28, 28 * 3])) for digest in PAGES} | {
        PAGES[0]: b"\xff" * 28
    }
    lie(path, places)
    file = RegionFile(str(path))
    for digest in PAGES:
        for region in file.regions(digest):
            assert CODE[digest, region.entry] == region.code
    file.keep(PAGES[1], Region(100, 1, b"after"))
    assert contents(path)[PAGES[1], 100] == b"after"


@pytest.mark.parametrize("places", [None, 5, {PAGES[0]: "text"}, {PAGES[0]: 5}, {3: b""}, [b""]])
def test_a_note_of_other_types_is_not_believed(path: Path, places: "int | None") -> None:
    lie(path, places)
    assert contents(path) == CODE


def test_headers_are_where_it_says(path: Path) -> None:
    whole = (path.parent / NOTED).read_bytes()
    _, end, last, first_header, last_header, places = marshal.loads(whole[CHECK:])
    data = path.read_bytes()
    assert end == len(data)
    assert (data[: HEADER.size], data[last : last + HEADER.size]) == (first_header, last_header)
    assert places.keys() == set(PAGES)


def test_a_folder_in_a_notes_place_is_none(path: Path) -> None:
    (path.parent / NOTED).unlink()
    (path.parent / NOTED).mkdir()
    assert contents(path) == CODE
