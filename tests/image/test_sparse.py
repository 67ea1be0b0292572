"""Disks with holes: copied with them, and their digest is that of all their bytes."""

import hashlib
import os

import pytest

from auberge.image import sparse

SIZE = 8 << 20


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    with open(path, "wb") as file:
        file.truncate(SIZE)
        file.write(b"start")
        file.seek(SIZE // 2 + 5000)
        file.write(b"middle" * 1000)
        file.truncate(SIZE + 5)
    return str(path)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def test_a_copy_has_the_same_bytes_and_holes(disk, tmp_path):
    copy = str(tmp_path / "copy")
    sparse.copy(disk, copy)
    assert contents(copy) == contents(disk)
    assert os.stat(copy).st_blocks <= os.stat(disk).st_blocks < SIZE // 512 // 8


def test_an_empty_disk_is_copied_too(tmp_path):
    disk, copy = str(tmp_path / "disk"), str(tmp_path / "copy")
    with open(disk, "wb") as file:
        file.truncate(SIZE)
    sparse.copy(disk, copy)
    assert contents(copy) == bytes(SIZE)


@pytest.mark.parametrize("start", [0, 3, 4 << 20, SIZE])
def test_the_digest_is_that_of_the_bytes(disk, start):
    with open(disk, "r+b") as file:
        file.seek(start)
        file.write(b"more")
        file.flush()
        expected = hashlib.sha256(contents(disk)).hexdigest()
        assert sparse.sha256(file.fileno()) == expected
        assert os.lseek(file.fileno(), 0, os.SEEK_END) >= SIZE
