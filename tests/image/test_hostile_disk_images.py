"""Disk images that lie: refused, or an error of the disk; never another file, never without end."""

import os
import random
import struct
import subprocess
import sys
import time
import zlib

import pytest

from auberge.image.disk_image import ImageFile
from auberge.refusal import Refusal
from tests.image.disks import DISK, make, needs_qemu_img, opened, read

CONVERT = "make a plain disk of it with 'qemu-img convert -O raw {path} disk.img'"
DAMAGED = "; get an undamaged copy"
TRUST = "; if you trust it, make one disk of both with 'qemu-img convert -O raw {path} disk.img'"
ELSEWHERE = "is a difference to another file, and only files you name are read; TRUST"


def told(path, kind=None):
    """Why it is refused, without its path."""
    with pytest.raises(Refusal) as refused:
        opened(path, kind)
    text = str(refused.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return (
        text.removeprefix(f"{path}: ")
        .replace(CONVERT.format(path=path), "CONVERT")
        .replace(TRUST.format(path=path), "; TRUST")
    )


def patched(path, *changes):
    """The file with bytes put at offsets: (offset, format, value)."""
    with open(path, "r+b") as file:
        for offset, form, value in changes:
            file.seek(offset)
            file.write(struct.pack(form, value))
    return path


QCOW2_LIES = {
    "version": ((4, ">I", 9), "is qcow2 of version 9; 2 and 3 are read; CONVERT"),
    "clusters": ((20, ">I", 40), "damaged: clusters of 2^40 bytes" + DAMAGED),
    "no_size": ((24, ">Q", 0), "damaged: a disk of 0 bytes" + DAMAGED),
    "huge": ((24, ">Q", 1 << 62), f"damaged: a disk of {1 << 62} bytes" + DAMAGED),
    "odd": ((24, ">Q", 1000), "damaged: a disk of 1000 bytes" + DAMAGED),
    "encrypted": ((32, ">I", 2), "is encrypted; CONVERT"),
    "l1_short": ((36, ">I", 0), f"damaged: 0 level 1 entries for {len(DISK)} bytes" + DAMAGED),
    "l1_long": (
        (36, ">I", 1 << 31),
        f"damaged: {1 << 31} level 1 entries for {len(DISK)} bytes" + DAMAGED,
    ),
    "l1_nowhere": (
        (40, ">Q", 1 << 63),
        "damaged: EOFError: Read 0 bytes, but expected 8" + DAMAGED,
    ),
    "corrupt": ((72, ">Q", 2), "damaged: it is marked as corrupt" + DAMAGED),
    "data_file": ((72, ">Q", 4), ELSEWHERE),
    "subclusters": ((72, ">Q", 16), "uses features (0x10) that are not read here; CONVERT"),
    "header_size": ((100, ">I", 3), "damaged: a header of 3 bytes" + DAMAGED),
    "compression": ((104, ">B", 7), "uses compression 7; zlib and zstd are read; CONVERT"),
}


@pytest.mark.parametrize("lie", QCOW2_LIES)
def test_a_qcow2_header_that_lies(tmp_path, lie):
    change, text = QCOW2_LIES[lie]
    assert told(patched(make(tmp_path, "v3.qcow2"), change)) == text


def test_a_qcow2_backing_file_is_never_read(tmp_path):
    """QEMU's classic: the disk of a guest that asks for /etc/shadow."""
    needs_qemu_img()
    path = tmp_path / "evil.qcow2"
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret".ljust(1 << 20, b"."))
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(path)]
    subprocess.run(create, check=True)
    assert told(path) == ELSEWHERE.replace("file,", f"file, '{secret}',")


def test_a_qcow2_data_file_is_never_read(tmp_path):
    needs_qemu_img()
    path = tmp_path / "evil.qcow2"
    options = f"data_file={tmp_path / 'data'},data_file_raw=on"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(path), "1M"], check=True
    )
    assert told(path) == ELSEWHERE


def test_a_version_2_header_with_something_after_it(tmp_path):
    path = patched(make(tmp_path, "v2.qcow2"), (72, ">I", 0xE2792ACA))
    assert told(path) == "is qcow2 of version 2 with extensions; CONVERT"


