"""A data CD (ECMA-119, known as ISO 9660): a read-only disk that kernels read and Python writes."""

from collections.abc import Callable
from struct import pack
from typing import BinaryIO

SECTOR = 2048
DESCRIPTORS = 16
"""Sectors before the volume descriptors, which are for other uses (6.2.1)."""

_DIRECTORY = 2  # a flag of a directory record (9.1.6)
_UNKNOWN_DATE = b"0" * 16 + b"\0"  # 8.4.26.1


class Cd:
    """Write a CD with files and no directories, dated nowhere: the same bytes for the same calls.

    The stream can seek. Names are upper-case "d-characters", eight before the dot and three after
    (10.1, level 1); Linux shows them in lower case.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._records: dict[str, bytes] = {}
        self._next = DESCRIPTORS + 4  # two descriptors, two path tables

    def file(self, name: str, write: Callable[[BinaryIO], None]) -> None:
        """Add a file, after all others; `write` is to leave the stream at its end."""
        start = self._next * SECTOR
        self._out.seek(start)
        write(self._out)
        size = self._out.tell() - start
        if size >> 32:
            raise ValueError(f"{name} is too large for a file of a CD")
        self._records[name] = _record(f"{name};1".encode(), self._next, size, 0)
        self._next += -(-size // SECTOR)

    def close(self) -> None:
        """Write the directory and what leads to it; the stream stays open."""
        place = self._next
        files = [self._records[name] for name in sorted(self._records, key=_order)]
        # each directory begins with itself and its parent (6.8.2.2); its size depends on neither
        size = len(_sectors([bytes(34), bytes(34), *files]))
        itself, parent = (_record(name, place, size, _DIRECTORY) for name in (b"\0", b"\1"))
        self._write(place, _sectors([itself, parent, *files]))
        total = place + size // SECTOR
        self._out.truncate(total * SECTOR)
        # one entry for the root in both byte orders (9.4); Linux reads neither
        little, big = (pack(f"{order}BBIH2x", 1, 0, place, 1) for order in "<>")
        self._write(DESCRIPTORS, _descriptor(total, len(little), itself))
        self._write(DESCRIPTORS + 1, b"\xffCD001\1")
        self._write(DESCRIPTORS + 2, little)
        self._write(DESCRIPTORS + 3, big)

    def _write(self, sector: int, data: bytes) -> None:
        self._out.seek(sector * SECTOR)
        self._out.write(data + bytes(-len(data) % SECTOR))


def _order(name: str) -> tuple[str, str]:
    """What comes first in a directory (9.3): names as if all were as long as the longest."""
    stem, _, extension = name.partition(".")
    return stem.ljust(8), extension


def _both(value: int, size: int) -> bytes:
    """A number in both byte orders (7.2.3, 7.3.3)."""
    return value.to_bytes(size, "little") + value.to_bytes(size, "big")


def _record(name: bytes, extent: int, size: int, flags: int) -> bytes:
    """A directory record (9.1), of an even length."""
    rest = b"\0" + _both(extent, 4) + _both(size, 4) + bytes(7) + bytes((flags, 0, 0))
    rest += _both(1, 2) + bytes((len(name),)) + name
    rest += bytes((len(rest) + 1) % 2)
    return bytes((len(rest) + 1,)) + rest


def _sectors(records: list[bytes]) -> bytes:
    """Records one after the other, none across the end of a sector (6.8.1.1)."""
    data = b""
    for record in records:
        if len(data) % SECTOR + len(record) > SECTOR:
            data += bytes(-len(data) % SECTOR)
        data += record
    return data + bytes(-len(data) % SECTOR)


def _descriptor(total: int, table: int, root: bytes) -> bytes:
    """The primary volume descriptor (8.4)."""
    places = pack("<II", DESCRIPTORS + 2, 0) + pack(">II", DESCRIPTORS + 3, 0)
    fixed = b"\1CD001\1\0" + b"AUBERGE".ljust(32) + b"PACKAGES".ljust(32) + bytes(8)
    fixed += _both(total, 4) + bytes(32) + _both(1, 2) * 2 + _both(SECTOR, 2) + _both(table, 4)
    # nobody's identifiers (four of 128 and three of 37 characters), then four dates
    return fixed + places + root + b" " * 623 + _UNKNOWN_DATE * 4 + b"\1"
