"""The code of an ELF file, section by section, for reading. Source: System V ABI, chapter 4."""

import os
from io import FileIO
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from auberge.machine.kernel import open_file
from auberge.refusal import Refusal

EXECUTABLE = 4  # SHF_EXECINSTR
MOST_SYMBOLS = 1 << 20


class Code(NamedTuple):
    """A section that is executed, and the functions and labels in it."""

    name: str
    address: int
    code: bytes
    symbols: dict[str, int]


def code_sections(path: str) -> list[Code]:
    """The sections with code of a RISC-V ELF file; raises Refusal."""
    with open_file(path) as file:
        try:
            found = _sections(path, file)
        except Refusal:
            raise
        except Exception:
            # Fields that nobody filled in honestly surface in pyelftools as almost any exception.
            raise Refusal(f"{path}: damaged ELF headers; get an undamaged copy") from None
    if not found:
        raise Refusal(f"{path}: no section with code; give the file before it was stripped of them")
    return found


def _sections(path: str, file: FileIO) -> list[Code]:
    elf = ELFFile(file)
    if elf.header["e_machine"] != "EM_RISCV" or elf.elfclass != 64:
        machine = f"{elf.get_machine_arch()} ({elf.elfclass} bits)"
        raise Refusal(f"{path}: an ELF file for {machine}; give one for 64-bit RISC-V")
    symbols: dict[int, dict[str, int]] = {}
    for table in elf.iter_sections("SHT_SYMTAB"):
        if isinstance(table, SymbolTableSection) and table.num_symbols() <= MOST_SYMBOLS:
            for symbol in table.iter_symbols():
                where = symbol["st_shndx"]
                if symbol.name and not symbol.name.startswith("$") and isinstance(where, int):
                    symbols.setdefault(where, {})[symbol.name] = int(symbol["st_value"])
    found = []
    length = os.fstat(file.fileno()).st_size
    for index, section in enumerate(elf.iter_sections()):
        header = section.header
        if header["sh_type"] != "SHT_PROGBITS" or not header["sh_flags"] & EXECUTABLE:
            continue
        offset, size = int(header["sh_offset"]), int(header["sh_size"])
        if offset + size > length:
            raise Refusal(f"{path}: truncated: {section.name}; get an undamaged copy")
        file.seek(offset)  # not by Section.data(), which unpacks what says that it is compressed
        own = symbols.get(index, {})
        found.append(Code(section.name, int(header["sh_addr"]), file.read(size), own))
    return found
