"""The copy-on-write overlay: what was flushed survives, the disk below never changes."""

import os
import signal
import subprocess
import sys
from errno import ENOSPC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine import host_file
from auberge.machine.disk import open_disk, overlay_place
from auberge.machine.host_file import HostFile
from auberge.machine.overlay import (
    BLOCK,
    HEADER_SIZE,
    Overlay,
    file_size,
    header_of,
    write_header,
)
from tests.machine.test_disk import read, refusal, write

BASE = bytes(range(256)) * 2 * 100  # 51200 bytes: twelve blocks and a half
SIZE = len(BASE)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(BASE)
    return path


def test_writes_go_beside_the_disk(image):
    disk = open_disk(str(image))
    assert (disk.size, disk.read_only) == (SIZE, False)
    write(disk, 5000, b"hello")
    assert read(disk, 4999, 7) == BASE[4999:5000] + b"hello" + BASE[5005:5006]
    assert read(disk, 0, SIZE) == BASE[:5000] + b"hello" + BASE[5005:]
    disk.flush()
    disk.close()
    assert image.read_bytes() == BASE
    again = open_disk(str(image))
    assert read(again, 5000, 5) == b"hello"
    again.close()


def test_what_was_not_flushed_is_not_in_the_map(image):
    disk = open_disk(str(image))
    write(disk, 0, b"flushed")
    disk.flush()
    write(disk, 8192, b"lost")
    disk.close()
    again = open_disk(str(image))
    assert read(again, 0, 7) == b"flushed"
    assert read(again, 8192, 4) == BASE[8192:8196]
    again.close()


