"""Disks on the host: opened, refused, written through."""

import os
from errno import EACCES, EIO, ENOSPC

import pytest

from auberge.machine import host_file
from auberge.machine.disk import open_disk
from auberge.machine.host_file import HostFile
from auberge.refusal import Refusal


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(range(256)) * 2 * 64)
    return path


def read(disk, offset, size):
    data = bytearray(size)
    disk.readv(offset, [memoryview(data)])
    return bytes(data)


def write(disk, offset, data):
    disk.writev(offset, [memoryview(data)])


def refusal(path, mode="overlay"):
    with pytest.raises(Refusal) as refused:
        open_disk(str(path), mode)
    return str(refused.value)


def test_written_through(image):
    disk = open_disk(str(image), "rw")
    assert (disk.size, disk.read_only) == (32768, False)
    assert read(disk, 510, 4) == b"\xfe\xff\x00\x01"
    write(disk, 1000, b"hello")
    disk.flush()
    assert image.read_bytes()[1000:1005] == b"hello"
    disk.close()
    assert sorted(os.listdir(image.parent)) == ["disk.img"]


def test_read_only(image):
    disk = open_disk(str(image), "ro")
    assert disk.read_only
    assert read(disk, 1, 2) == b"\1\2"
    with pytest.raises(OSError):
        write(disk, 0, b"x")
    disk.close()


def test_several_views_are_one_transfer(image):
    disk = open_disk(str(image), "rw")
    disk.writev(100, [memoryview(b"abc"), memoryview(b"defg")])
    parts = [bytearray(2), bytearray(5)]
    disk.readv(100, [memoryview(part) for part in parts])
    assert parts == [b"ab", b"cdefg"]
    disk.close()


def test_a_transfer_that_the_host_cuts_goes_on(image, monkeypatch):
    preadv, pwritev = os.preadv, os.pwritev

    def first(views):
        return [next(view for view in views if view.nbytes)[:3]]

    monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, first(views), at))
    monkeypatch.setattr(os, "pwritev", lambda fd, views, at: pwritev(fd, first(views), at))
    disk = open_disk(str(image), "rw")
    disk.writev(7, [memoryview(b"0123456789"), memoryview(b"abcdef")])
    assert read(disk, 7, 16) == b"0123456789abcdef"
    disk.close()


def test_zero_and_discard(image):
    disk = open_disk(str(image), "rw")
    disk.zero(512, 8192)
    assert read(disk, 512, 8192) == bytes(8192)
    assert read(disk, 511, 1) == b"\xff"
    disk.discard(16384, 4096)
    assert read(disk, 16383, 1) == b"\xff"
    assert disk.size == image.stat().st_size
    disk.close()


def test_zero_where_the_host_has_no_holes(image, monkeypatch):
    monkeypatch.setattr(HostFile, "_punch", lambda self, offset, size: False)
    monkeypatch.setattr(host_file, "_ZEROES", bytes(1000))
    disk = open_disk(str(image), "rw")
    disk.zero(512, 8192)
    assert read(disk, 511, 8194) == b"\xff" + bytes(8192) + b"\0"
    assert read(disk, 8705, 1) == b"\1"
    disk.close()


def test_a_file_that_was_cut_is_an_error_not_a_hang(image):
    disk = open_disk(str(image), "rw")
    os.truncate(image, 1024)
    with pytest.raises(OSError) as error:
        read(disk, 512, 1024)
    assert error.value.errno == EIO
    disk.close()


def test_after_a_failed_flush_none_succeeds(image, monkeypatch):
    disk = open_disk(str(image), "rw")
    fdatasync = os.fdatasync

    def full(fd):
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError):
        disk.flush()
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(OSError):
        disk.flush()
    disk.close()


@pytest.mark.parametrize("mode", ["rw", "ro", "overlay"])
def test_what_cannot_be_a_disk_is_refused(tmp_path, mode):
    missing = tmp_path / "missing"
    assert refusal(missing, mode) == (
        f"{missing}: does not exist; make it with 'truncate -s 1G {missing}'"
    )
    assert refusal(tmp_path, mode) == (
        f"{tmp_path}: is a directory; name a disk image or a block device"
    )
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refusal(fifo, mode) == (
        f"{fifo}: is neither a file nor a block device; name a disk image or a block device"
    )
    empty = tmp_path / "empty"
    empty.touch()
    assert refusal(empty, mode) == (
        f"{empty}: is empty; give it a size with 'truncate -s 1G {empty}'"
    )
    odd = tmp_path / "odd"
    odd.write_bytes(bytes(513))
    assert refusal(odd, mode) == (
        f"{odd}: 513 bytes are not a whole number of 512-byte sectors; "
        f"pad it with 'truncate -s %512 {odd}' if it is a raw disk"
    )
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert refusal(loop, mode).startswith(f"{loop}: too many levels of symbolic links; ")
    assert sorted(os.listdir(tmp_path)) == ["empty", "fifo", "loop", "odd"]


def test_a_disk_one_may_not_open_is_refused(image, monkeypatch):
    def denied(path, flags, mode=0o777):
        raise PermissionError(EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may open anything
    assert refusal(image) == f"{image}: permission denied; be a user who may read it"
    assert refusal(image, "rw") == (
        f"{image}: permission denied; be a user who may read and write it"
    )


@pytest.mark.parametrize(("first", "second"), [("rw", "rw"), ("rw", "overlay"), ("overlay", "rw")])
def test_two_machines_on_one_disk_are_refused(image, first, second):
    disk = open_disk(str(image), first)
    assert refusal(image, second) == (
        f"{image}: another machine uses it; stop that one, copy the disk, or name it '{image},ro'"
    )
    open_disk(str(image), "ro").close()
    disk.close()
    open_disk(str(image), second).close()


def test_a_link_is_the_disk_it_leads_to(image, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(image)
    disk = open_disk(str(link))
    assert os.path.exists(f"{image}.overlay")
    assert not os.path.exists(f"{link}.overlay")
    assert "another machine uses it" in refusal(image)
    disk.close()
