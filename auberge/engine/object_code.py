"""Machine code out of the object files that LLVM gives: text, and constants behind it."""

from __future__ import annotations

import io
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

WRITABLE, ALLOCATED = 1, 2  # sh_flags of ELF sections
PC32, ADR_PREL_PG_HI21, ADD_ABS_LO12_NC = 2, 275, 277
LDST32_ABS_LO12_NC, LDST64_ABS_LO12_NC, LDST128_ABS_LO12_NC = 285, 286, 299
# The relocations that code may need; and by how much what is filled in is shifted.
RELOCATIONS = {
    ("EM_X86_64", PC32): 0,
    ("EM_AARCH64", ADR_PREL_PG_HI21): 0, ("EM_AARCH64", ADD_ABS_LO12_NC): 0,
    ("EM_AARCH64", LDST32_ABS_LO12_NC): 2, ("EM_AARCH64", LDST64_ABS_LO12_NC): 3,
    ("EM_AARCH64", LDST128_ABS_LO12_NC): 4,
}  # fmt: skip


class Code(NamedTuple):
    """Machine code for the start of any page, and where in it its functions begin."""

    text: bytes
    symbols: dict[str, int]


def machine_code(obj: bytes) -> Code:
    """What a relocatable ELF object has to execute, put together.

    Raises RuntimeError if that would need a linker, or data of its own.
    """
    elf = ELFFile(io.BytesIO(obj))
    text = elf.get_section_by_name(".text")
    index = elf.get_section_index(".text")
    if text is None or index is None:
        raise RuntimeError("LLVM gave no code")
    code, starts = bytearray(text.data()), {index: 0}
    for number, section in enumerate(elf.iter_sections()):
        flags, size, name = section["sh_flags"], section["sh_size"], section.name
        if not flags & ALLOCATED or not size or name in (".text", ".eh_frame"):
            continue
        if flags & WRITABLE or not name.startswith(".rodata"):
            raise RuntimeError(f"the code needs data of its own, in {name} ({size} bytes)")
        code += bytes(-len(code) % section["sh_addralign"])  # constants, behind the code
        starts[number] = len(code)
        code += section.data()
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection) and section.name == ".rela.text":
            _link(code, elf, starts, section)
    symbols: dict[str, int] = {}
    table = elf.get_section_by_name(".symtab")
    if isinstance(table, SymbolTableSection):
        for symbol in table.iter_symbols():
            if symbol["st_shndx"] == index and symbol.name:
                symbols[symbol.name] = symbol["st_value"]
    return Code(bytes(code), symbols)


def _link(
    code: bytearray, elf: ELFFile, starts: dict[int, int], relocations: RelocationSection
) -> None:
    """Fill in addresses of the code's own that LLVM left open; they hold at the start of any page.

    x86-64 ("System V ABI, AMD64 Supplement", 4.4): the distance to a constant. AArch64 ("ELF for
    the Arm 64-bit Architecture", 5.7.6): an address is put together from its page, as a distance,
    and the offset in it. Raises RuntimeError for anything else.
    """
    symbols = elf.get_section(relocations["sh_link"])
    assert isinstance(symbols, SymbolTableSection)
    for relocation in relocations.iter_relocations():
        symbol, kind = symbols.get_symbol(relocation["r_info_sym"]), relocation["r_info_type"]
        machine, at = elf["e_machine"], relocation["r_offset"]
        if symbol["st_shndx"] not in starts or (machine, kind) not in RELOCATIONS:
            what = symbol.name or "a section"
            raise RuntimeError(f"the code needs a linker: for {what}, a relocation of type {kind}")
        start = starts[symbol["st_shndx"]]
        target = start + symbol["st_value"] + relocation["r_addend"]
        word = int.from_bytes(code[at : at + 4], "little")
        if machine == "EM_X86_64":
            word = target - at & 0xFFFF_FFFF
        elif kind == ADR_PREL_PG_HI21:
            pages = (target >> 12) - (at >> 12)
            word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
        else:
            word |= ((target & 0xFFF) >> RELOCATIONS[machine, kind]) << 10
        code[at : at + 4] = word.to_bytes(4, "little")
