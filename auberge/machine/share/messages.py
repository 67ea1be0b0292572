"""Messages of 9P2000.L: their numbers, and fields read with checked lengths.

Sources: intro(9P) of Plan 9; diod's protocol.md, which describes 9P2000.L; include/net/9p/9p.h of
Linux. Error numbers are Linux's on every host.
"""

import os
from errno import EINVAL, ENAMETOOLONG
from struct import Struct, error
from typing import NamedTuple

TSTATFS = 8
TLOPEN = 12
TLCREATE = 14
TSYMLINK = 16
TMKNOD = 18
TRENAME = 20
TREADLINK = 22
TGETATTR = 24
TSETATTR = 26
TXATTRWALK = 30
TXATTRCREATE = 32
TREADDIR = 40
TFSYNC = 50
TLOCK = 52
TGETLOCK = 54
TLINK = 70
TMKDIR = 72
TRENAMEAT = 74
TUNLINKAT = 76
TVERSION = 100
TAUTH = 102
TATTACH = 104
TFLUSH = 108
TWALK = 110
TREAD = 116
TWRITE = 118
TCLUNK = 120
TREMOVE = 122

RLERROR = 7
"""The answer to what failed; that to any other message is its own number and one."""

NOTAG = 0xFFFF
NOFID = 0xFFFF_FFFF

HEADER = Struct("<IBH")  # size, type, tag
U16 = Struct("<H")
U32 = Struct("<I")
QID = Struct("<BIQ")  # type, version, path
READ = Struct("<IQI")  # fid, offset, count; of Tread, Treaddir and the start of Twrite

LONGEST_NAME = 255  # NAME_MAX of Linux
_LONGEST_TEXT = 4096


def refused(number: int) -> OSError:
    """An error for the guest, as the host's kernel would say it."""
    return OSError(number, os.strerror(number))


class Qid(NamedTuple):
    """A file as the protocol tells them apart."""

    type: int
    version: int
    path: int


class Fields:
    """The fields of one message, taken one after the other; OSError(EINVAL) where they end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, struct: Struct) -> tuple[int, ...]:
        """Fields of fixed sizes."""
        try:
            values = struct.unpack_from(self._data, self._at)
        except error:
            raise OSError(EINVAL, "the message ends too early") from None
        self._at += struct.size
        return values

    def text(self) -> bytes:
        """A string: two bytes of length, then so many."""
        (size,) = self.take(U16)
        at = self._at
        if at + size > len(self._data):
            raise OSError(EINVAL, "a string beyond the end")
        if size > _LONGEST_TEXT:
            raise OSError(ENAMETOOLONG, "a string longer than any path")
        self._at = at + size
        return self._data[at : at + size]

    def path(self) -> bytes:
        """A string that the kernel can take: without a NUL in it."""
        text = self.text()
        if b"\0" in text:
            raise OSError(EINVAL, "a NUL in a path")
        return text

    def name(self) -> bytes:
        """The name of one file in a directory; nothing that leads elsewhere."""
        name = self.path()
        if len(name) > LONGEST_NAME:
            raise OSError(ENAMETOOLONG, "a name longer than any")
        if name in (b"", b".", b"..") or b"/" in name:
            raise OSError(EINVAL, "not the name of a file in a directory")
        return name
