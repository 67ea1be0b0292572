"""Disk images made by qemu-img, of one disk that has something of everything."""

import os
import random
import shutil
import subprocess

import pytest

from auberge.image.disk_image import open_image

SIZE = (3 << 20) + 3 * 512


def contents():
    """Holes, noise, what compresses; nothing is aligned to anything."""
    noise = random.Random(5)
    data = bytearray(SIZE)
    for start, part in (
        (0, noise.randbytes(100_000)),
        (1 << 20, b"compressible text " * 20_000),
        ((2 << 20) + 12_345, noise.randbytes(70_000)),
        (SIZE - 700, noise.randbytes(700)),
    ):
        data[start : start + len(part)] = part
    return bytes(data)


DISK = contents()

QCOW2 = {
    "v3": (),
    "v2": ("-o", "compat=0.10"),
    "zlib": ("-c",),
    "zlib_v2": ("-c", "-o", "compat=0.10"),
    "zstd": ("-c", "-o", "compression_type=zstd"),
    "clusters_of_512": ("-o", "cluster_size=512"),
    "compressed_512": ("-c", "-o", "cluster_size=512"),
    "clusters_of_4k": ("-o", "cluster_size=4k"),
    "compressed_2m": ("-c", "-o", "cluster_size=2M"),
    "preallocated": ("-o", "preallocation=full"),
}
OTHERS = {
    "monolithic.vmdk": (),
    "stream.vmdk": ("-o", "subformat=streamOptimized"),
    "one_file.vmdk": ("-o", "subformat=monolithicFlat"),
    "split.vmdk": ("-o", "subformat=twoGbMaxExtentSparse"),
    "split_flat.vmdk": ("-o", "subformat=twoGbMaxExtentFlat"),
    "dynamic.vdi": (),
    "fixed.vdi": ("-o", "static=on"),
    "dynamic.vhdx": (),
    "fixed.vhdx": ("-o", "subformat=fixed"),
    "small_blocks.vhdx": ("-o", "block_size=1M"),
}
IMAGES = {**{f"{name}.qcow2": options for name, options in QCOW2.items()}, **OTHERS}


def needs_qemu_img():
    """Skip without the program that makes images, or the library that reads them."""
    if shutil.which("qemu-img") is None:
        pytest.skip("no qemu-img here; apt install qemu-utils")
    pytest.importorskip("dissect.hypervisor", reason="pip install 'auberge[disks]'")


def make(folder, name, options=None, disk=DISK):
    """The path of an image of `disk` in `folder`, by its name in IMAGES."""
    needs_qemu_img()
    raw = folder / "disk.raw"
    raw.write_bytes(disk)
    path = folder / name
    kind = name.rpartition(".")[2]
    given = IMAGES[name] if options is None else options
    convert = ["qemu-img", "convert", "-f", "raw", "-O", kind, *given, str(raw), str(path)]
    subprocess.run(convert, check=True, capture_output=True)
    return path


def opened(path, kind=None):
    """An image, opened as the machine does it, but for the locks."""

    def beside(name):
        return os.open(path.parent / name, os.O_RDONLY)

    fd = os.open(path, os.O_RDONLY)
    return open_image(str(path), fd, kind or path.suffix[1:], beside)


def read(image, offset, size):
    """Bytes of a disk, in two views of unlike size."""
    data = bytearray(size)
    cut = size // 3
    image.readv(offset, [memoryview(data)[:cut], memoryview(data)[cut:]])
    return bytes(data)