VMDK_LIES = {
    "version": ((4, "<I", 4), "is a VMDK extent of version 4; 1 to 3 are read; CONVERT"),
    "capacity": ((12, "<Q", 1 << 60), f"damaged: a disk of {1 << 69} bytes" + DAMAGED),
    "grains": ((20, "<Q", 0), "damaged: grains of 0 sectors" + DAMAGED),
    "odd_grains": ((20, "<Q", 100), "damaged: grains of 100 sectors" + DAMAGED),
    "huge_grains": ((20, "<Q", 1 << 20), f"damaged: grains of {1 << 20} sectors" + DAMAGED),
    "descriptor": ((36, "<Q", 1 << 50), f"damaged: a descriptor of {1 << 50} sectors" + DAMAGED),
    "tables": ((44, "<I", 0), "damaged: grain tables of 0 entries" + DAMAGED),
    "directory": (
        (56, "<Q", 1 << 40),
        "damaged: EOFError: Read 0 bytes, but expected 4" + DAMAGED,
    ),
}


@pytest.mark.parametrize("lie", VMDK_LIES)
def test_a_vmdk_header_that_lies(tmp_path, lie):
    change, text = VMDK_LIES[lie]
    assert told(patched(make(tmp_path, "monolithic.vmdk"), change)) == text


def test_a_vmdk_whose_directory_is_told_at_its_end(tmp_path):
    """As VMware streams them: GD_AT_END, a copy of the header, and a marker of the end."""
    path = make(tmp_path, "stream.vmdk")
    header = path.read_bytes()[:512]
    patched(path, (56, "<Q", (1 << 64) - 1))
    whole = path.read_bytes()
    path.write_bytes(whole + header + bytes(512))
    image = opened(path)
    assert read(image, 0, len(DISK)) == DISK
    image.close()
    path.write_bytes(whole)
    assert told(path) == "damaged: a footer that is none" + DAMAGED


def test_a_vmdk_that_differs_from_a_parent(tmp_path):
    path = make(tmp_path, "monolithic.vmdk")
    data = path.read_bytes().replace(b"parentCID=ffffffff", b"parentCID=12345678")
    path.write_bytes(data)
    assert told(path) == ELSEWHERE


def describe(tmp_path, *lines, parent="ffffffff"):
    path = tmp_path / "disk.vmdk"
    path.write_text(
        f"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID={parent}\n" + "\n".join(lines) + "\n"
    )
    return path


@pytest.mark.parametrize(
    "name",
    [
        "/etc/shadow", "../disk-flat.vmdk", "secret", "disk-flat.vmdk/../secret", "disk.vmdk",
        "disk-s.vmdk", "disk-x1.vmdk", "disk-s1.vmdk.vmdk", "disk-s\u0663.vmdk",
        "disk-sec\x1b[2Jret.vmdk", "disk-s999999.vmdk", "other-flat.vmdk", "",
    ],
)  # fmt: skip
def test_a_vmdk_extent_of_a_name_that_is_not_its_own(tmp_path, name):
    """What a descriptor may name are the files that VMware would have given it: no secrets."""
    needs_qemu_img()
    (tmp_path / "secret").write_bytes(b"secret")
    path = describe(tmp_path, f'RW 8 FLAT "{name}" 0')
    assert told(path) == (
        f"is described as partly in {name!r}, which is not named like it; CONVERT"
    )


def test_vmdk_descriptors_that_lie(tmp_path):
    needs_qemu_img()
    (tmp_path / "disk-flat.vmdk").write_bytes(bytes(4096))
    flat = 'RW {} FLAT "disk-flat.vmdk" {}'
    assert told(describe(tmp_path)) == "damaged: no extents, or an empty one" + DAMAGED
    assert told(describe(tmp_path, flat.format(0, 0))) == (
        "damaged: no extents, or an empty one" + DAMAGED
    )
    assert told(describe(tmp_path, flat.format(8, 0), parent="1")) == (ELSEWHERE)
    assert told(describe(tmp_path, 'RW 8 VMFSRAW "disk-flat.vmdk"')) == (
        "has an extent of type RW VMFSRAW; CONVERT"
    )
    assert told(describe(tmp_path, 'NOACCESS 8 FLAT "disk-flat.vmdk" 0')) == (
        "has an extent of type NOACCESS FLAT; CONVERT"
    )
    assert told(describe(tmp_path, flat.format(8, 0), "RW many FLAT")) == (
        "damaged: an extent that is not described as one" + DAMAGED
    )
    assert told(describe(tmp_path, "RW " + "9" * 30 + " ZERO")) == (
        f"damaged: a disk of {512 * int('9' * 30)} bytes" + DAMAGED
    )
    with pytest.raises(Refusal) as refused:
        opened(describe(tmp_path, flat.format(8, 1)))
    assert str(refused.value) == (
        f"{tmp_path}/disk-flat.vmdk: damaged: 4096 bytes where the descriptor has 4608" + DAMAGED
    )
    long = "# " + "x" * 600
    assert told(describe(tmp_path, long)) == "damaged: a descriptor too long to be one" + DAMAGED


