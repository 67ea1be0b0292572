"""What Linux tells of directories and file systems that Python's `os` does not."""

import ctypes
import os
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

_PROC_SUPER_MAGIC = 0x9FA0  # statfs(2)
_STATFS_SIZE = 256  # more than struct statfs has on any architecture; f_type is its first word
_DIRENT = Struct("<QqHB")  # getdents(2): d_ino, d_off, d_reclen, d_type


class Entry(NamedTuple):
    """An entry of a directory; `offset` is where the one after it is, `type` one of DT_*."""

    inode: int
    offset: int
    type: int
    name: bytes


class Reader:
    """Reads directories in pieces of at most `size` bytes, whatever their own size."""

    __slots__ = ("_buffer", "_libc")

    def __init__(self, size: int) -> None:
        self._buffer = ctypes.create_string_buffer(size)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def read(self, directory: int, offset: int, size: int) -> Iterator[Entry]:
        """Some of the entries from `offset` on, 0 or one that was told; none at the end."""
        os.lseek(directory, offset, os.SEEK_SET)
        buffer = self._buffer
        most = ctypes.c_size_t(min(size, len(buffer)))
        filled: int = self._libc.getdents64(directory, buffer, most)
        if filled < 0:
            raise OSError(ctypes.get_errno(), "getdents64")
        return _entries(ctypes.string_at(buffer, filled))


def is_proc(descriptor: int) -> bool:
    """Whether a file is on proc(5), among whose files is the memory of processes, ours too."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(descriptor, buffer):
        raise OSError(ctypes.get_errno(), "fstatfs")
    return ctypes.c_long.from_buffer(buffer).value == _PROC_SUPER_MAGIC


def _entries(data: bytes) -> Iterator[Entry]:
    at = 0
    while at < len(data):
        inode, offset, size, kind = _DIRENT.unpack_from(data, at)
        name = data[at + _DIRENT.size : data.index(b"\0", at + _DIRENT.size)]
        yield Entry(inode, offset, kind, name)
        at += size
