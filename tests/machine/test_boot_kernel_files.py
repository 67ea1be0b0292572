"""Every kernel file is either loaded where it belongs, or refused in one line that says why."""

import gzip
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.machine.kernel import open_kernel
from auberge.memory.ram import Ram
from auberge.refusal import Refusal
from tests.machine.elves import elf
from tests.machine.fakes import image

BASE, SIZE = 0x8000_0000, 16 << 20


@pytest.fixture
def given_file(tmp_path):
    """Write a file called K, and open it as a kernel."""

    def opened(data, size=SIZE):
        path = tmp_path / "K"
        path.write_bytes(data)
        return open_kernel(str(path), BASE, size)

    return opened


def refused(given_file, tmp_path, data, size=SIZE):
    """The line it is refused with, without the folder."""
    with pytest.raises(Refusal) as refusal:
        kernel = given_file(data, size)
        kernel.load(Ram(BASE, size))
    line = str(refusal.value)
    assert "\n" not in line
    return line.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_an_image_is_loaded_at_its_text_offset(given_file, pack):
    body = bytes(range(1, 200)) * 5000
    data = image(64 + len(body), body=body, image_size=2 << 20)
    kernel = given_file(pack(data))
    assert kernel[1:6] == (BASE + 0x200000, BASE + 0x200000, BASE + 0x400000, False, None)
    ram = Ram(BASE, SIZE)
    kernel.load(ram)
    assert ram.read(BASE + 0x200000, len(data)) == data
    assert ram.read(BASE + 0x200000 + len(data), 64) == bytes(64)


def test_an_efi_zboot_image_is_unpacked(given_file):
    data = image(8192, body=b"kernel")
    packed = gzip.compress(data)
    header = struct.pack("<2s2x4sII8x32s", b"MZ", b"zimg", 64, len(packed), b"gzip")
    ram = Ram(BASE, SIZE)
    given_file(header.ljust(64, b"\0") + packed + b"rest").load(ram)
    assert ram.read(BASE + 0x200000, 8192) == data


def test_an_old_image_without_a_size_is_as_long_as_its_file(given_file):
    assert given_file(image(4096, image_size=0)).end == BASE + 0x200000 + 4096


IMAGES = {
    "K: empty; give a RISC-V kernel": b"",
    "K: not a kernel; give a RISC-V Image (raw or gzip) or ELF file": b"#!/bin/sh\n",
    "K: a big-endian kernel; give a little-endian one": image(flags=1),
    "K: text_offset 0x1000 is not a multiple of 2 MiB; rebuild it": image(text_offset=4096),
    "K: 4096 bytes, but its header says 4095; get an undamaged copy": image(4096, image_size=4095),
    "K: needs 22 MiB of memory and there are 16; give the machine 32M or more": image(
        image_size=20 << 20
    ),
    "K: an arm64 kernel; give a RISC-V Image (raw or gzip) or ELF file": bytes(56) + b"ARM\x64",
    "K: compressed with xz; give a RISC-V Image (raw or gzip) or ELF file": b"\xfd7zXZ\0....",
    "K: its gzip data is damaged; get an undamaged copy": gzip.compress(image())[:-9],
    "K: not a kernel; give a RISC-V Image (raw or gzip) or ELF file ": gzip.compress(b"hello"),
    "K: unpacks to more than the 4096 bytes of its header; get an undamaged copy": gzip.compress(
        image(1 << 20, image_size=4096)
    ),
    "K: compressed with lzma; give a raw Image or one in gzip": struct.pack(
        "<2s2x4sII8x32s", b"MZ", b"zimg", 64, 10, b"lzma"
    ),
    "K: truncated: 56 bytes of 1064; get an undamaged copy": struct.pack(
        "<2s2x4sII8x32s", b"MZ", b"zimg", 64, 1000, b"gzip"
    ),
}


@pytest.mark.parametrize("line", IMAGES)
def test_a_file_that_is_no_good_image(given_file, tmp_path, line):
    assert refused(given_file, tmp_path, IMAGES[line]) == line.strip()


def test_a_truncated_image_is_noticed_by_its_efi_header(given_file, tmp_path):
    data = bytearray(image(8192))
    data[:2] = b"MZ"
    data[0x3C:0x40] = (0x40).to_bytes(4, "little")
    data[0x40:0x58] = struct.pack("<4sHH12xHH", b"PE\0\0", 0x5064, 1, 0, 0)
    data[0x58:0x80] = struct.pack("<8sIIII16x", b".text", 0, 0, 7168, 1024)
    assert given_file(bytes(data)).end == BASE + 0x200000 + 8192
    line = refused(given_file, tmp_path, bytes(data[:8000]))
    assert line == "K: truncated: 8000 bytes of 8192; get an undamaged copy"


def test_what_is_not_a_file(tmp_path):
    for path, line in (
        (tmp_path / "none", f"{tmp_path}/none: no such file or directory; check the path"),
        (tmp_path, f"{tmp_path}: is a directory; check the path"),
        ("/dev/zero", "/dev/zero: not a regular file; copy it into one"),
        ("a\0b", "'a\\x00b': not a path; check it"),
    ):
        with pytest.raises(Refusal) as refusal:
            open_kernel(str(path), BASE, SIZE)
        assert str(refusal.value) == line