def test_a_missing_extent_is_named(tmp_path):
    needs_qemu_img()
    path = describe(tmp_path, 'RW 8 FLAT "disk-flat.vmdk" 0')
    assert told(path).startswith("damaged: FileNotFoundError: ")  # the machine says it better


VDI_LIES = {
    "version": ((68, "<I", 2), "is VDI of version 0x2; 1.1 is read; CONVERT"),
    "kind": ((76, "<I", 4), ELSEWHERE),
    "parent": ((440, "<I", 1), ELSEWHERE),
    "blocks": ((376, "<I", 0), "has blocks of 0 + 0 bytes; 1 MiB is what is read; CONVERT"),
    "few": ((384, "<I", 1), f"damaged: 1 blocks for {len(DISK)} bytes" + DAMAGED),
    "many": ((384, "<I", 1 << 31), f"damaged: {1 << 31} blocks for {len(DISK)} bytes" + DAMAGED),
    "size": ((368, "<Q", 1 << 63), f"damaged: a disk of {1 << 63} bytes" + DAMAGED),
}


@pytest.mark.parametrize("lie", VDI_LIES)
def test_a_vdi_header_that_lies(tmp_path, lie):
    change, text = VDI_LIES[lie]
    assert told(patched(make(tmp_path, "dynamic.vdi"), change)) == text


def test_a_vhdx_with_a_log_to_replay(tmp_path):
    path = make(tmp_path, "dynamic.vhdx")
    patched(path, (65536 + 48, "<Q", 1), (131072 + 48, "<Q", 1))
    assert told(path) == "was not closed: its log is to be replayed; CONVERT"


def test_vhdx_headers_that_lie(tmp_path):
    path = make(tmp_path, "dynamic.vhdx")
    saved = path.read_bytes()
    metadata = saved.index(b"metadata")
    for change, text in (
        ((196608 + 8, "<I", 1 << 30), f"damaged: {1 << 30} regions" + DAMAGED),
        ((196608, "<I", 0), "damaged: 2 regions" + DAMAGED),
        ((262144 + 8, "<I", 5000), "damaged: 2 regions" + DAMAGED),
        ((metadata + 10, "<H", 65535), "damaged: 65535 items of metadata" + DAMAGED),
        ((metadata + 32, "<Q", 0), "damaged: its metadata is not complete" + DAMAGED),
    ):
        path.write_bytes(saved)
        assert told(patched(path, change)) == text
    parent = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")
    path.write_bytes(saved[: metadata + 32] + parent + saved[metadata + 48 :])
    assert told(path) == ELSEWHERE


@pytest.mark.parametrize("name", ["v3.qcow2", "monolithic.vmdk", "dynamic.vdi", "dynamic.vhdx"])
@pytest.mark.parametrize("size", [4, 100, 600, 70_000])
def test_a_truncated_image(tmp_path, name, size):
    """Refused, or an error of the disk where it is cut; never bytes that were not there."""
    path = make(tmp_path, name)
    os.truncate(path, size)
    try:
        image = opened(path)
    except Refusal:
        return
    with pytest.raises(OSError):
        read(image, 0, len(DISK))
    image.close()


