"""The symbols of an ELF file: names of addresses. Source: System V ABI, chapter 4."""

from __future__ import annotations

import os
from bisect import bisect_right
from io import FileIO
from typing import TYPE_CHECKING

from auberge.machine.kernel import ELF_MAGIC, open_file
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from elftools.elf.sections import Section

MOST_BYTES = 1 << 28
"""Of a symbol table: a kernel with debugging information has some ten MiB of symbols."""

NAMED = (1, 2, 0)  # STT_OBJECT, STT_FUNC, STT_NOTYPE: what has an address


def read_symbols(path: str) -> dict[str, int]:
    """The address of each symbol of an ELF file; none, if it is another file or was stripped."""
    with open_file(path) as file:
        if file.read(4) != ELF_MAGIC:
            return {}
        try:
            return _symbols(file)
        except Refusal:
            raise
        except Exception:
            # Fields that nobody filled in honestly surface in pyelftools as almost any exception.
            raise Refusal(f"{path}: damaged ELF headers; get an undamaged copy") from None


def _symbols(file: FileIO) -> dict[str, int]:
    from elftools.elf.elffile import ELFFile  # slow to import

    from auberge.machine.elf import SYMBOL

    length = os.fstat(file.fileno()).st_size

    def contents(section: Section) -> bytes:
        # Not by Section.data(), which unpacks what says that it is compressed, whatever its size.
        offset, size = section.header["sh_offset"], section.header["sh_size"]
        if offset + size > length or size > MOST_BYTES:
            return b""
        file.seek(offset)
        return file.read(size)

    elf = ELFFile(file)
    found: dict[str, int] = {}
    for section in elf.iter_sections("SHT_SYMTAB"):
        table = contents(section)
        names = contents(elf.get_section(section.header["sh_link"]))
        for at, info, _, where, value, _ in SYMBOL.iter_unpack(table[: len(table) // 24 * 24]):
            if where and info & 15 in NAMED:
                name = names[at : names.find(b"\0", at)].decode(errors="replace")
                if name and not name.startswith(("$", ".L")):
                    found.setdefault(name, value)
    return found


class Symbols:
    """Addresses by name and names by address, of one file; it is read when first asked."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: dict[str, int] | None = None
        self._sorted: list[tuple[int, str]] = []

    @property
    def all(self) -> dict[str, int]:
        """The address of each."""
        if self._found is None:
            self._found = read_symbols(self._path)
            self._sorted = sorted((value, name) for name, value in self._found.items())
        return self._found

    def address(self, text: str) -> int:
        """What `text` says: a number in any of Python's notations, or a symbol; raises Refusal."""
        try:
            value = int(text, 0)
        except ValueError:
            found = self.all.get(text)
            if found is None:
                raise Refusal(
                    f"{text}: neither an address nor a symbol of {self._path};"
                    " write it as 0x80000000"
                ) from None
            return found
        if not 0 <= value < 1 << 64:
            raise Refusal(f"{text}: not a 64-bit address; write it as 0x80000000")
        return value

    def at(self, address: int) -> list[str]:
        """The symbols that stand exactly there."""
        self.all  # noqa: B018
        last = bisect_right(self._sorted, (address, "\U0010ffff"))
        first = bisect_right(self._sorted, (address, ""))
        return [name for _, name in self._sorted[first:last]]
