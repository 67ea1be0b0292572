"""Memory for pages of records, in which what the guest never executes costs none.

All records of a page begin as undecoded. So each 4 KiB of them is a private mapping of the same
file of that length: nothing has to be filled in, the kernel makes a copy where something is
decoded, and what is dropped is as before (madvise(2)). Of that length, since the kernel would map,
and count as resident, what else the file has around the place of a fault.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import threading
from contextlib import suppress

from auberge.engine.records import PAGE_OF_RECORDS, RECORD, RECORDS_OF_CODE
from auberge.memory.ram import PAGE, PRIVATE
from auberge.refusal import Refusal

PARTS = 8  # of the pool: one of them is taken, or dropped, at a time
MAPPINGS = 40_000  # at most that all pools of a process have; Linux allows 65,530 (sysctl/vm)
FEW = 512  # pages of a pool for which there are no mappings left; its user fills them in
FIXED = 0x10  # MAP_FIXED of mmap(2)
PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE
NO_ROOM = (
    "the host: it gives no memory for decoded code; close other machines of this process, or raise "
    "vm.max_map_count"
)

_lock = threading.Lock()
_taken = 0  # mappings


class Pool:
    """Room for so many pages of records; `is_blank` says whether their records are undecoded.

    If they are not, there are fewer pages, and all of each has to be filled in.
    """

    def __init__(self, pages: int, undecoded: int) -> None:
        self._blank, self._mappings = -1, 0
        wanted = pages * (RECORDS_OF_CODE // PAGE + 1)  # what is between them is one too
        self.is_blank = _take(wanted)
        if self.is_blank:
            self._mappings = wanted
            with suppress(OSError):  # too many open files: as without mappings
                self._blank = os.memfd_create("auberge-records", os.MFD_CLOEXEC)
            self.is_blank = self._blank >= 0
        if self.is_blank:
            os.pwrite(self._blank, struct.pack("<QQ", undecoded, 0) * (PAGE // RECORD), 0)
        else:
            pages = min(pages, FEW)
        self._room = mmap.mmap(-1, (pages + 1) * PAGE_OF_RECORDS, PRIVATE)
        self._pin = ctypes.c_char.from_buffer(self._room)
        self.start = -(-ctypes.addressof(self._pin) // PAGE_OF_RECORDS) * PAGE_OF_RECORDS
        self.end = self.start + pages * PAGE_OF_RECORDS
        self._part = max(1, pages // PARTS) * PAGE_OF_RECORDS
        self._at = self._mapped = self.start  # what comes next; as far as was ever taken
        libc = ctypes.CDLL(None, use_errno=True)
        self._mmap, self._madvise = libc.mmap, libc.madvise
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = (
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
            ctypes.c_long,
        )  # fmt: skip
        self._madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def __del__(self) -> None:
        _take(-self._mappings)
        if self._blank >= 0:
            os.close(self._blank)

    def first(self) -> tuple[int, int]:
        """Begin anew: from where to where pages may be taken."""
        self._at = self.start
        return self.next()[:2]

    def next(self) -> tuple[int, int, bool]:
        """From where to where pages may be taken next, and whether they were taken before.

        Where the host gives no more memory, the pool ends, from then on. Raises Refusal if there is
        none at all.
        """
        start = self._at if self._at < self.end else self.start
        self._at = end = min(start + self._part, self.end)
        if end <= self._mapped:
            return start, end, True
        if self.is_blank:
            for page in range(start, end, PAGE_OF_RECORDS):
                if not self._map(page):
                    self.end = self._at = self._mapped = page
                    if page == self.start:
                        raise Refusal(NO_ROOM)
                    return (start, page, False) if start < page else self.next()
        self._mapped = end
        return start, end, False

    def _map(self, page: int) -> bool:
        """Have a page's records be undecoded; whether the host does that."""
        flags = mmap.MAP_PRIVATE | FIXED
        return all(
            self._mmap(at, PAGE, PROTECTION, flags, self._blank, 0) == at
            for at in range(page, page + RECORDS_OF_CODE, PAGE)
        )

    def clear(self, start: int, end: int) -> None:
        """Have the pages from one to another as they were at first. Raises Refusal."""
        end = min(end, self._mapped)
        if start >= end or not self._madvise(start, end - start, mmap.MADV_DONTNEED):
            return
        # Memory that is locked (mlockall(2)) is not given back: it is mapped anew.
        if self.is_blank and not all(map(self._map, range(start, end, PAGE_OF_RECORDS))):
            raise Refusal(NO_ROOM)


def _take(mappings: int) -> bool:
    """Take so many of those that the process may have, or give them back; whether there were."""
    global _taken
    with _lock:
        if _taken + mappings > MAPPINGS:
            return False
        _taken += mappings
        return True
