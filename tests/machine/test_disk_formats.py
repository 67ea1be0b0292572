"""Disks in the formats of other programs: read in place, written beside, under the same rules."""

import os

import pytest

from auberge.machine.disk import open_disk
from tests.image.disks import DISK, SIZE, make, needs_qemu_img
from tests.machine.test_disk import read, refusal, write


@pytest.mark.parametrize("name", ["zlib.qcow2", "split.vmdk", "dynamic.vdi", "dynamic.vhdx"])
def test_what_is_written_goes_to_an_overlay(tmp_path, name):
    path = make(tmp_path, name)
    before = path.read_bytes()
    disk = open_disk(str(path))
    assert (disk.size, disk.read_only) == (SIZE, False)
    write(disk, 5000, b"hello")
    disk.zero(1 << 20, 10_000)
    disk.flush()
    disk.close()
    again = open_disk(str(path))
    wanted = bytearray(DISK)
    wanted[5000:5005] = b"hello"
    wanted[1 << 20 : (1 << 20) + 10_000] = bytes(10_000)
    assert read(again, 0, SIZE) == wanted
    again.close()
    assert path.read_bytes() == before


def test_read_only(tmp_path):
    disk = open_disk(str(make(tmp_path, "v3.qcow2")), "ro")
    assert disk.read_only
    assert read(disk, 0, SIZE) == DISK
    disk.flush()
    for wrong in (
        lambda: write(disk, 0, b"x"), lambda: disk.zero(0, 512), lambda: disk.discard(0, 512)
    ):  # fmt: skip
        with pytest.raises(OSError, match="Read-only"):
            wrong()
    disk.close()
    assert sorted(os.listdir(tmp_path)) == ["disk.raw", "v3.qcow2"]


def test_temporary(tmp_path):
    disk = open_disk(str(make(tmp_path, "v3.qcow2")), "temporary")
    write(disk, 0, b"hello")
    assert read(disk, 0, 6) == b"hello" + DISK[5:6]
    disk.close()
    assert sorted(os.listdir(tmp_path)) == ["disk.raw", "v3.qcow2"]


def test_an_image_is_not_written_in_place(tmp_path):
    path = make(tmp_path, "v3.qcow2")
    assert refusal(path, "rw") == (
        f"{path}: a qcow2 image is only read; leave ',rw' out, and what the guest writes goes to "
        f"{path}.overlay"
    )
    disk = open_disk(str(path), "rw", "raw")
    assert disk.size == path.stat().st_size
    disk.close()


def test_a_guest_that_writes_a_header_changes_nothing_but_its_disk(tmp_path):
    """The hole of probing: what a guest wrote to its raw disk never chooses how it is read."""
    make(tmp_path, "v3.qcow2").rename(tmp_path / "evil")
    raw = tmp_path / "disk.img"
    raw.write_bytes(bytes(1 << 22))
    disk = open_disk(str(raw), "rw")
    write(disk, 0, (tmp_path / "evil").read_bytes())
    disk.close()
    for mode in ("rw", "ro", "overlay", "temporary"):
        assert refusal(raw, mode) == (
            f"{raw}: looks like qcow2 inside, which its name does not say; add ',format=qcow2', or "
            "',format=raw' if these are a guest's bytes"
        )
        disk = open_disk(str(raw), mode, "raw")
        assert disk.size == 1 << 22
        assert read(disk, 0, 4) == b"QFI\xfb"
        disk.close()


def test_an_overlay_is_for_one_format(tmp_path):
    path = make(tmp_path, "v3.qcow2")
    open_disk(str(path)).close()
    with pytest.raises(Exception) as refused:
        open_disk(str(path), "overlay", "raw")
    assert str(refused.value) == (
        f"{path}: is raw now, and was qcow2 when its overlay was made; write {path},format=qcow2, "
        f"or delete {path}.overlay to begin again"
    )


def test_a_disk_too_large_for_an_overlay(tmp_path):
    """A few bytes can say that they are a huge disk; the map of its overlay would be in memory."""
    needs_qemu_img()
    path = tmp_path / "huge.vmdk"
    path.write_text(f"# Disk DescriptorFile\nparentCID=ffffffff\nRW {1 << 35} ZERO\n")
    for mode in ("overlay", "temporary"):
        assert refusal(path, mode) == (
            f"{path}: {1 << 44} bytes are too many to be written beside; name the disk with ',ro', "
            "or ',rw' if it is raw"
        )
    disk = open_disk(str(path), "ro")
    assert read(disk, (1 << 44) - 512, 512) == bytes(512)
    disk.close()
    assert os.listdir(tmp_path) == ["huge.vmdk"]


def test_an_extent_that_changed_is_noticed(tmp_path):
    path = make(tmp_path, "one_file.vmdk")
    open_disk(str(path)).close()
    os.utime(tmp_path / "one_file-flat.vmdk", ns=(1, (1 << 61) + 1))
    assert refusal(path).startswith(f"{path}: has changed since its overlay was made; ")


def test_an_extent_is_locked_as_the_disk_is(tmp_path):
    path = make(tmp_path, "one_file.vmdk")
    flat = tmp_path / "one_file-flat.vmdk"
    disk = open_disk(str(path))
    assert "another machine uses it" in refusal(flat, "rw") or "vmdk" in refusal(flat, "rw")
    disk.close()
    held = open_disk(str(flat), "rw", "raw")
    assert refusal(path) == (
        f"{flat}: another machine uses it; stop that one, copy the disk, or name it '{flat},ro'"
    )
    held.close()
    open_disk(str(path)).close()


def test_an_extent_is_neither_a_link_nor_missing(tmp_path):
    path = make(tmp_path, "one_file.vmdk")
    flat = tmp_path / "one_file-flat.vmdk"
    flat.rename(tmp_path / "elsewhere")
    assert refusal(path) == f"{flat}: no such file or directory; it is a part of {path}"
    flat.symlink_to(tmp_path / "elsewhere")
    assert refusal(path) == f"{flat}: too many levels of symbolic links; it is a part of {path}"
    flat.unlink()
    os.mkfifo(flat)
    assert refusal(path) == (
        f"{flat}: is neither a file nor a block device; name a disk image or a block device"
    )


def test_a_refused_image_is_free_again(tmp_path):
    path = make(tmp_path, "v3.qcow2")
    data = bytearray(path.read_bytes())
    data[20:24] = bytes(4)
    path.write_bytes(data)
    before = len(os.listdir("/proc/self/fd"))
    assert refusal(path) == (f"{path}: damaged: clusters of 2^0 bytes; get an undamaged copy")
    assert len(os.listdir("/proc/self/fd")) == before
    assert not os.path.exists(f"{path}.overlay")
    open_disk(str(path), "rw", "raw").close()