# -- ELF ----------------------------------------------------------------------------------------


def test_a_test_program_runs_in_machine_mode(given_file):
    data = elf(
        [(BASE + 0x1000, b"data"), (BASE, b"text", 16)],
        entry=BASE + 2,
        symbols=[("_start", BASE), ("tohost", BASE + 0x1000)],
    )
    kernel = given_file(data)
    assert kernel[1:6] == (BASE + 2, BASE, BASE + 0x1004, True, BASE + 0x1000)
    ram = Ram(BASE, SIZE)
    ram.write(BASE, b"x" * 32)
    kernel.load(ram)
    assert ram.read(BASE, 20) == b"text" + bytes(12) + b"xxxx"
    assert ram.read(BASE + 0x1000, 4) == b"data"


def test_much_that_is_zero_is_zeroed_and_no_more(given_file):
    size = (5 << 20) + 3
    ram = Ram(BASE, SIZE)
    ram.write(BASE, b"x" * SIZE)
    given_file(elf([(BASE, b"text", size)])).load(ram)
    assert ram.read(BASE, size + 1) == b"text" + bytes(size - 4) + b"x"


def test_a_program_at_the_beginning_of_ram_is_firmware(given_file):
    assert given_file(elf()).machine_mode
    assert not given_file(elf([(BASE + 0x200000, b"text")], entry=BASE + 0x200000)).machine_mode


def test_a_vmlinux_is_moved_to_where_its_image_would_go(given_file):
    virtual = 0xFFFF_FFFF_8000_0000
    kernel = given_file(elf([(0, b"text")], entry=virtual + 2, vaddr=virtual))
    assert kernel[1:6] == (BASE + 0x200002, BASE + 0x200000, BASE + 0x200004, False, None)


def wrong(offset, pattern, data=None):
    data = bytearray(elf(symbols=[("tohost", BASE)]) if data is None else data)
    data[offset : offset + len(pattern)] = pattern
    return bytes(data)


ELVES = {
    "K: an ELF file for x64 (64 bits); give one for 64-bit RISC-V": elf(machine=62),
    "K: an ELF file for RISC-V (32 bits); give one for 64-bit RISC-V": wrong(4, b"\1"),
    "K: an ELF file that is not linked; link it": elf(kind=1),
    "K: damaged ELF headers; get an undamaged copy": elf()[:40],
    "K: 65535 program headers of 56 bytes; get an undamaged copy": wrong(56, b"\xff\xff"),
    "K: truncated: its section headers are missing; get an undamaged copy": elf()[:-1],
    "K: no segment to load; give a linked program": elf([]),
    "K: a segment larger in the file than in memory; rebuild it": elf([(BASE, b"text", 2)]),
    "K: truncated: 337 bytes of 9223372036854775927; get an undamaged copy": wrong(
        64 + 32, b"\xff\xff\xff\xff\xff\xff\xff\x7f" * 2, elf([(BASE, b"")])
    ),
    "K: segments overlap at 0x80000002; rebuild it": elf([(BASE, b"text"), (BASE + 2, b"data")]),
    "K: a segment at 0x7fffff00, below RAM; link it for 0x80000000 or above": elf(
        [(BASE - 256, b"text", 1024)], entry=BASE
    ),
    "K: its entry 0x0 is in no segment; rebuild it": elf(entry=0),
    "K: needs 17 MiB of memory and there are 16; give the machine 32M or more": elf(
        [(BASE, b"text", 17 << 20)]
    ),
    "K: tohost at 0x80000004 is not a word of RAM; link it for 0x80000000": elf(
        symbols=[("tohost", BASE + 4)]
    ),
    "K: tohost at 0x1000 is not a word of RAM; link it for 0x80000000": elf(
        symbols=[("tohost", 0x1000)]
    ),
}


@pytest.mark.parametrize("line", ELVES)
def test_an_elf_file_that_is_no_good(given_file, tmp_path, line):
    assert refused(given_file, tmp_path, ELVES[line]) == line


VALID = elf([(BASE, b"text", 64), (BASE + 4096, b"data")], symbols=[("tohost", BASE)])


@given(
    st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
    st.integers(0, len(VALID)),
)
@settings(max_examples=300)
def test_damage_is_refused_or_harmless(tmp_path_factory, damage, length):
    data = bytearray(VALID)
    for at, value in damage:
        data[at] = value
    path = tmp_path_factory.mktemp("elf") / "K"
    path.write_bytes(data[: length or None])
    try:
        kernel = open_kernel(str(path), BASE, 1 << 20)
        ram = Ram(BASE, 1 << 20)
        kernel.load(ram)
        ram.close()
    except Refusal as refusal:
        assert "\n" not in str(refusal)
    else:
        assert BASE <= kernel.start <= kernel.entry < kernel.end <= BASE + (1 << 20)
