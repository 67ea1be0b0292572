"""Bytes of the host: a file or block device that is read and written at offsets, in place."""

import ctypes
import os
from collections.abc import Iterator, Sequence
from errno import EIO, ENOSYS, EOPNOTSUPP

# fallocate(2)
_KEEP_SIZE = 1
_PUNCH_HOLE = 2

_ZEROES = bytes(0x10000)


class HostFile:
    """An open file descriptor as a disk of `size` bytes; every method may raise OSError.

    The caller keeps to `size`. The descriptor, and whatever lock it holds, belongs to this object.
    `path` is what errors name.
    """

    __slots__ = ("fd", "path", "size", "read_only", "_lost")

    def __init__(self, fd: int, path: str, size: int, read_only: bool) -> None:
        self.fd = fd
        self.path = path
        self.size = size
        self.read_only = read_only
        self._lost: OSError | None = None

    def readv(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill `views`, one after the other, with what is at `offset`."""
        left = sum(view.nbytes for view in views)
        while left:
            try:
                done = os.preadv(self.fd, views, offset)
            except OSError as error:
                error.filename = self.path
                raise
            if done == left:
                return
            if done == 0:
                raise OSError(EIO, "the file is shorter than it was", self.path)
            views = list(pieces(views, done, left - done))
            offset += done
            left -= done

    def writev(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write `views`, one after the other, at `offset`."""
        left = sum(view.nbytes for view in views)
        while left:
            try:
                done = os.pwritev(self.fd, views, offset)
            except OSError as error:
                error.filename = self.path
                raise
            if done == left:
                return
            views = list(pieces(views, done, left - done))
            offset += done
            left -= done

    def flush(self) -> None:
        """Return when what was written survives a loss of power; fail for ever if it may not."""
        if self._lost is not None:
            # After a failed fsync(2) Linux may call the lost pages clean, and the next one
            # succeeds.
            raise self._lost
        try:
            os.fdatasync(self.fd)
        except OSError as error:
            error.filename = self.path
            self._lost = error
            raise

    def discard(self, offset: int, size: int) -> None:
        """Give the bytes back to the host; what they read as from now on is not said."""
        self._punch(offset, size)

    def zero(self, offset: int, size: int) -> None:
        """Make the bytes read as zero, without taking room for them where the host can."""
        if self._punch(offset, size):
            return
        for start in range(0, size, len(_ZEROES)):
            self.writev(offset + start, [memoryview(_ZEROES)[: size - start]])

    def reserve(self, offset: int, size: int) -> None:
        """Have the host set room aside for these bytes, which stay as they are."""
        try:
            os.posix_fallocate(self.fd, offset, size)
        except OSError as error:
            if error.errno == EOPNOTSUPP:  # not every C library makes do without the host's help
                return
            error.filename = self.path
            raise

    def close(self) -> None:
        os.close(self.fd)

    def _punch(self, offset: int, size: int) -> bool:
        """Make a hole; False if this host's file system has none."""
        libc = ctypes.CDLL(None, use_errno=True)
        place = ctypes.c_int64(offset), ctypes.c_int64(size)
        if libc.fallocate(self.fd, _PUNCH_HOLE | _KEEP_SIZE, *place) == 0:
            return True
        error = ctypes.get_errno()
        if error in (EOPNOTSUPP, ENOSYS):
            return False
        raise OSError(error, os.strerror(error), self.path)


def pieces(views: Sequence[memoryview], start: int, size: int) -> Iterator[memoryview]:
    """The part of `views`, seen as one, that begins at `start` and has `size` bytes."""
    for view in views:
        if start >= view.nbytes:
            start -= view.nbytes
            continue
        piece = view[start : start + size]
        yield piece
        size -= piece.nbytes
        start = 0
        if not size:
            return
