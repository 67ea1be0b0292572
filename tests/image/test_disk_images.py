"""Disk images of other programs read as the disk they were made from, byte for byte."""

import os
import random
import subprocess
import sys

import pytest

from auberge.image import disk_image
from auberge.image.disk_format import FORMATS, image_format
from auberge.refusal import Refusal
from tests.image.disks import DISK, IMAGES, SIZE, make, needs_qemu_img, opened, read

HEADS = {
    "qcow2": b"QFI\xfb",
    "vmdk": b"# Disk DescriptorFile\n",
    "vdi": bytes(64) + b"\x7f\x10\xda\xbe",
    "vhdx": b"vhdxfile",
}


def check(image):
    """All of it in order, in requests of a driver's size; then pieces at random places."""
    assert image.size == SIZE
    step = 128 << 10
    for start in range(0, SIZE, step):
        assert read(image, start, min(step, SIZE - start)) == DISK[start : start + step]
    rolls = random.Random(7)
    for _ in range(100):
        start = rolls.randrange(SIZE // 512) * 512
        size = min(rolls.choice([512, 4096, 65536, 1 << 20]), SIZE - start)
        assert read(image, start, size) == DISK[start : start + size]


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_reads_as_its_disk(tmp_path, name):
    image = opened(make(tmp_path, name))
    check(image)
    image.close()


def test_pieces_that_are_dropped_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_image, "KEPT", 0)
    image = opened(make(tmp_path, "zlib.qcow2"))
    for _ in range(2):
        assert read(image, 0, SIZE) == DISK
    image.close()


@pytest.mark.slow
def test_a_vmdk_in_many_extents(tmp_path):
    """Of files like those of VMware's split disks; qemu-img begins a new one each 2 GiB."""
    needs_qemu_img()
    half = SIZE // 1024 * 512
    parts = {"s001": DISK[:half], "s002": DISK[half:]}
    lines = []
    for number, part in parts.items():
        made = make(tmp_path, "part.vmdk", (), part)
        made.rename(tmp_path / f"many-{number}.vmdk")
        lines.append(f'RW {len(part) // 512} SPARSE "many-{number}.vmdk"')
    lines.insert(1, "RW 3 ZERO")
    path = tmp_path / "many.vmdk"
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        'createType="twoGbMaxExtentSparse"\n' + "\n".join(lines) + "\n"
    )
    image = opened(path)
    assert image.size == SIZE + 3 * 512
    assert read(image, 0, image.size) == DISK[:half] + bytes(3 * 512) + DISK[half:]
    image.close()


def test_closing_gives_every_descriptor_back(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    image = opened(make(tmp_path, "split.vmdk"))
    assert len(os.listdir("/proc/self/fd")) == before + 2
    image.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_as_the_name_ends(name):
    assert image_format(f"/a/disk.{name}", HEADS.get(name, b"")) == name
    assert image_format(f"/a/DISK.{name.upper()}", HEADS.get(name, b"")) == name
    assert image_format("/a/disk.img", b"\xeb\x63\x90") == "raw"
    assert image_format("/a.qcow2/disk", b"") == "raw"


@pytest.mark.parametrize("name", HEADS)
def test_a_guest_cannot_change_what_its_disk_is_taken_for(name):
    """The header of another format inside a raw disk chooses nothing: its user is asked."""
    with pytest.raises(Refusal) as told:
        image_format("/a/disk.img", HEADS[name])
    assert str(told.value) == (
        f"/a/disk.img: looks like {name} inside, which its name does not say;"
        f" add ',format={name}', or ',format=raw' if these are a guest's bytes"
    )
    assert image_format("/a/disk.img", HEADS[name], "raw") == "raw"
    assert image_format("/a/disk.img", HEADS[name], name) == name


@pytest.mark.parametrize(("name", "wish"), [("disk.qcow2", None), ("disk", "qcow2")])
def test_a_name_that_lies_is_refused(name, wish):
    with pytest.raises(Refusal) as told:
        image_format(name, bytes(512), wish)
    assert str(told.value) == (
        f"{name}: is not qcow2 inside; add ',format=raw' if it is a raw disk"
    )


def test_a_name_of_another_format_is_refused():
    with pytest.raises(Refusal) as told:
        image_format("disk.vdi", HEADS["qcow2"])
    assert str(told.value) == (
        "disk.vdi: is qcow2 inside, not vdi; add ',format=qcow2' if you agree"
    )


def test_an_unknown_format_is_refused():
    with pytest.raises(Refusal) as told:
        image_format("disk", b"", "qed")
    assert str(told.value) == (
        "disk: no such format, 'qed'; choose one of raw, qcow2, vmdk, vdi, vhdx"
    )


WITHOUT = """
import os, sys
sys.modules["dissect"] = None
from auberge.image.disk_image import open_image
from auberge.refusal import Refusal
try:
    open_image("a.qcow2", os.open(sys.argv[1], os.O_RDONLY), "qcow2", lambda name: -1)
except Refusal as refusal:
    print(refusal)
"""


def test_without_the_library_one_line_says_so(tmp_path):
    path = make(tmp_path, "v3.qcow2")
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(path)], capture_output=True, text=True, check=True
    )
    assert told.stdout == (
        "a.qcow2: a qcow2 image is read with a library that is not installed;"
        " pip install 'auberge[disks]'\n"
    )


def test_a_raw_disk_never_imports_the_library():
    code = "import sys, auberge.machine.disk; print([m for m in sys.modules if 'disse' in m])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
