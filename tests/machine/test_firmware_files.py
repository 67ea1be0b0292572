"""Every firmware file is put where its kind belongs, with the kernel behind it, or refused."""

import gzip
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.machine.bus import Bus
from auberge.machine.firmware import boot_rom, open_firmware
from auberge.machine.machine import Configuration, Machine, Outside
from auberge.machine.vcpu import STARTED
from auberge.memory.ram import Ram
from auberge.refusal import Refusal
from tests.machine.elves import elf
from tests.machine.fakes import FakeKind, image

BASE, SIZE, MIB = 0x8000_0000, 16 << 20, 1 << 20
BINARY = b"\x13\0\0\0" * 25


@pytest.fixture
def given_files(tmp_path):
    """Write files called F and perhaps K, and open them as a firmware and a kernel."""

    def opened(firmware, kernel=None, size=SIZE):
        paths = []
        for name, data in (("F", firmware), ("K", kernel)):
            if data is not None:
                (tmp_path / name).write_bytes(data)
            paths.append(None if data is None else str(tmp_path / name))
        return open_firmware(*paths, BASE, size)

    return opened


def places(programs):
    """Entry, start, end, machine mode and tohost of each."""
    return [program[1:6] for program in programs]


def test_a_binary_begins_where_ram_does(given_files):
    (firmware,) = given_files(BINARY)
    assert firmware[1:6] == (BASE, BASE, BASE + 100, True, None)
    ram = Ram(BASE, SIZE)
    firmware.load(ram)
    assert ram.read(BASE, 104) == BINARY + bytes(4)


def test_a_kernel_is_at_the_next_2_mib(given_files):
    next_stage = (BASE + 2 * MIB, BASE + 2 * MIB, BASE + 2 * MIB + 8192, False, None)
    assert places(given_files(BINARY, image(8192)))[1] == next_stage
    assert places(given_files(BINARY, image(8192, text_offset=0)))[1] == next_stage
    assert places(given_files(BINARY, gzip.compress(image(8192))))[1] == next_stage
    assert places(given_files(BINARY, bytes(8192)))[1] == next_stage
    further = places(given_files(bytes(2 * MIB + 1), bytes(8192)))[1]
    assert further[1] == BASE + 4 * MIB
    exactly = places(given_files(bytes(2 * MIB), bytes(8192)))[1]
    assert exactly[1] == BASE + 2 * MIB


def test_a_boot_loader_needs_no_header(given_files):
    firmware, loader = given_files(BINARY, b"u-boot, say")
    ram = Ram(BASE, SIZE)
    for program in (firmware, loader):
        program.load(ram)
    assert ram.read(BASE + 2 * MIB, 12) == b"u-boot, say\0"
    assert loader.entry == BASE + 2 * MIB


def test_an_elf_firmware_says_where_it_goes(given_files):
    data = elf([(BASE + 4096, b"text", 64)], entry=BASE + 4098, symbols=[("tohost", BASE + 4096)])
    (firmware,) = given_files(data)
    assert firmware[1:6] == (BASE + 4098, BASE + 4096, BASE + 4160, True, None)


def test_a_position_independent_firmware_goes_to_where_ram_begins(given_files):
    data = elf(
        [(0, b"text"), (0x40000, b"data", 0x1000)], entry=2, symbols=[("tohost", 0x40000)], kind=3
    )
    firmware, kernel = given_files(elf([(0, b"text")], entry=2, kind=3), data)
    assert firmware[1:6] == (BASE + 2, BASE, BASE + 4, True, None)
    start = BASE + 2 * MIB
    assert kernel[2:4] == (start, start + 0x41000)


def test_an_elf_kernel_stays_where_it_is_linked(given_files):
    linked = BASE + 5 * MIB
    _, kernel = given_files(BINARY, elf([(linked, b"text")], entry=linked))
    assert kernel[1:6] == (linked, linked, linked + 4, False, None)


REFUSALS = {
    "F: empty; give a firmware": (b"", None),
    "F: compressed with gzip; give a firmware as a raw binary or an ELF file": (
        gzip.compress(BINARY), None,
    ),
    "F: a device tree; give a firmware as a raw binary or an ELF file": (
        b"\xd0\x0d\xfe\xed" + bytes(60), None,
    ),
    "F: an arm64 kernel; give a firmware as a raw binary or an ELF file": (
        bytes(56) + b"ARM\x64", None,
    ),
    "F: an ELF file for x64 (64 bits); give one for 64-bit RISC-V": (elf(machine=62), None),
    "F: an ELF file for RISC-V (32 bits); give one for 64-bit RISC-V": (elf(bits=1), None),
    "F: an ELF file that is not linked; link it": (elf(kind=1), None),
    "F: a segment at 0x7ffff000, below RAM; link it for 0x80000000 or above": (
        elf([(BASE - 4096, b"text", 8192)], entry=BASE - 4096), None,
    ),
    "F: damaged ELF headers; get an undamaged copy": (elf()[:40], None),
    "F: needs 17 MiB of memory and there are 16; give the machine 32M or more": (
        bytes(17 * MIB), None,
    ),
    "K: needs 17 MiB of memory and there are 16; give the machine 32M or more": (
        BINARY, bytes(15 * MIB),
    ),
    "K: needs 18 MiB of memory and there are 16; give the machine 32M or more": (
        bytes(10 * MIB + 4), image(6 * MIB),
    ),
    "K: begins at 0x80000000, where the firmware is; link it for 0x80200000 or above": (
        BINARY, elf(),
    ),
    "K: begins at 0x80200000, where the firmware is; link it for 0x80400000 or above": (
        bytes(3 * MIB), elf([(BASE + 2 * MIB, b"text")], entry=BASE + 2 * MIB),
    ),
    "K: empty; give a RISC-V kernel": (BINARY, b""),
    "K: compressed with xz; give a RISC-V Image (raw or gzip) or ELF file": (
        BINARY, b"\xfd7zXZ\0....",
    ),
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSALS)
def test_what_cannot_be_is_said(given_files, tmp_path, line):
    with pytest.raises(Refusal) as refusal:
        given_files(*REFUSALS[line])
    assert str(refusal.value).replace(f"{tmp_path}/", "") == line


