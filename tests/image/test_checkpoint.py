"""A copy of a disk is found again if all of it was written, for the same installation only."""

import os

import pytest

from auberge.image.checkpoint import Checkpoints

SIZE = 8 << 20


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    with open(path, "wb") as file:
        file.truncate(SIZE)
        file.write(b"start")
        file.seek(SIZE - 4096)
        file.write(b"end")
    return str(path)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def test_the_newest_is_restored_and_others_go(disk, tmp_path):
    kept = tmp_path / "kept"
    assert Checkpoints(str(kept), "key").restore(disk) == 0
    with open(disk, "r+b") as file:
        for step in 1, 2:
            file.seek(0)
            file.write(b"step %d" % step)
            file.flush()
            Checkpoints(str(kept), "key").keep(disk, step)
            assert os.listdir(kept) == [f"key.{step}"]
        file.seek(0)
        file.write(b"unfinished")
    assert Checkpoints(str(kept), "key").restore(disk) == 2
    assert contents(disk)[:6] == b"step 2"
    assert os.listdir(kept) == ["key.2"]


def test_of_another_installation_or_not_complete_it_is_nothing(disk, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in "other.1", "key.3.part", "key.", "keynote":
        (kept / name).write_bytes(b"?")
    before = contents(disk)
    assert Checkpoints(str(kept), "key").restore(disk) == 0
    assert contents(disk) == before
    assert os.listdir(kept) == []


def test_without_room_there_is_none(disk, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    checkpoints = Checkpoints(str(kept), "key")
    checkpoints.restore(disk)
    checkpoints.keep(disk, 1)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    checkpoints.keep(disk, 2)
    assert os.listdir(kept) == []
