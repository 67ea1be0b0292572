"""The folder of generated code is bounded: what is of no use any more goes, oldest first."""

import os
import threading
import time
from pathlib import Path

import pytest

from auberge.engine.code_folder import HALF_DONE, files, read_ours, tidy
from auberge.engine.region_file import RegionFile
from tests.engine.kept import keep, kept

NOW = 1_700_000_000.0


def make(where: Path, sizes: dict[str, int]) -> None:
    """Files, the later ones used later; the last an hour ago."""
    for n, (name, size) in enumerate(sizes.items()):
        (where / name).write_bytes(bytes(size))
        used = NOW - HALF_DONE - len(sizes) + n
        os.utime(where / name, (used, used))


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(time, "time", lambda: NOW)
    return tmp_path


def names(where: Path) -> set[str]:
    return {path.name for path in where.iterdir()}


def test_what_is_there_by_when_it_was_used(where: Path) -> None:
    make(where, {"interpreter-a": 5, "regions-a": 7, "x": 1})
    (where / "folder").mkdir()
    (where / "regions-b").symlink_to(where / "nowhere")
    found = [file for file in files(str(where)) if file.name != "regions-b"]
    assert [(file.name, file.kind, file.key, file.size) for file in found] == [
        ("x", "", "", 1),
        ("regions-a", "regions", "a", 7),
        ("interpreter-a", "interpreter", "a", 5),
    ]


def test_what_was_used_longest_ago_goes_first(where: Path) -> None:
    sizes = {"regions-a": 100, "interpreter-a": 10, "regions-b": 100, "interpreter-b": 10}
    make(where, sizes)
    tidy(str(where), "ours", 220)
    assert names(where) == sizes.keys()
    tidy(str(where), "ours", 219)
    assert names(where) == sizes.keys() - {"regions-a"}
    tidy(str(where), "ours", 109)
    assert names(where) == {"interpreter-b"}


def test_ours_stay_however_old_and_large(where: Path) -> None:
    make(where, {"regions-ours": 1000, "interpreter-ours": 10, "regions-b": 100})
    tidy(str(where), "ours", 100)
    assert names(where) == {"regions-ours", "interpreter-ours", "regions-b"}
    tidy(str(where), "ours", 0)
    assert names(where) == {"regions-ours", "interpreter-ours"}


def test_what_a_crash_left_behind_goes(where: Path) -> None:
    make(where, {"tmpold": 1})
    (where / "tmpnew").write_bytes(b"x")
    os.utime(where / "tmpnew", (NOW - HALF_DONE + 1,) * 2)
    tidy(str(where), "ours")
    assert names(where) == {"tmpnew"}


def test_what_cannot_go_stays(where: Path) -> None:
    (where / "tmpold").mkdir()
    tidy(str(where), "ours", 0)
    tidy(str(where / "absent"), "ours", 0)
    assert names(where) == {"tmpold"}


def test_two_at_once(where: Path) -> None:
    sizes = {f"regions-{n}": 10 for n in range(200)}
    make(where, sizes)
    threads = [threading.Thread(target=tidy, args=(str(where), "ours", 500)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(where) == {f"regions-{n}" for n in range(150, 200)}


def test_who_compiles_tidies_once(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "auberge.engine.region_file.tidy", lambda where, ours: asked.append((where, ours))
    )
    file = RegionFile(str(where / "regions-ours"))
    kept(file)
    assert asked == []
    for entry in (0, 2):
        keep(file, entry, b"code")
    assert asked == [(str(where), "ours")]


def test_one_in_use_may_go(where: Path) -> None:
    """By a version of Auberge that compiles for another: it goes on, and begins anew."""
    file = RegionFile(str(where / "regions-other"))
    keep(file, 0, b"code")
    tidy(str(where), "ours", 0)
    assert names(where) == set()
    file.look_again()
    assert kept(file) == {0: b"code"}
    keep(file, 2, b"more")
    assert kept(RegionFile(str(where / "regions-other"))) == {2: b"more"}


def test_no_more_is_read_than_there_can_be(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whole")
    os.truncate(path, 1 << 40)
    assert read_ours(str(path), 5) == b"whole"


def test_what_cannot_be_read_is_nothing() -> None:
    path = "/proc/self/mem"  # a file of ours, and there is nothing at 0 (proc_pid_mem(5))
    with open(path, "rb") as file, pytest.raises(OSError):
        file.read(1)
    assert read_ours(path, 1) is None