KILLED = """
import os, signal, sys
from auberge.machine.disk import open_disk
disk = open_disk(sys.argv[1])
disk.writev(3000, [memoryview(b"flushed" * 1000)])
disk.flush()
disk.writev(0, [memoryview(b"not flushed")])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_flushed_survives_a_kill(image):
    died = subprocess.run([sys.executable, "-c", KILLED, str(image)]).returncode
    assert died == -signal.SIGKILL
    disk = open_disk(str(image))
    assert read(disk, 3000, 7000) == b"flushed" * 1000
    assert read(disk, 10000, SIZE - 10000) == BASE[10000:]
    disk.close()


def test_the_overlay_is_sparse(tmp_path):
    path = tmp_path / "big.img"
    path.touch()
    os.truncate(path, 1 << 34)
    disk = open_disk(str(path))
    write(disk, (1 << 34) - 512, bytes(512))
    disk.flush()
    disk.close()
    assert os.stat(f"{path}.overlay").st_blocks * 512 < 1 << 20


def test_zeroes_hide_the_disk_below(image):
    disk = open_disk(str(image))
    disk.zero(1000, 20000)
    disk.flush()
    disk.close()
    again = open_disk(str(image))
    assert read(again, 0, SIZE) == BASE[:1000] + bytes(20000) + BASE[21000:]
    again.close()


def test_zeroes_hide_what_an_unflushed_write_left_in_the_file(image):
    disk = open_disk(str(image))
    write(disk, 4096, b"x" * 4096)
    disk.close()
    again = open_disk(str(image))
    again.zero(4096, 4096)
    assert read(again, 4096, 4096) == bytes(4096)
    again.close()


def test_discarded_blocks_are_given_back(image):
    disk = open_disk(str(image))
    write(disk, 0, b"x" * 40960)
    disk.flush()
    before = os.stat(f"{image}.overlay").st_blocks
    disk.discard(8192, 16384)
    assert os.stat(f"{image}.overlay").st_blocks < before
    assert read(disk, 0, 8192) == b"x" * 8192
    assert read(disk, 24576, 16384) == b"x" * 16384
    disk.close()


def test_data_reaches_the_host_before_the_map_says_so(image, monkeypatch):
    """The order that a loss of power needs, as the system calls show it."""
    disk = open_disk(str(image))
    log = []
    pwritev, fdatasync = os.pwritev, os.fdatasync

    def log_write(fd, views, at):
        log.append("map" if at < 0x10000 else "data")
        return pwritev(fd, views, at)

    def log_sync(fd):
        log.append("sync")
        return fdatasync(fd)

    monkeypatch.setattr(os, "pwritev", log_write)
    monkeypatch.setattr(os, "fdatasync", log_sync)
    write(disk, 100, b"x")
    assert log == ["data", "data"], "the rest of the block, and the byte"
    disk.flush()
    assert log[2:] == ["sync", "map", "sync"]
    write(disk, 100, b"y")
    disk.flush()
    assert log[5:] == ["data", "sync"], "no block is new"
    disk.close()


def test_a_full_host_disk_loses_nothing_that_was_there(image, monkeypatch):
    disk = open_disk(str(image))
    write(disk, 0, b"first")

    def full(fd, views, at):
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        for offset, data in ((4096, b"y" * 4096), (9000, b"z")):
            with pytest.raises(OSError):
                write(disk, offset, data)
    assert read(disk, 0, SIZE) == b"first" + BASE[5:]
    disk.flush()
    disk.close()


def test_a_disk_that_changed_below_its_overlay_is_refused(image):
    disk = open_disk(str(image))
    disk.close()
    os.utime(image, ns=(1, 2))
    assert refusal(image) == (
        f"{image}: has changed since its overlay was made; delete {image}.overlay to begin again "
        "with the disk as it is now, or put the disk back as it was"
    )
    open_disk(str(image), "ro").close()
    os.unlink(f"{image}.overlay")
    open_disk(str(image)).close()


def test_a_disk_of_another_size_is_refused(image):
    status = image.stat()
    open_disk(str(image)).close()
    os.truncate(image, SIZE + 512)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert refusal(image).startswith(f"{image}: has changed since its overlay was made; ")


def test_two_machines_on_one_overlay_are_refused(image):
    disk = open_disk(str(image))
    assert refusal(image) == (
        f"{image}: another machine uses it; stop that one, copy the disk, or name it '{image},ro'"
    )
    disk.close()


@pytest.mark.parametrize("content", [b"", bytes(HEADER_SIZE)])
def test_an_overlay_whose_making_was_interrupted_is_made_again(image, content):
    with open(f"{image}.overlay", "wb") as file:
        file.write(content)
    disk = open_disk(str(image))
    write(disk, 0, b"x")
    assert read(disk, 0, 2) == b"x" + BASE[1:2]
    disk.close()


@pytest.mark.parametrize(
    "content", [b"precious", b"precious" * 1000, bytes(HEADER_SIZE + 1), b"auberge overlay\n"]
)
def test_a_file_that_is_no_overlay_is_left_alone(image, content):
    place = image.parent / "disk.img.overlay"
    place.write_bytes(content)
    assert refusal(image) == (
        f"{place}: is not an overlay of this version of auberge; move it away"
    )
    assert place.read_bytes() == content


def test_a_truncated_overlay_is_refused(image):
    open_disk(str(image)).close()
    os.truncate(f"{image}.overlay", 70000)
    assert refusal(image) == (
        f"{image}.overlay: is truncated; restore it, or delete it to begin again"
    )


def test_an_overlay_is_not_made_through_a_link(image, tmp_path):
    victim = tmp_path / "victim"
    victim.touch()
    os.symlink(victim, f"{image}.overlay")
    assert refusal(image) == (
        f"{image}.overlay: too many levels of symbolic links; "
        "make room for it, or name the disk with ',ro'"
    )
    assert victim.read_bytes() == b""


def test_where_a_folder_may_not_be_written_state_home_has_it(image, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = overlay_place(str(image))
    assert place.startswith(f"{tmp_path}/state/auberge/overlays/disk.img-")
    assert place != overlay_place("/elsewhere/disk.img")
    disk = open_disk(str(image))
    write(disk, 0, b"here")
    disk.flush()
    disk.close()
    assert os.path.exists(place)
    assert not os.path.exists(f"{image}.overlay")
    again = open_disk(str(image))
    assert read(again, 0, 4) == b"here"
    again.close()


def test_a_relative_state_home_is_ignored(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", "/home/someone")
    place = overlay_place("/dev/nonexistent-disk")
    assert place.startswith("/home/someone/.local/state/auberge/overlays/nonexistent-disk-")


def test_a_refused_overlay_leaves_the_disk_free(image):
    (image.parent / "disk.img.overlay").write_bytes(b"precious")
    refusal(image)
    open_disk(str(image), "rw").close()


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "zero", "discard", "flush", "reopen", "read"]),
        st.integers(0, SIZE - 1),
        st.sampled_from([1, 511, 512, 4096, 5000, 9000, SIZE]),
        st.integers(1, 255),
    ),
    max_size=30,
)


def opened(fd_base, place):
    """An overlay over a fresh descriptor each time, as a boot has it; no locks between them."""
    base = HostFile(os.dup(fd_base), "base", SIZE, True)
    return Overlay(base, os.open(place, os.O_RDWR), str(place))


@pytest.mark.slow
@given(acts=ACTS)
def test_it_behaves_like_bytes(tmp_path_factory, acts):
    """As a bytearray would; `reopen` after a flush keeps all, reads see what was written."""
    folder = tmp_path_factory.mktemp("overlay")
    (folder / "base").write_bytes(BASE)
    base = os.open(folder / "base", os.O_RDONLY)
    place = folder / "over"
    fd = os.open(place, os.O_RDWR | os.O_CREAT)
    write_header(fd, header_of(SIZE, 0), str(folder))
    os.close(fd)
    assert os.stat(place).st_size == file_size(SIZE)
    disk, model = opened(base, place), bytearray(BASE)
    for act, offset, size, value in acts:
        size = min(size, SIZE - offset)
        if act == "write":
            cut = size // 3
            data = memoryview(bytes([value]) * size)
            disk.writev(offset, [data[:cut], data[cut:]])
            model[offset : offset + size] = data
        elif act == "zero":
            disk.zero(offset, size)
            model[offset : offset + size] = bytes(size)
        elif act == "discard":
            disk.discard(offset, size)
            model[offset : offset + size] = read(disk, offset, size)
        elif act == "flush":
            disk.flush()
        elif act == "reopen":
            disk.flush()
            disk.close()
            disk = opened(base, place)
        parts = [bytearray(size // 2), bytearray(size - size // 2)]
        disk.readv(offset, [memoryview(part) for part in parts])
        assert b"".join(parts) == model[offset : offset + size]
    assert read(disk, 0, SIZE) == model
    disk.close()
    os.close(base)
    assert (folder / "base").read_bytes() == BASE


@pytest.mark.slow
@given(acts=ACTS, lost=st.sets(st.integers(0, 200)))
def test_a_loss_of_power_keeps_what_was_flushed(acts, lost):
    """A host whose cache loses any writes since the last sync leaves every flushed block whole.

    Blocks written after the last flush may be old, new, or as the disk below has them.
    """
    folder = os.memfd_create("base")
    os.pwrite(folder, BASE, 0)
    fd = os.memfd_create("over")
    os.pwrite(fd, bytes(file_size(SIZE)), 0)
    host = Host(fd)
    disk = Overlay(HostFile(folder, "base", SIZE, True), fd, "over")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwritev", host.pwritev)
        patch.setattr(os, "fdatasync", host.fdatasync)
        patch.setattr(HostFile, "_punch", lambda self, offset, size: False)
        patch.setattr(host_file, "_ZEROES", bytes(BLOCK))
        flushed, touched = bytearray(BASE), set()
        for act, offset, size, value in acts:
            size = min(size, SIZE - offset)
            blocks = set(range(offset // BLOCK, (offset + size - 1) // BLOCK + 1))
            if act == "write":
                write(disk, offset, bytes([value]) * size)
                touched |= blocks
            elif act == "zero":
                disk.zero(offset, size)
                touched |= blocks
            elif act in ("flush", "reopen"):
                disk.flush()
                flushed, touched = bytearray(read(disk, 0, SIZE)), set()
    disk.close()
    after = host.after_power_loss(lost)
    base = os.memfd_create("base again")
    os.pwrite(base, BASE, 0)
    again = Overlay(HostFile(base, "base", SIZE, True), after, "over")
    for block in set(range(-(-SIZE // BLOCK))) - touched:
        start, end = block * BLOCK, min((block + 1) * BLOCK, SIZE)
        assert read(again, start, end - start) == flushed[start:end]
    again.close()


class Host:
    """A host disk with a cache in front of it: what was not synced may or may not be there."""

    def __init__(self, fd):
        self.stable, self.cached = bytearray(os.pread(fd, 1 << 24, 0)), []
        self._pwritev = os.pwritev

    def pwritev(self, fd, views, at):
        self.cached.append((at, b"".join(views)))
        return self._pwritev(fd, views, at)

    def fdatasync(self, fd):
        for at, data in self.cached:
            self.stable[at : at + len(data)] = data
        self.cached.clear()

    def after_power_loss(self, lost):
        for number, (at, data) in enumerate(self.cached):
            if number not in lost:
                self.stable[at : at + len(data)] = data
        fd = os.memfd_create("after")
        os.pwrite(fd, self.stable, 0)
        return fd
