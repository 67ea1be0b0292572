"""What is in the folder of generated code; how it gets there whole, and how it stays bounded.

Each key (`cache.key`) has files of its own, and a key lasts no longer than the source it is made
from. So those of other keys go, the one that was used longest ago first. Whoever has one open goes
on with it, and nothing is wrong if two do this at once.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import NamedTuple

# What names begin with, before the key; the last is where the regions are in their file.
INTERPRETER, REGIONS, PLACES = "interpreter", "regions", "places"
ROOM = 192 << 20  # bytes of files of other keys; with ours, all are 256 MiB at most
HALF_DONE = 3600  # seconds after which a file without such a name was left behind by a crash


class File(NamedTuple):
    """A file: its kind and key, if it has a name as KIND-KEY; bytes, and when it was used last."""

    name: str
    kind: str
    key: str
    size: int
    used: float


def files(where: str) -> list[File]:
    """The files of a folder, those first that were used last."""
    found = []
    for entry in os.scandir(where):
        with suppress(FileNotFoundError):  # removed meanwhile
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                continue
            kind, _, key = entry.name.partition("-")
            found.append(
                File(entry.name, kind if key else "", key, status.st_size, status.st_mtime)
            )
    return sorted(found, key=lambda file: (-file.used, file.name))


def tidy(where: str, ours: str, room: int = ROOM) -> None:
    """Remove files of keys other than `ours` that are more than `room`; and what was left behind.

    What cannot be removed stays.
    """
    now = time.time()
    try:
        found = files(where)
    except OSError:
        return
    for file in found:
        if file.key == ours:
            continue
        room -= file.size
        if room < 0 or not file.kind and now - file.used > HALF_DONE:
            with suppress(OSError):
                os.unlink(os.path.join(where, file.name))


def read_ours(path: str, largest: int) -> bytes | None:
    """What the file holds, if there is one that nobody but this user could have written.

    Of a larger one than `largest` bytes, the beginning; of one that cannot be read, nothing.
    """
    try:
        # Whatever is there: a pipe must not make us wait.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        ours = status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if not ours or not stat.S_ISREG(status.st_mode):
            return None
        with suppress(OSError):
            os.utime(fd)  # when it was used last
        with open(fd, "rb", closefd=False) as file:
            return file.read(largest)
    except OSError:  # of a disk that fails
        return None
    finally:
        os.close(fd)


def put(path: str, data: bytes) -> None:
    """Write it beside and rename, so that nobody ever sees half of it. Raises OSError."""
    import tempfile

    fd, beside = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(beside, path)
    except OSError:
        with suppress(OSError):  # someone else has tidied up
            os.unlink(beside)
        raise
