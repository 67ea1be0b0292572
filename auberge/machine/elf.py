"""ELF kernels and test programs. Source: System V ABI, chapters 4 and 5; RISC-V ELF psABI."""

import os
import struct
from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from auberge.machine.kernel import (
    Kernel,
    open_file,
    read_file,
    too_little_memory,
)
from auberge.memory.ram import Ram
from auberge.refusal import Refusal

MOST_HEADERS = 4096
"""Program headers, and section headers, that we look at; a kernel has a few dozen."""
SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size

WORD = (1 << 64) - 1

ZEROS = bytes(1 << 20)
"""What a segment's memory is filled with, a piece at a time: it may be most of RAM."""


class Segment(NamedTuple):
    """`file_size` bytes from `offset` of the file, then zeros, from physical `start` to `end`."""

    start: int
    end: int
    offset: int
    file_size: int
    virtual: int


def open_elf(path: str, base: int, size: int, movable: int) -> Kernel:
    """An ELF file to be run in `size` bytes of RAM at `base`; raises Refusal.

    It runs in machine mode if it has a symbol `tohost` or starts at the beginning of RAM, as test
    programs and firmware do; else it is a kernel for S-mode. A program linked for physical address
    0, as Linux's vmlinux and position-independent ones are, goes to `movable`.
    """
    with open_file(path) as file:
        length = os.fstat(file.fileno()).st_size
        try:
            elf = ELFFile(file)
            _check_header(path, elf, length)
            entry = int(elf.header["e_entry"])
            segments = _segments(path, elf, length)
            tohost = _tohost(path, elf, file, length)
        except Refusal:
            raise
        except Exception:
            # Fields that nobody filled in honestly surface in pyelftools as almost any exception.
            raise Refusal(f"{path}: damaged ELF headers; get an undamaged copy") from None
    lowest, highest = segments[0].start, segments[-1].end
    bias = movable - lowest if highest <= base else 0
    for segment in segments:
        if not base <= segment.start + bias:
            raise Refusal(
                f"{path}: a segment at {segment.start:#x}, below RAM;"
                f" link it for {base:#x} or above"
            )
    if highest + bias > base + size:
        raise too_little_memory(f"{path}: needs", highest + bias - base, size)
    if entry & 1:
        raise Refusal(f"{path}: its entry {entry:#x} is odd, where no instruction is; rebuild it")
    physical = _physical(path, entry, segments)
    if tohost is not None:
        tohost += bias
        if tohost % 8 or not base <= tohost <= base + size - 8:
            raise Refusal(
                f"{path}: tohost at {tohost:#x} is not a word of RAM; link it for {base:#x}"
            )

    def load(ram: Ram) -> None:
        for segment in segments:
            start = segment.start + bias
            read_file(path, ram, start, segment.file_size, segment.offset)
            end = segment.end + bias
            for at in range(start + segment.file_size, end, len(ZEROS)):
                ram.write(at, ZEROS[: end - at])

    machine_mode = tohost is not None or physical + bias == base
    return Kernel(path, physical + bias, lowest + bias, highest + bias, machine_mode, tohost, load)


def _check_header(path: str, elf: ELFFile, length: int) -> None:
    header = elf.header
    if header["e_machine"] != "EM_RISCV" or elf.elfclass != 64 or not elf.little_endian:
        raise Refusal(
            f"{path}: an ELF file for {elf.get_machine_arch()} ({elf.elfclass} bits);"
            " give one for 64-bit RISC-V"
        )
    if header["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise Refusal(f"{path}: an ELF file that is not linked; link it")
    for what, count, entry, offset in (
        ("program headers", header["e_phnum"], header["e_phentsize"], header["e_phoff"]),
        ("section headers", header["e_shnum"], header["e_shentsize"], header["e_shoff"]),
    ):
        if count and (count > MOST_HEADERS or entry not in (56, 64)):
            raise Refusal(f"{path}: {count} {what} of {entry} bytes; get an undamaged copy")
        if count and offset + count * entry > length:
            raise Refusal(f"{path}: truncated: its {what} are missing; get an undamaged copy")


def _segments(path: str, elf: ELFFile, length: int) -> list[Segment]:
    segments = []
    for each in elf.iter_segments("PT_LOAD"):
        header = each.header
        start, memory = int(header["p_paddr"]), int(header["p_memsz"])
        offset, file_size = int(header["p_offset"]), int(header["p_filesz"])
        if not memory:
            continue
        if file_size > memory:
            raise Refusal(f"{path}: a segment larger in the file than in memory; rebuild it")
        if offset + file_size > length:
            raise Refusal(
                f"{path}: truncated: {length} bytes of {offset + file_size}; get an undamaged copy"
            )
        segments.append(Segment(start, start + memory, offset, file_size, int(header["p_vaddr"])))
    segments.sort()
    if not segments:
        raise Refusal(f"{path}: no segment to load; give a linked program")
    for low, high in zip(segments, segments[1:], strict=False):
        if low.end > high.start:
            raise Refusal(f"{path}: segments overlap at {high.start:#x}; rebuild it")
    return segments


def _physical(path: str, entry: int, segments: list[Segment]) -> int:
    """Where the entry is in physical memory: it is given as a virtual address."""
    for segment in segments:
        offset = entry - segment.virtual & WORD
        if offset < segment.end - segment.start:
            return segment.start + offset
    raise Refusal(f"{path}: its entry {entry:#x} is in no segment; rebuild it")


def _tohost(path: str, elf: ELFFile, file: FileIO, length: int) -> int | None:
    """Where the symbol `tohost` is, the convention of riscv-tests; None without it."""
    for section in elf.iter_sections("SHT_SYMTAB"):
        symbols = _contents(path, section, file, length)
        names = _contents(path, elf.get_section(section.header["sh_link"]), file, length)
        wanted = set(_find_all(names, b"tohost\0"))
        for name, _, _, _, value, _ in SYMBOL.iter_unpack(symbols[: len(symbols) // 24 * 24]):
            if name in wanted:
                return int(value)
    return None


def _contents(path: str, section: Section, file: FileIO, length: int) -> bytes:
    # Not by Section.data(), which unpacks what says that it is compressed, whatever its size.
    offset, size = section.header["sh_offset"], section.header["sh_size"]
    if offset + size > length:
        raise Refusal(f"{path}: truncated: its symbols are missing; get an undamaged copy")
    file.seek(offset)
    return file.read(size)


def _find_all(data: bytes, what: bytes) -> Iterator[int]:
    at = data.find(what)
    while at >= 0:
        yield at
        at = data.find(what, at + 1)
