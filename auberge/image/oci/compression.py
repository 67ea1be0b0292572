"""Layers as they are stored: gzip (RFC 1952), zstd (RFC 8878) or plain, and what comes out.

A stream says how much came out of how little, so that a bomb is noticed while it is small.
"""

import hashlib
import sys
import zlib
from typing import Protocol

from auberge.image.oci.digest import Stream
from auberge.image.oci.limits import LIMITS, OTHER, Limits
from auberge.refusal import Refusal

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a frame that is to be skipped (RFC 8878, 3.1.2): zstd:chunked begins so."""

PIECE = 1 << 18


class Decompressor(Protocol):
    """One member or frame, as zlib and zstd have it."""

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What came after its end."""
        ...

    def more(self, data: bytes) -> bytes:
        """What comes out next, at most PIECE bytes; `data` is new input. ValueError if damaged."""
        ...

    @property
    def wants(self) -> bool:
        """Whether nothing comes out before there is new input."""
        ...


class Gzip:
    """A member of a gzip file."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def more(self, data: bytes) -> bytes:
        try:
            out = self._inner.decompress(self._inner.unconsumed_tail + data, PIECE)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        self._full = len(out) == PIECE
        return out

    @property
    def wants(self) -> bool:
        # zlib may hold output back that did not fit, although it has taken all of its input
        return not self._inner.unconsumed_tail and not self._full


class Zstd:
    """A frame of a zstd file."""

    def __init__(self, where: str) -> None:
        try:
            if sys.version_info >= (3, 14):
                from compression.zstd import ZstdDecompressor, ZstdError
            else:
                from backports.zstd import ZstdDecompressor, ZstdError
        except ImportError as missing:
            raise Refusal(
                f"{where}: compressed with zstd; pip install 'auberge[containers]'"
            ) from missing
        self._inner = ZstdDecompressor()
        self._error = ZstdError

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def more(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(data, PIECE)
        except self._error as error:
            raise ValueError(str(error)) from error

    @property
    def wants(self) -> bool:
        return self._inner.needs_input


class Uncompressed:
    """What comes out of a file, whose compression its first bytes say.

    `read` gives exactly as many bytes as are asked for, unless it is the end.
    """

    def __init__(self, file: Stream, where: str, limits: Limits = LIMITS) -> None:
        self._file = file
        self._where = where
        self._limits = limits
        self._digest = hashlib.sha256()
        self._buffer = b""
        self._at = 0
        self.taken = 0
        self.given = 0
        self._start = self._take(4)
        self._kind = self._detect(self._start)
        self._member = self._begin() if self._kind else None

    @property
    def is_compressed(self) -> bool:
        """Whether what comes out is not what is in the file."""
        return self._member is not None

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        pieces: list[bytes] = []
        while size > 0:
            if self._at == len(self._buffer):
                self._buffer, self._at = self._next(), 0
                if not self._buffer:
                    break
            piece = self._buffer[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> str:
        """Read the rest; the digest of all that came out: of a layer, its diff_id (config.md)."""
        while self.read(1 << 20):
            pass
        return f"sha256:{self._digest.hexdigest()}"

    def _next(self) -> bytes:
        """More output, which is none only at the end."""
        out = self._decompressed() if self._member is not None else self._plain()
        self.given += len(out)
        limits = self._limits
        if self.given > limits.size:
            raise Refusal(f"{self._where}: more than {limits.size} bytes come out of it; {OTHER}")
        if self.given > limits.floor and self.given > self.taken * limits.ratio:
            raise Refusal(
                f"{self._where}: {self.given} bytes come out of {self.taken},"
                f" a decompression bomb; {OTHER}"
            )
        self._digest.update(out)
        return out

    def _plain(self) -> bytes:
        out, self._start = self._start or self._take(PIECE), b""
        return out

    def _decompressed(self) -> bytes:
        data, self._start = self._start, b""
        while (member := self._member) is not None:
            if member.eof:
                data = member.unused_data or self._take(PIECE)
                if not data:
                    return b""
                # further members or frames make one file with the first
                data += self._take(4 - len(data)) if len(data) < 4 else b""
                if self._detect(data) != self._kind:
                    raise Refusal(f"{self._where}: something after its compressed data; {OTHER}")
                self._member = member = self._begin()
            if not data and member.wants:
                data = self._take(PIECE)
                if not data:
                    raise Refusal(f"{self._where}: ends in the middle; {OTHER}")
            try:
                out = member.more(data)
            except ValueError as error:
                raise Refusal(f"{self._where}: damaged compressed data; {OTHER}") from error
            data = b""
            if out:
                return out
        return b""

    def _begin(self) -> Decompressor:
        return Gzip() if self._kind == "gzip" else Zstd(self._where)

    def _detect(self, start: bytes) -> str:
        if start.startswith(GZIP):
            return "gzip"
        if start.startswith(ZSTD) or (start[1:4] == SKIPPABLE and start[0] & 0xF0 == 0x50):
            return "zstd"
        return ""

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        self.taken += len(data)
        return data
