"""Regions as bytes of a file: records with a digest of the page of code, and a checksum over all.

Nothing of a record is trusted: it may be half written, damaged, or somebody's invention.
"""

from __future__ import annotations

import struct
import zlib
from _blake2 import blake2b  # as hashlib has it, but that brings 4 MiB of OpenSSL
from collections.abc import Collection, Iterator
from typing import NamedTuple

# magic, digest, entry, instructions, level, neighbours, size of the code, length, check
HEADER = struct.Struct("<4s16sHHHHIII")
NEIGHBOUR = "<%dH"
PLACE = struct.Struct("<HHHHQII")  # a `Kept`
MAGIC = b"rgn\n"
LARGEST = 1 << 20  # bytes of a record
ALIGN, PAGE = 8, 4096


def digest_of(page: bytes) -> bytes:
    """What a page of code is known by."""
    return blake2b(page, digest_size=16).digest()


class Kept(NamedTuple):
    """Where the file has a region, of so many guest instructions, compiled at a level."""

    entry: int
    instructions: int
    level: int
    neighbours: int
    at: int
    size: int
    check: int

    @property
    def length(self) -> int:
        """Bytes of its code and its neighbours, which are what is read of it."""
        return self.size + 2 * self.neighbours


class Region(NamedTuple):
    """A region as the compiler made it: see `workshop.Made`."""

    entry: int
    instructions: int
    code: bytes
    level: int = 1
    neighbours: tuple[int, ...] = ()


class Record(NamedTuple):
    """A record of a file: all of it is `data[start:end]`."""

    digest: bytes
    kept: Kept
    start: int
    end: int


def records(data: bytes, base: int = 0) -> Iterator[Record]:
    """The records of a file's bytes from `base` on, until one that is none; nothing is verified."""
    start, end = 0, len(data)
    while start + HEADER.size <= end:
        magic, digest, *what, size, length, check = HEADER.unpack_from(data, start)
        entry, count, level, neighbours = what
        fits = HEADER.size + size + 2 * neighbours <= length <= LARGEST and start + length <= end
        if magic != MAGIC or not fits or length % ALIGN or entry & 1 or max(entry, count) >= PAGE:
            return
        at = base + start + HEADER.size
        yield Record(
            digest, Kept(entry, count, level, neighbours, at, size, check), start, start + length
        )
        start += length


def check(digest: bytes, entry: int, instructions: int, level: int, data: bytes) -> int:
    """The checksum of a record: `data` is the code, and the neighbours behind it."""
    return zlib.crc32(data, zlib.crc32(digest + struct.pack("<HHH", entry, instructions, level)))


def pack(digest: bytes, region: Region) -> bytes:
    """A region as a record."""
    entry, instructions, code, level, neighbours = region
    data = code + struct.pack(NEIGHBOUR % len(neighbours), *neighbours)
    length = -(-(HEADER.size + len(data)) // ALIGN) * ALIGN
    sum_ = check(digest, entry, instructions, level, data)
    what = entry, instructions, level, len(neighbours)
    return (HEADER.pack(MAGIC, digest, *what, len(code), length, sum_) + data).ljust(length, b"\0")


def unpack(digest: bytes, kept: Kept, data: bytes) -> Region | None:
    """The region of a record whose code and neighbours are `data`; None, if they are not right."""
    if check(digest, kept.entry, kept.instructions, kept.level, data) != kept.check:
        return None
    neighbours = struct.unpack_from(NEIGHBOUR % kept.neighbours, data, kept.size)
    return Region(kept.entry, kept.instructions, data[: kept.size], kept.level, neighbours)


def worth_keeping(data: bytes, used: Collection[tuple[bytes, int]], room: int) -> bytes:
    """Of a file's bytes: the records that were used, then the newest, verified, as many as fit."""
    found = {(each.digest, each.kept.entry): each for each in records(data)}
    chosen: list[Record] = []
    newest = sorted(found.values(), key=lambda r: (_is(r, used), r.start), reverse=True)
    for each in newest:
        kept, size = each.kept, each.end - each.start
        code = data[kept.at : kept.at + kept.length]
        if size <= room and unpack(each.digest, kept, code) is not None:
            room -= size
            chosen.append(each)
    chosen.sort(key=lambda each: each.start)
    return b"".join(data[each.start : each.end] for each in chosen)


def _is(record: Record, used: Collection[tuple[bytes, int]]) -> bool:
    return (record.digest, record.kept.entry) in used
