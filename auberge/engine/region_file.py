"""Regions kept on disk: what was compiled once is there at the next start, without a compiler.

One file for each key (`cache.key`), to which records are appended: the digest of a page of code,
an entry in it, machine code, and a checksum over all that. A record whose checksum is wrong is
ignored, and what follows a damaged one is not looked at; the next writer begins the file anew.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
import zlib
from typing import NamedTuple

HEADER = struct.Struct("<4s16sHHIII")  # magic, digest, entry, instructions, size, length, check
MAGIC = b"rgn\n"
LARGEST = 1 << 20  # bytes of a record
LIMIT = 64 << 20  # bytes of a file; beyond it, only what was used since is kept
ALIGN, PAGE = 8, 4096
TRIES = 200  # milliseconds for another process to have written


class Kept(NamedTuple):
    """Where the file has a region, of so many guest instructions."""

    entry: int
    instructions: int
    at: int
    size: int
    check: int


class RegionFile:
    """The regions of one key, opened for reading and appending; works without a file as well.

    Other processes may append, or begin the file anew, at any time: each use reads what is there
    now (a mapping would end us where the file has become shorter), and verifies it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.index: dict[bytes, dict[int, Kept]] = {}
        self.is_damaged = False
        self.used: dict[tuple[bytes, int], Kept] = {}
        self._keeps = True
        self._file = self._open()
        if self._file >= 0:
            self._scan()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, 0o600)
        except OSError:
            return -1
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022:
            if stat.S_ISREG(status.st_mode):
                return fd
        os.close(fd)
        return -1

    def _scan(self) -> None:
        """Note where each record is."""
        data = self._read(0, os.fstat(self._file).st_size)
        at, end = 0, len(data)
        while at + HEADER.size <= end:
            magic, digest, entry, count, size, length, check = HEADER.unpack_from(data, at)
            fits = HEADER.size + size <= length <= LARGEST and at + length <= end
            if magic != MAGIC or not fits or entry & 1 or entry >= PAGE or count >= PAGE:
                break
            self.index.setdefault(digest, {})[entry] = Kept(
                entry, count, at + HEADER.size, size, check
            )
            at += length
        self.is_damaged = at != end

    def _read(self, at: int, size: int) -> bytes:
        try:
            return os.pread(self._file, size, at)
        except OSError:
            return b""

    def look_again(self) -> None:
        """Have `regions` tell of everything once more, and of what others have added."""
        self.index.clear()
        if self._file >= 0:
            self._scan()

    def regions(self, digest: bytes) -> list[tuple[int, int, bytes]]:
        """What is kept of a page: entry, instructions and code of each region; verified here."""
        found: list[tuple[int, int, bytes]] = []
        for kept in self.index.pop(digest, {}).values():
            code = self._read(kept.at, kept.size)
            if check(digest, kept.entry, kept.instructions, code) == kept.check:
                found.append((kept.entry, kept.instructions, code))
                self.used[digest, kept.entry] = kept
            else:
                self.is_damaged = True
        return found

    def keep(self, digest: bytes, entry: int, instructions: int, code: bytes) -> None:
        """Append a region; one that cannot be is not."""
        record = pack(digest, entry, instructions, code)
        if self._file < 0 or not self._keeps or len(record) > LARGEST:
            return
        try:
            if not self._lock():
                return
            try:
                size = os.fstat(self._file).st_size
                if self.is_damaged or size + len(record) > LIMIT:
                    record = self._in_use() + record
                    os.ftruncate(self._file, 0)
                    self.is_damaged = False
                os.write(self._file, record)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError:
            return

    def _lock(self) -> bool:
        """Lock out other writers; False, from now on, if one of them does not end.

        It may have been stopped (SIGSTOP), and our caller has a guest that waits.
        """
        for _ in range(TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.001)
            else:
                return True
        self._keeps = False
        return False

    def _in_use(self) -> bytes:
        """The records that this process has used, as long as they are half of the limit at most."""
        records: list[bytes] = []
        for (digest, entry), kept in self.used.items():
            code = self._read(kept.at, kept.size)
            if check(digest, entry, kept.instructions, code) == kept.check:
                records.append(pack(digest, entry, kept.instructions, code))
        self.used.clear()
        whole = b"".join(records)
        return whole if len(whole) <= LIMIT // 2 else b""


def check(digest: bytes, entry: int, instructions: int, code: bytes) -> int:
    """The checksum of a record."""
    return zlib.crc32(code, zlib.crc32(digest + struct.pack("<HH", entry, instructions)))


def pack(digest: bytes, entry: int, instructions: int, code: bytes) -> bytes:
    """A region as a record."""
    length = -(-(HEADER.size + len(code)) // ALIGN) * ALIGN
    sum_ = check(digest, entry, instructions, code)
    header = HEADER.pack(MAGIC, digest, entry, instructions, len(code), length, sum_)
    return (header + code).ljust(length, b"\0")
