"""A temporary disk reads as its base does, keeps what is written, and leaves nothing."""

import os

import pytest

from auberge.machine.disk import open_disk
from auberge.refusal import Refusal


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base"
    path.write_bytes(b"base" * 4096)
    os.chmod(path, 0o444)
    return path


def read(disk, offset, size):
    data = bytearray(size)
    disk.readv(offset, [memoryview(data)])
    return bytes(data)


def test_what_is_written_is_read_and_then_forgotten(base, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    before = os.stat(base)
    one, two = (open_disk(str(base), "temporary") for _ in range(2))
    one.writev(512, [memoryview(b"mine" * 128)])
    one.flush()
    assert read(one, 0, 1024) == b"base" * 128 + b"mine" * 128
    assert read(two, 512, 512) == b"base" * 128
    # nothing that a kill could leave
    assert os.listdir(tmp_path / "scratch") == []
    one.close()
    two.close()
    again = open_disk(str(base), "temporary")
    assert read(again, 512, 512) == b"base" * 128
    again.close()
    after = os.stat(base)
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert sorted(os.listdir(tmp_path)) == ["base", "scratch"]


def test_without_a_folder_to_write_in_one_line_says_so(base, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(Refusal) as told:
        open_disk(str(base), "temporary")
    assert str(told.value) == (
        "/nowhere: no such file or directory; name a folder with room in TMPDIR"
    )
