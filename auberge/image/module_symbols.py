"""Kernel modules without the symbols that nobody needs.

Modules for RISC-V come with a symbol for each local label, as linkers that relax code would need:
215,000 in ext4, of which its relocations name 3,000. The kernel goes through all of them when it
loads a module. What is kept means the same as before (gABI, chapter 4; ELF-64 for 64-bit objects).
"""

from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from auberge.refusal import Refusal

_FILE = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")
_SYMBOL = Struct("<IBBHQQ")
_RELOCATION = Struct("<QQq")

_SYMTAB, _RELA, _NOBITS = 2, 4, 8
_LOCAL = 0
_SECTION_SYMBOL = 3


class Section(NamedTuple):
    """A section header's fields."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


def without_labels(where: str, data: bytes) -> bytes:
    """The module, with those symbols alone that are global, or that relocations name."""
    try:
        return _Module(data).written()
    except (StructError, ValueError, KeyError, OverflowError) as problem:
        raise Refusal(f"{where}: not a kernel module ({problem}); use another archive") from None


class _Module:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._header = _FILE.unpack_from(data)
        begin, count = self._header[6], self._header[12]
        self._sections = [
            Section(*_SECTION.unpack_from(data, begin + number * _SECTION.size))
            for number in range(count)
        ]
        for section in self._sections:
            if section.type != _NOBITS and section.offset + section.size > len(data):
                raise ValueError("a section beyond its end")

    def written(self) -> bytes:
        """The module anew: sections in their order, then their headers."""
        tables = [n for n, each in enumerate(self._sections) if each.type == _SYMTAB]
        if len(tables) != 1:
            return self._data
        (table,) = tables
        names = self._sections[table].link
        kept = self._kept(table)
        new = {old: number for number, old in enumerate(kept)}
        changed: dict[int, bytes] = {
            number: self._renumbered(each, new)
            for number, each in enumerate(self._sections)
            if each.type == _RELA and each.link == table
        }
        changed[table], changed[names], locals_ = self._symbols(table, names, kept)
        return self._put_together(changed, table, locals_)

    def _bytes(self, number: int) -> bytes:
        section = self._sections[number]
        return self._data[section.offset : section.offset + section.size]

    def _kept(self, table: int) -> list[int]:
        named = {0}
        for number, each in enumerate(self._sections):
            if each.type == _RELA and each.link == table:
                named |= {info >> 32 for _, info, _ in _RELOCATION.iter_unpack(self._bytes(number))}
        kept = []
        for number, symbol in enumerate(_SYMBOL.iter_unpack(self._bytes(table))):
            is_local = symbol[1] >> 4 == _LOCAL
            if number in named or not is_local or symbol[1] & 15 == _SECTION_SYMBOL:
                kept.append(number)
        return kept

    def _renumbered(self, section: Section, new: dict[int, int]) -> bytes:
        there = self._data[section.offset : section.offset + section.size]
        return b"".join(
            _RELOCATION.pack(place, new[info >> 32] << 32 | info & 0xFFFF_FFFF, addend)
            for place, info, addend in _RELOCATION.iter_unpack(there)
        )

    def _symbols(self, table: int, names: int, kept: list[int]) -> tuple[bytes, bytes, int]:
        """The table, its names, and how many local symbols come first (sh_info)."""
        old, texts = self._bytes(table), self._bytes(names)
        symbols, strings, locals_ = bytearray(), bytearray(b"\0"), 0
        for number in kept:
            name, info, other, index, value, size = _SYMBOL.unpack_from(old, number * _SYMBOL.size)
            text = texts[name : texts.index(b"\0", name)]
            at = len(strings) if text else 0
            strings += text + b"\0" if text else b""
            symbols += _SYMBOL.pack(at, info, other, index, value, size)
            locals_ += info >> 4 == _LOCAL
        return bytes(symbols), bytes(strings), locals_

    def _put_together(self, changed: dict[int, bytes], table: int, locals_: int) -> bytes:
        out = bytearray(self._data[: _FILE.size])
        headers = bytearray()
        for number, section in enumerate(self._sections):
            if section.type != _NOBITS and number:
                contents = changed.get(number, self._bytes(number))
                out += bytes(-len(out) % max(section.align, 1))
                section = section._replace(offset=len(out), size=len(contents))
                out += contents
            if number == table:
                section = section._replace(info=locals_)
            headers += _SECTION.pack(*section)
        out += bytes(-len(out) % 8)
        header = list(self._header)
        header[6] = len(out)
        out[: _FILE.size] = _FILE.pack(*header)
        return bytes(out + headers)
