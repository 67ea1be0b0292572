"""Regions kept on disk: what was compiled once is there at the next start, without a compiler.

One file for each key (`cache.key`), to which records are appended: the digest of a page of code,
an entry in it, machine code, and a checksum over all that. A record whose checksum is wrong is
ignored, and what follows a damaged one is not looked at. A file that is full, or damaged, is
replaced as a whole by another with what of it is worth keeping; who reads the old one, goes on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from auberge.engine.code_folder import tidy

# magic, digest, entry, instructions, level, neighbours, size of the code, length, check
HEADER = struct.Struct("<4s16sHHHHIII")
NEIGHBOUR = "<%dH"
MAGIC = b"rgn\n"
LARGEST = 1 << 20  # bytes of a record
LIMIT = 64 << 20  # bytes of a file; beyond it, it is replaced by one that is half as large at most
ALIGN, PAGE = 8, 4096
TRIES = 200  # milliseconds for another process to have written
MOVES = 10  # files that took each other's place while we tried to lock one


class Kept(NamedTuple):
    """Where the file has a region, of so many guest instructions, compiled at a level."""

    entry: int
    instructions: int
    level: int
    neighbours: int
    at: int
    size: int
    check: int


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


class RegionFile:
    """The regions of one key, opened for reading and appending; works without a file as well.

    With `create` false, nothing is made where there is no file.

    Other processes may append, or replace the file, at any time; whoever may write to it at all may
    also damage it: each use reads what is there now (a mapping would end us where the file has
    become shorter), and verifies it.
    """

    def __init__(self, path: str, create: bool = True) -> None:
        self.path = path
        self._flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._flags |= os.O_CREAT if create else 0
        self.index: dict[bytes, dict[int, Kept]] = {}  # of what `regions` did not tell of yet
        self.used: set[tuple[bytes, int]] = set()  # by this process: told of, or compiled
        self.is_damaged = False
        self._keeps, self._has_tidied = True, False
        self._present: dict[tuple[bytes, int], int] = {}  # at which level
        self._end = 0  # of what was looked at
        self._file = self._open()
        if self._file >= 0:
            with suppress(OSError):
                os.utime(self._file)  # when it was used last
            self._scan()

    def _open(self) -> int:
        try:
            fd = os.open(self.path, self._flags, 0o600)
        except OSError:
            return -1
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022:
            if stat.S_ISREG(status.st_mode):
                return fd
        os.close(fd)
        return -1

    def _scan(self) -> None:
        """Note where each record is, of those that were not there before."""
        size = os.fstat(self._file).st_size
        if size < self._end:
            self._end, self.is_damaged = size, True  # it was cut
            return
        base, data = self._end, self._read(self._end, size - self._end)
        for record in records(data, base):
            self.index.setdefault(record.digest, {})[record.kept.entry] = record.kept
            self._present[record.digest, record.kept.entry] = record.kept.level
            self._end = base + record.end

    def _read(self, at: int, size: int) -> bytes:
        try:
            return os.pread(self._file, size, at)
        except OSError:
            return b""

    def look_again(self) -> None:
        """Have `regions` tell of everything once more, and of what others have added."""
        self.index.clear()
        self._present.clear()
        self._end, self.is_damaged = 0, False
        if self._file >= 0:
            self._scan()

    def news(self) -> list[bytes]:
        """The digests of pages that others have added regions of, since we looked."""
        before = self._end
        if self._file < 0 or os.fstat(self._file).st_size <= before:
            return []
        self._scan()
        return [d for d, kept in self.index.items() if any(k.at > before for k in kept.values())]

    def level(self, digest: bytes, entry: int) -> int:
        """At which level the region of an entry has been compiled; 0: it is not here."""
        return self._present.get((digest, entry), 0)

    def regions(self, digest: bytes) -> list[Region]:
        """The regions that are kept of a page, verified."""
        found: list[Region] = []
        for kept in self.index.pop(digest, {}).values():
            data = self._read(kept.at, kept.size + 2 * kept.neighbours)
            if check(digest, kept.entry, kept.instructions, kept.level, data) == kept.check:
                neighbours = struct.unpack_from(NEIGHBOUR % kept.neighbours, data, kept.size)
                code = data[: kept.size]
                found.append(Region(kept.entry, kept.instructions, code, kept.level, neighbours))
                self.used.add((digest, kept.entry))
            else:
                self.is_damaged = True
        return found

    def keep(self, digest: bytes, region: Region) -> None:
        """Append a region that nobody has at this level; one that cannot be is not."""
        entry, level = region.entry, region.level
        record = pack(digest, region)
        if self._file < 0 or not self._keeps or len(record) > LARGEST:
            return
        try:
            if not self._lock():
                return
            try:
                self._scan()
                size = os.fstat(self._file).st_size
                self.is_damaged |= self._end != size  # nobody else is writing now
                self.used.add((digest, entry))
                if self.is_damaged or size + len(record) > LIMIT:
                    self._replace(record)
                elif self.level(digest, entry) < level:
                    if os.write(self._file, record) != len(record):
                        raise OSError(errno.ENOSPC, "half a record")  # for the next process
                    self._end += len(record)
                    self._present[digest, entry] = level
                    self._tidy()
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError:
            self._keeps = False  # a full disk stays full, and our caller has a guest that waits

    @property
    def keeps(self) -> bool:
        """Whether it takes regions."""
        return self._file >= 0 and self._keeps

    def _tidy(self) -> None:
        """Once, for those who compile: nobody else adds to the folder."""
        if not self._has_tidied:
            self._has_tidied = True
            where, name = os.path.split(self.path)
            tidy(where, name.partition("-")[2])

    def _lock(self) -> bool:
        """Lock out other writers of the file of our name, which may have been replaced since.

        False, from now on, if another writer does not end: it may have been stopped (SIGSTOP), and
        our caller has a guest that waits.
        """
        tries = moves = 0
        while tries < TRIES and moves < MOVES:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.001)
                tries += 1
                continue
            if self._is_current():
                return True
            moves += 1
            if not self._follow():
                break
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._keeps = False
        return False

    def _is_current(self) -> bool:
        """Whether the file of our name is the one that we have open."""
        ours = os.fstat(self._file)
        try:
            theirs = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)

    def _replace(self, record: bytes) -> None:
        """Put another file in the place of ours, which is locked; others notice by its number."""
        import tempfile

        size = os.fstat(self._file).st_size
        whole = worth_keeping(self._read(0, size), self.used, LIMIT // 2) + record
        fd, beside = tempfile.mkstemp(dir=os.path.dirname(self.path))
        try:
            with open(fd, "wb") as file:
                file.write(whole)
            os.rename(beside, self.path)
        except OSError:
            with suppress(OSError):
                os.unlink(beside)
            raise
        self._follow()

    def _follow(self) -> bool:
        """Go over to the file that has our name now; whether there is one."""
        other = self._open()
        if other < 0:
            return False
        os.close(self._file)  # which unlocks it
        self._file = other
        self.look_again()
        return True


def worth_keeping(data: bytes, used: Collection[tuple[bytes, int]], room: int) -> bytes:
    """Of a file's bytes: the records that were used, then the newest, verified, as many as fit."""
    found = {(each.digest, each.kept.entry): each for each in records(data)}
    chosen: list[Record] = []
    newest = sorted(found.values(), key=lambda r: (_is(r, used), r.start), reverse=True)
    for each in newest:
        digest, kept = each.digest, each.kept
        code = data[kept.at : kept.at + kept.size + 2 * kept.neighbours]
        size = each.end - each.start
        right = check(digest, kept.entry, kept.instructions, kept.level, code) == kept.check
        if size <= room and right:
            room -= size
            chosen.append(each)
    chosen.sort(key=lambda each: each.start)
    return b"".join(data[each.start : each.end] for each in chosen)


def _is(record: Record, used: Collection[tuple[bytes, int]]) -> bool:
    return (record.digest, record.kept.entry) in used


def count_regions(path: str) -> int:
    """How many a file holds; 0, if it is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return 0
        with open(fd, "rb", closefd=False) as file:
            return sum(1 for _ in records(file.read()))
    finally:
        os.close(fd)


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
