"""Where a region file has its records, noted beside it: a start need not read through all of it.

What it says is a hint: whoever uses it verifies each record. It is for one file, which it knows by
its number and by the headers of its first and of its last noted record.
"""

from __future__ import annotations

import marshal
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress

from auberge.engine.code_folder import put, read_ours
from auberge.engine.region_record import HEADER, PLACE, Kept

CHECK = 4  # bytes before the rest: its checksum
LARGEST_INDEX = 64 << 20  # bytes


class RegionIndex:
    """The places of records by the digest of their page: those of one page are bytes in a row."""

    def __init__(self) -> None:
        self.places: dict[bytes, bytes] = {}
        self.end = self.last = self.noted = 0  # of what was looked at; its last record; on disk

    def add(self, digest: bytes, kept: Kept) -> None:
        """Note a record."""
        self.places[digest] = self.places.get(digest, b"") + PLACE.pack(*kept)

    def level(self, digest: bytes, entry: int) -> int:
        """The highest level of the records of an entry; 0: there is none."""
        places = kept_in(self.places.get(digest, b""))
        return max((kept.level for kept in places if kept.entry == entry), default=0)

    def load(self, path: str, file: int) -> None:
        """Take over what was noted of a file that is open, if it is of that file."""
        status = os.fstat(file)
        data = read_ours(path, LARGEST_INDEX)
        if data is None or zlib.crc32(data[CHECK:]) != int.from_bytes(data[:CHECK], "little"):
            return
        with suppress(ValueError, EOFError, TypeError, OSError):
            number, end, last, first_header, last_header, places = marshal.loads(data[CHECK:])
            if (
                number == status.st_ino
                and type(places) is dict
                and {(type(d), type(p)) for d, p in places.items()} <= {(bytes, bytes)}
                and not any(len(p) % PLACE.size for p in places.values())
                and 0 <= last < end <= status.st_size
                and os.pread(file, HEADER.size, 0) == first_header
                and os.pread(file, HEADER.size, last) == last_header
            ):
                self.places, self.end, self.last, self.noted = places, end, last, end

    def save(self, path: str, file: int) -> None:
        """Note it beside a file that is open. Raises OSError."""
        headers = (os.pread(file, HEADER.size, at) for at in (0, self.last))
        data = marshal.dumps((os.fstat(file).st_ino, self.end, self.last, *headers, self.places))
        put(path, zlib.crc32(data).to_bytes(CHECK, "little") + data)
        self.noted = self.end


def kept_in(places: bytes) -> Iterator[Kept]:
    """What the places of a page say."""
    return map(Kept._make, PLACE.iter_unpack(places))
