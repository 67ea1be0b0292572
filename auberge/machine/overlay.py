"""A copy-on-write overlay: what a guest writes goes to a file beside the disk's own.

The file is sparse: a header, a bit per 4 KiB block of the disk, and the blocks at their own offsets
from there. A block's bit reaches the file only after its data has reached the host's disk, so a
loss of power at any moment leaves each block either as it was flushed or as the disk below has it.
"""

import os
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple, Protocol

from auberge.machine.host_file import HostFile, pieces

BLOCK = 4096
HEADER_SIZE = 4096
DATA_ALIGNMENT = 0x10000
LARGEST = 8 << 40
"""Bytes of a disk that can have an overlay, whose map is in memory: 256 MiB for that many."""

_MAGIC = b"auberge overlay\n"
_HEADER = Struct("<16sIIQq8s")
_RAW = "raw"


class Base(Protocol):
    """What an overlay is over: `size` bytes, read like a disk's."""

    @property
    def size(self) -> int: ...
    def readv(self, offset: int, views: Sequence[memoryview]) -> None: ...
    def close(self) -> None: ...


class Header(NamedTuple):
    """What the overlay is over: the size of the disk, when it was last written, its format."""

    magic: bytes
    version: int
    block: int
    size: int
    mtime_ns: int
    format: bytes


def header_of(size: int, mtime_ns: int, format: str = _RAW) -> Header:
    """The header of an overlay over a disk of `size` bytes last written at `mtime_ns`."""
    # A raw disk's is as it was before there were others.
    name = b"" if format == _RAW else format.encode()
    return Header(_MAGIC, 1, BLOCK, size, mtime_ns, name.ljust(8, b"\0"))


def read_header(fd: int, size: int) -> Header | None:
    """The header in file `fd`, of a disk of `size` bytes; None if its making was interrupted."""
    length = os.fstat(fd).st_size
    raw = os.pread(fd, HEADER_SIZE, 0)
    if length in (0, HEADER_SIZE, file_size(size)) and not any(raw):
        return None
    return Header._make(_HEADER.unpack(raw[: _HEADER.size].ljust(_HEADER.size)))


def write_header(fd: int, header: Header, folder: str) -> None:
    """Make the empty file `fd` in `folder` an overlay that is there after a loss of power."""
    # Its size first: a file with a header is a whole one, at whatever moment we are killed.
    os.ftruncate(fd, file_size(header.size))
    os.pwrite(fd, _HEADER.pack(*header).ljust(HEADER_SIZE, b"\0"), 0)
    os.fsync(fd)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def file_size(size: int) -> int:
    """How long the overlay of a disk of `size` bytes is, holes included."""
    return _data_at(size) + size


def _map_size(size: int) -> int:
    return -(-size // (8 * BLOCK))


def _data_at(size: int) -> int:
    return -(-(HEADER_SIZE + _map_size(size)) // DATA_ALIGNMENT) * DATA_ALIGNMENT


class Overlay:
    """A disk that reads what was never written from `base`, the rest from the overlay file `fd`.

    `fd` has a header made for `base`. Both belong to this object. Errors call the file `path`.
    """

    __slots__ = ("size", "_base", "_file", "_data", "_map", "_dirty", "_reserved")

    read_only = False

    def __init__(self, base: Base, fd: int, path: str) -> None:
        self.size = base.size
        self._base = base
        self._data = _data_at(base.size)
        self._file = HostFile(fd, path, self._data + base.size, read_only=False)
        self._map = bytearray(_map_size(base.size))  # bit n: block n is in the overlay
        self._file.readv(HEADER_SIZE, [memoryview(self._map)])
        self._dirty: set[int] = set()  # pages of the map that the file does not have yet
        self._reserved: set[int] = set()  # pages of the map that the host has room for

    def readv(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill `views`, one after the other, with what is at `offset`."""
        size = sum(view.nbytes for view in views)
        for start, end, ours in self._runs(offset, size):
            part = views
            if end - start != size:
                part = list(pieces(views, start - offset, end - start))
            if ours:
                self._file.readv(self._data + start, part)
            else:
                self._base.readv(start, part)

    def writev(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write `views`, one after the other, at `offset`."""
        size = sum(view.nbytes for view in views)
        if not size:
            return
        self._reserve(offset, size)
        self._adopt_ends(offset, size)
        self._file.writev(self._data + offset, views)
        self._mark(offset, size)

    def flush(self) -> None:
        """Return when what was written survives a loss of power; fail for ever if it may not."""
        self._file.flush()
        if not self._dirty:
            return
        # Only now, with the data on the host's disk, may the map say so.
        for page in sorted(self._dirty):
            start = page * BLOCK
            part = memoryview(self._map)[start : start + BLOCK]
            self._file.writev(HEADER_SIZE + start, [part])
        self._file.flush()
        self._dirty.clear()

    def discard(self, offset: int, size: int) -> None:
        """Give the overlay's blocks in the range back to the host; they stay the overlay's."""
        self._file.discard(self._data + offset, size)

    def zero(self, offset: int, size: int) -> None:
        """Make the bytes read as zero, without taking room for them where the host can."""
        if not size:
            return
        self._reserve(offset, size)
        self._adopt_ends(offset, size)
        self._file.zero(self._data + offset, size)
        self._mark(offset, size)

    def close(self) -> None:
        self._file.close()
        self._base.close()

    def _reserve(self, offset: int, size: int) -> None:
        """Have room for the map of the range: a host that fills up refuses writes, not a flush."""
        first, last = offset // (8 * BLOCK * BLOCK), (offset + size - 1) // (8 * BLOCK * BLOCK)
        for page in range(first, last + 1):
            if page not in self._reserved:
                self._file.reserve(HEADER_SIZE + page * BLOCK, BLOCK)
                self._reserved.add(page)

    def _adopt_ends(self, offset: int, size: int) -> None:
        """Copy what surrounds the range in its first and last block, if those are not ours yet."""
        end = offset + size
        ends = {offset // BLOCK} if offset % BLOCK else set()
        if end % BLOCK and end != self.size:
            ends.add(end // BLOCK)
        for block in ends:
            self._adopt(block)

    def _adopt(self, block: int) -> None:
        if self._map[block >> 3] >> (block & 7) & 1:
            return
        start = block * BLOCK
        data = memoryview(bytearray(min(BLOCK, self.size - start)))
        self._base.readv(start, [data])
        self._file.writev(self._data + start, [data])

    def _mark(self, offset: int, size: int) -> None:
        first, last = offset // BLOCK, (offset + size - 1) // BLOCK
        low, high = first >> 3, (last >> 3) + 1
        old = int.from_bytes(self._map[low:high], "little")
        new = old | (1 << last - first + 1) - 1 << (first & 7)
        if new != old:
            self._map[low:high] = new.to_bytes(high - low, "little")
            self._dirty.update(range(low // BLOCK, (high - 1) // BLOCK + 1))

    def _runs(self, offset: int, size: int) -> Iterator[tuple[int, int, bool]]:
        """The range in pieces (start, end, whether in the overlay), as long as each can be."""
        if not size:
            return
        end = offset + size
        block, last = offset // BLOCK, (end - 1) // BLOCK
        bits = int.from_bytes(self._map[block >> 3 : (last >> 3) + 1], "little") >> (block & 7)
        start = offset
        while start < end:
            ours = bool(bits & 1)
            same = ~bits if ours else bits
            count = (same & -same).bit_length() - 1 if same else last - block + 1
            block += count
            bits >>= count
            stop = min(block * BLOCK, end)
            yield start, stop, ours
            start = stop