@pytest.mark.parametrize("path", ["none", ""])
def test_a_file_that_is_not_there(tmp_path, path):
    with pytest.raises(Refusal) as refusal:
        open_firmware(f"{tmp_path}/{path}", None, BASE, SIZE)
    what = "no such file or directory" if path else "is a directory"
    assert str(refusal.value) == f"{tmp_path}/{path}: {what}; check the path"


FIRMWARE = elf([(BASE, b"text", 64), (BASE + 4096, b"data")], symbols=[("tohost", BASE)])
KERNELS = image(8192), elf([(BASE + 2 * MIB, b"text")], entry=BASE + 2 * MIB), b"\x13\0\0\0" * 20
DAMAGE = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4)


def damaged(data, damage, length):
    data = bytearray(data)
    for at, value in damage:
        data[at % len(data)] = value
    return bytes(data[: length or None])


@given(DAMAGE, st.integers(0, 600), st.sampled_from(KERNELS), DAMAGE, st.integers(0, 600))
@settings(max_examples=200)
def test_damage_is_refused_or_harmless(
    tmp_path_factory, in_firmware, length, kernel, in_kernel, kernel_length
):
    folder = tmp_path_factory.mktemp("firmware")
    (folder / "F").write_bytes(damaged(FIRMWARE, in_firmware, length))
    (folder / "K").write_bytes(damaged(kernel, in_kernel, kernel_length))
    ram = Ram(BASE, 4 * MIB)
    try:
        first, after = open_firmware(str(folder / "F"), str(folder / "K"), BASE, ram.size)
        for program in (first, after):
            program.load(ram)
    except Refusal as refusal:
        assert "\n" not in str(refusal)
    else:
        assert first.machine_mode and first.tohost is None
        assert BASE <= first.start <= first.entry < first.end <= after.start
        assert after.start <= after.entry < after.end <= BASE + ram.size
    finally:
        ram.close()


# -- what it is told ----------------------------------------------------------------------------


def test_the_rom_says_where_the_next_program_begins(given_files):
    """struct fw_dynamic_info of OpenSBI."""
    bus = Bus([boot_rom(0x1000, given_files(BINARY, image()))])
    words = [bus.read(0x1000 + 8 * n, 8) for n in range(6)]
    assert words == [0x4942534F, 2, BASE + 2 * MIB, 1, 0, 0]
    assert bus.read(0x1010, 4) == BASE + 2 * MIB
    assert bus.write(0x1000, 8, 0)
    assert bus.read(0x1000, 8) == 0x4942534F
    assert bus.read(0x1FF8, 8) == 0


def test_there_may_be_no_next_program(given_files):
    assert Bus([boot_rom(0x1000, given_files(BINARY))]).read(0x1010, 8) == 0


def test_all_harts_begin_in_it_and_in_machine_mode(tmp_path):
    (tmp_path / "F").write_bytes(BINARY)
    (tmp_path / "K").write_bytes(image())
    configuration = Configuration(
        str(tmp_path / "K"), memory=SIZE, cpus=3, firmware=str(tmp_path / "F")
    )
    kind = FakeKind(*[lambda hart: iter(()) for _ in range(3)])
    machine = Machine(configuration, kind, Outside(print, bytes, int))
    tree = machine.vcpus[0].hart.x[11]
    for number, vcpu in enumerate(machine.vcpus):
        hart = vcpu.hart
        assert (hart["pc"], hart["priv"], hart["hosted"], vcpu.status) == (BASE, 3, 0, STARTED)
        assert [hart.x[n] for n in (10, 11, 12)] == [number, tree, 0x1000]
    # with room at its end, into which U-Boot writes, and behind it, into which OpenSBI grows it
    magic, total = struct.unpack(">II", machine.ram.read(tree, 8))
    assert (magic, total) == (0xD00DFEED, len(machine.device_tree) + 16384)
    assert machine.ram.read(tree + len(machine.device_tree), 16384) == bytes(16384)
    assert tree + total + 16384 <= BASE + SIZE
    assert machine.bus.read(0x1010, 8) == BASE + 2 * MIB
    machine.close()


def test_neither_kernel_nor_firmware():
    kind = FakeKind(lambda hart: iter(()))
    with pytest.raises(Refusal) as refusal:
        Machine(Configuration(None, memory=SIZE), kind, Outside(print, bytes, int))
    line = "boot: neither a kernel nor a firmware; give one of them, or both"
    assert str(refusal.value) == line