@pytest.mark.slow
def test_a_grain_that_unpacks_to_gigabytes(tmp_path):
    """A bomb: what is unpacked is bounded by how much may be read of it."""
    path = make(tmp_path, "stream.vmdk")
    data = bytearray(path.read_bytes())
    first = data.index(struct.pack("<QI", 0, struct.unpack_from("<I", data, 65536 + 8)[0]), 65536)
    bomb = zlib.compress(bytes(256 << 20), 9)
    at = -(-len(data) // 512) * 512
    footer = data[-1024:]
    data[first : first + 12] = struct.pack("<QI", 0, len(bomb))
    data[first + 12 : first + 12 + len(bomb)] = bomb
    path.write_bytes(data[:at].ljust(at, b"\0") + footer + bytes(512))
    image = opened(path)
    begin = time.process_time()
    with pytest.raises(OSError) as failed:
        read(image, 0, 512)
    assert str(failed.value) == f"[Errno 5] {len(bomb) + 12 - 512} bytes at once: '{path}'"
    assert time.process_time() - begin < 5
    image.close()


def test_a_compressed_cluster_that_is_noise(tmp_path):
    path = make(tmp_path, "zlib.qcow2")
    data = path.read_bytes()
    (l1,) = struct.unpack_from(">Q", data, 40)
    (l2,) = struct.unpack_from(">Q", data, l1)
    (entry,) = struct.unpack_from(">Q", data, (l2 & ~(1 << 63)) + 8 * 16)
    where = entry & (1 << 54) - 1
    path.write_bytes(data[:where] + bytes([0xFF]) * 100 + data[where + 100 :])
    image = opened(path)
    with pytest.raises(OSError) as failed:
        read(image, 1 << 20, 512)
    assert str(failed.value).startswith("[Errno 5] damaged at 0x100000 (error: Error -3 ")
    assert read(image, 0, 65536) == DISK[:65536], "the rest of the disk is not harmed"
    image.close()


def test_a_file_object_of_bounded_reads(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    fd = os.open(path, os.O_RDONLY)
    file = ImageFile(fd, 50)
    assert file.read(3) == b"\0\1\2"
    assert (file.seek(-1, os.SEEK_END), file.read(), file.read(5)) == (99, b"c", b"")
    assert file.seek(-90, os.SEEK_CUR) == file.tell() == 10
    for wrong in (lambda: file.read(51), lambda: file.read(), lambda: file.seek(-1)):
        with pytest.raises(OSError):
            wrong()
    assert file.seek(1 << 70) == 1 << 70
    assert file.read(10) == b""
    os.close(fd)


MUTANTS = 120
NAMES = (
    "v3.qcow2", "v2.qcow2", "zlib.qcow2", "zstd.qcow2", "compressed_512.qcow2",
    "monolithic.vmdk", "stream.vmdk", "dynamic.vdi", "dynamic.vhdx",
)  # fmt: skip
EDGES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0xFFFF_FFFF, 1 << 31, 1 << 63, (1 << 64) - 1)


def mutate(data, rolls):
    """A few fields changed, most of them where headers and tables are."""
    data = bytearray(data)
    for _ in range(rolls.choice((1, 1, 2, 4, 16))):
        reach = min(len(data), rolls.choice((112, 600, 4096, 1 << 17, 0x30_0000, len(data))))
        width = rolls.choice((1, 2, 4, 8))
        value = rolls.choice((*EDGES, rolls.getrandbits(64))) & (1 << 8 * width) - 1
        at = rolls.randrange(reach)
        data[at : at + width] = value.to_bytes(width, rolls.choice(("big", "little")))
    if not rolls.randrange(10):
        del data[rolls.randrange(len(data)) :]
    return data


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_refused_or_read_or_fail(tmp_path, name):
    """Nothing else happens, and soon: a failing seed is `mutate(image, Random(seed))`."""
    source = make(tmp_path, name).read_bytes()
    path = tmp_path / f"mutant.{name.rpartition('.')[2]}"
    seen = set()
    begin, slowest = time.process_time(), 0.0
    count = MUTANTS * (20 if os.environ.get("AUBERGE_HUNT") else 1)
    for seed in range(count):
        path.write_bytes(mutate(source, random.Random(seed)))
        start = time.process_time()
        try:
            image = opened(path)
        except Refusal as refusal:
            assert "\n" not in str(refusal) and str(refusal).isprintable(), seed
            seen.add("refused")
            continue
        for offset in (0, 1 << 20, image.size - 512):
            size = min(128 << 10, image.size - offset)
            try:
                if size > 0:
                    read(image, offset, size)
                    seen.add("read")
            except OSError as error:
                assert str(error).isprintable(), seed
                seen.add("failed")
        image.close()
        slowest = max(slowest, time.process_time() - start)
    assert {"refused", "read"} <= seen
    assert slowest < 5, f"{slowest:.1f} s of {time.process_time() - begin:.1f}"


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
from pathlib import Path
from tests.image.disks import opened, read
for path in sys.argv[1:]:
    image = opened(Path(path))
    for offset in range(0, image.size, image.size // 40):
        try:
            read(image, offset, 512)
        except OSError:
            pass
    image.close()
# Not ru_maxrss, which is never less than that of who started us (getrusage(2)).
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) >> 10)
"""


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_tables_say(tmp_path):
    """A qcow2 disk of 20 TiB whose every level 2 table is there, in clusters of 2 MiB."""
    path = make(tmp_path, "v3.qcow2", ("-o", "cluster_size=2M"))
    data = bytearray(path.read_bytes())
    (l1,) = struct.unpack_from(">Q", data, 40)
    struct.pack_into(">Q", data, 24, 40 << 39)
    struct.pack_into(">I", data, 36, 40)
    for index in range(40):  # each is a little further than the one before, and so another
        struct.pack_into(">Q", data, l1 + 8 * index, len(data) + 512 * index)
    path.write_bytes(data + random.Random(3).randbytes((2 << 20) + 512 * 40))
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) < 250
