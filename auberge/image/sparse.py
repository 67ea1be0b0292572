"""Files with holes (lseek(2), SEEK_HOLE), as disks that are mostly empty: holes are not read."""

import hashlib
import os
from collections.abc import Iterator

ZEROS = bytes(1 << 20)


def data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where an open file of `size` bytes may have something else than zeros: from, to."""
    at = 0
    while at < size:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            return
        end = os.lseek(descriptor, at, os.SEEK_HOLE)
        yield at, end
        at = end


def copy(source: str, target: str) -> None:
    """Copy a file, but not its holes, and wait until the copy is on the disk."""
    with open(source, "rb") as old, open(target, "wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        for at, end in data(old.fileno(), size):
            while at < end:
                # shares the blocks where the file system can
                at += os.copy_file_range(old.fileno(), new.fileno(), end - at, at, at)
        os.fsync(new.fileno())


def sha256(descriptor: int) -> str:
    """The digest of a file, holes and all."""
    digest = hashlib.sha256()
    size = os.fstat(descriptor).st_size
    done = 0
    for at, end in data(descriptor, size):
        _add_zeros(digest, at - done)
        while at < end:
            piece = os.pread(descriptor, min(end - at, len(ZEROS)), at)
            if not piece:
                break
            digest.update(piece)
            at += len(piece)
        done = at
    _add_zeros(digest, size - done)
    return digest.hexdigest()


def _add_zeros(digest: "hashlib._Hash", count: int) -> None:
    while count > 0:
        digest.update(memoryview(ZEROS)[: min(count, len(ZEROS))])
        count -= len(ZEROS)
