"""Regions kept on disk: what was compiled once is there at the next start, without a compiler.

One file for each key (`cache.key`), to which records (`region_record`) are appended. One whose
checksum is wrong is ignored, and what follows a damaged one is not looked at. A file that is full,
or damaged, is replaced as a whole by another with what of it is worth keeping; who reads the old
one, goes on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from auberge.engine.code_folder import PLACES, put, tidy
from auberge.engine.region_index import RegionIndex, kept_in
from auberge.engine.region_record import (
    LARGEST,
    PLACE,
    Region,
    pack,
    records,
    unpack,
    worth_keeping,
)

LIMIT = 64 << 20  # bytes of a file; beyond it, it is replaced by one that is half as large at most
TRIES = 200  # milliseconds for another process to have written
WORTH_NOTING = 1 << 20  # bytes of a file that would have to be read through at the next start
MOVES = 10  # files that took each other's place while we tried to lock one


class RegionFile:
    """The regions of one key, opened for reading and appending; works without a file as well.

    With `create` false, nothing is made where there is no file. One that cannot be written is read.
    Used after a fork it opens the file anew, since a lock would be parent's and child's at once.

    Other processes may append, or replace the file, at any time; whoever may write to it at all may
    also damage it: each use reads what is there now (a mapping would end us where the file has
    become shorter), and verifies it.
    """

    def __init__(self, path: str, create: bool = True) -> None:
        self.path = path
        self._flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._flags |= os.O_CREAT if create else 0
        self._folder, name = os.path.split(path)
        self._key = name.partition("-")[2]
        self._beside = os.path.join(self._folder, f"{PLACES}-{self._key}")
        self._index = RegionIndex()
        self._told: dict[bytes, int] = {}  # bytes of a page's places that `regions` told of
        self.used: set[tuple[bytes, int]] = set()  # by this process: told of, or compiled
        self.is_damaged = False
        self._keeps, self._is_writable, self._has_tidied = True, False, False
        self._file, self._owner = -1, os.getpid()
        self._file = self._open()
        if self._file >= 0:
            with suppress(OSError):
                os.utime(self._file)  # when it was used last
            self._index.load(self._beside, self._file)
            self._scan()
            if self._index.end - self._index.noted > WORTH_NOTING:
                self.note()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._file >= 0:
            close(self._file)  # handed in: at the end of Python, modules may be gone

    def close(self) -> None:
        """Keep nothing more, and find nothing more; what was told of stays."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _disown(self) -> None:
        """In a forked child: what is open is our parent's too, and so would be its lock."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            if self._file >= 0:
                os.close(self._file)
                self._file = self._open()
                self._begin_anew()

    def _open(self) -> int:
        self._is_writable = True
        try:
            fd = os.open(self.path, self._flags, 0o600)
        except OSError:
            self._is_writable = False
            try:
                fd = os.open(self.path, os.O_RDONLY | self._flags & ~(os.O_RDWR | os.O_CREAT))
            except OSError:
                return -1
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022:
            if stat.S_ISREG(status.st_mode):
                return fd
        os.close(fd)
        return -1

    def _scan(self) -> set[bytes]:
        """Note where each record is, of those that were not there before; their pages' digests."""
        index, found = self._index, set[bytes]()
        base, size = index.end, os.fstat(self._file).st_size
        if size < base:
            index.end, self.is_damaged = size, True  # it was cut
            return found
        for record in records(self._read(base, size - base), base):
            index.add(record.digest, record.kept)
            index.last, index.end = base + record.start, base + record.end
            found.add(record.digest)
        return found

    def note(self) -> None:
        """Spare the next start the reading of what is here."""
        if self._file >= 0 and self._is_writable and self._index.end > self._index.noted:
            with suppress(OSError):
                self._index.save(self._beside, self._file)

    def _read(self, at: int, size: int) -> bytes:
        try:
            return os.pread(self._file, size, at)
        except OSError:
            return b""

    def look_again(self) -> None:
        """Have `regions` tell of everything once more, and of what others have added."""
        self._told.clear()
        if self._file >= 0:
            self._scan()

    def _begin_anew(self) -> None:
        """With another file."""
        self._index, self.is_damaged = RegionIndex(), False
        self.look_again()

    def news(self) -> list[bytes]:
        """The digests of pages that others have added regions of, since we looked."""
        self._disown()
        if self._file < 0 or os.fstat(self._file).st_size <= self._index.end:
            return []
        return sorted(self._scan())

    def has(self, digest: bytes) -> bool:
        """Whether there are regions of a page that `regions` did not tell of yet."""
        return len(self._index.places.get(digest, b"")) > self._told.get(digest, 0)

    def level(self, digest: bytes, entry: int) -> int:
        """At which level the region of an entry has been compiled; 0: it is not here."""
        return self._index.level(digest, entry)

    def regions(self, digest: bytes) -> list[Region]:
        """The regions that are kept of a page, verified, and that we did not tell of yet."""
        self._disown()
        places = self._index.places.get(digest, b"")
        begin, self._told[digest] = self._told.get(digest, 0), len(places)
        newest = {kept.entry: kept for kept in kept_in(places[begin:])}
        found: list[Region] = []
        for kept in newest.values():
            region = unpack(digest, kept, self._read(kept.at, min(kept.length, LARGEST)))
            if region is None:
                self.is_damaged = True
            else:
                found.append(region)
                self.used.add((digest, kept.entry))
        return found

    def keep(self, digest: bytes, region: Region) -> None:
        """Append a region that nobody has at this level; one that cannot be is not."""
        self._disown()
        entry, level = region.entry, region.level
        record = pack(digest, region)
        if not self.keeps or len(record) > LARGEST:
            return
        try:
            if not self._lock():
                return
            try:
                self._scan()
                size = os.fstat(self._file).st_size
                self.is_damaged |= self._index.end != size  # nobody else is writing now
                self.used.add((digest, entry))
                if self.is_damaged or size + len(record) > LIMIT:
                    self._replace(record)
                elif self.level(digest, entry) < level:
                    if os.write(self._file, record) != len(record):
                        raise OSError(errno.ENOSPC, "half a record")  # for the next process
                    before = len(self._index.places.get(digest, b""))
                    self._scan()
                    if self._told.get(digest, 0) == before:  # our caller has this one
                        self._told[digest] = before + PLACE.size
                    self._tidy()
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError:
            self._keeps = False  # a full disk stays full, and our caller has a guest that waits

    @property
    def keeps(self) -> bool:
        """Whether it takes regions."""
        return self._file >= 0 and self._keeps and self._is_writable

    def _tidy(self) -> None:
        """Once, for those who compile: nobody else adds to the folder."""
        if not self._has_tidied:
            self._has_tidied = True
            tidy(self._folder, self._key)

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
        size = os.fstat(self._file).st_size
        whole = worth_keeping(self._read(0, size), self.used, LIMIT // 2) + record
        put(self.path, whole)
        self._follow()

    def _follow(self) -> bool:
        """Go over to the file that has our name now; whether there is one."""
        other = self._open()
        if other < 0:
            return False
        os.close(self._file)  # which unlocks it
        self._file = other
        self._begin_anew()
        return True


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
