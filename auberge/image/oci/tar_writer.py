"""Archives that others read: ustar headers, and pax headers where those do not suffice.

The same members give the same bytes.
"""

from collections.abc import Iterable
from typing import Protocol

from auberge.image.oci.entry import DIRECTORY, FILE, XATTR, Entry, Extents
from auberge.image.oci.pax import SECOND

BLOCK = 512
LARGEST = {8: 0o7777777, 12: 0o77777777777}
"""What fits a field of so many bytes, NUL included."""


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> int:
        """Take all of these bytes."""
        ...


class TarWriter:
    """An archive that is being written."""

    def __init__(self, out: Sink) -> None:
        self._out = out

    def add(self, entry: Entry, data: Iterable[bytes] = ()) -> None:
        """Add a member with its data: of a sparse file, what is in its extents."""
        sparse = b"" if entry.extents is None else sparse_map(entry.extents)
        stored = entry.size
        if entry.extents is not None:
            stored = len(sparse) + sum(length for _, length in entry.extents)
        records = self._records(entry, stored)
        if records:
            self._out.write(header(Entry("PaxHeaders/x", "x"), len(records)))
            self._pad(records)
        name = ascii_bytes(entry.name, 100)
        self._out.write(header(entry._replace(name=name), stored))
        self._out.write(sparse)
        written = len(sparse)
        for piece in data:
            self._out.write(piece)
            written += len(piece)
        if written != stored:
            raise ValueError(f"{entry.name!r}: {written} bytes of {stored}")
        self._out.write(bytes(-stored % BLOCK))

    def file(self, name: str, data: bytes) -> None:
        """Add a plain file of root's."""
        self.add(Entry(name, FILE, size=len(data)), [data])

    def directory(self, name: str) -> None:
        """Add a directory of root's."""
        self.add(Entry(name, DIRECTORY, 0o755))

    def close(self) -> None:
        """End the archive; the stream stays open."""
        self._out.write(bytes(2 * BLOCK))

    def _records(self, entry: Entry, stored: int) -> bytes:
        """The records of what the header cannot say."""
        found: dict[str, bytes] = {}
        sparse = entry.extents is not None
        if sparse:
            found["GNU.sparse.major"] = b"1"
            found["GNU.sparse.minor"] = b"0"
            found["GNU.sparse.name"] = encode(entry.name)
            found["GNU.sparse.realsize"] = b"%d" % entry.size
        for keyword, text in (("path", entry.name), ("linkpath", entry.link)):
            if ascii_bytes(text, 100) != text:
                found[keyword] = encode(text)
        for keyword, value, width in (
            ("size", stored, 12),
            ("uid", entry.uid, 8),
            ("gid", entry.gid, 8),
        ):
            if value > LARGEST[width]:
                found[keyword] = b"%d" % value
        if entry.mtime % SECOND or not 0 <= entry.mtime // SECOND <= LARGEST[12]:
            sign, (whole, part) = "-" * (entry.mtime < 0), divmod(abs(entry.mtime), SECOND)
            found["mtime"] = f"{sign}{whole}.{part:09}".rstrip("0").rstrip(".").encode()
        for name, data in sorted(entry.xattrs.items()):
            found[XATTR + name] = data
        return b"".join(record(keyword, value) for keyword, value in found.items())

    def _pad(self, data: bytes) -> None:
        self._out.write(data + bytes(-len(data) % BLOCK))


def header(entry: Entry, size: int) -> bytes:
    """A ustar header; what does not fit is in a pax header before it."""
    seconds = entry.mtime // SECOND
    parts = (
        encode(entry.name).ljust(100, b"\0"),
        octal(entry.mode, 8),
        octal(entry.uid, 8),
        octal(entry.gid, 8),
        octal(size, 12),
        octal(max(seconds, 0), 12),
        b" " * 8,
        entry.kind.encode(),
        encode(ascii_bytes(entry.link, 100)).ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        octal(0, 8),
        octal(0, 8),
        bytes(167),
    )
    block = b"".join(parts)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def octal(value: int, width: int) -> bytes:
    """A number's field; 0 for what does not fit."""
    return b"%0*o\0" % (width - 1, value if value <= LARGEST[width] else 0)


def record(keyword: str, value: bytes) -> bytes:
    """A record, which begins with its own length."""
    body = b" " + encode(keyword) + b"=" + value + b"\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def sparse_map(extents: Extents) -> bytes:
    """The map in front of the data (GNU tar's sparse format 1.0)."""
    numbers = [len(extents), *(bound for extent in extents for bound in extent)]
    text = "".join(f"{number}\n" for number in numbers).encode()
    return text + bytes(-len(text) % BLOCK)


def encode(text: str) -> bytes:
    """A name as the kernel has it."""
    return text.encode("utf-8", "surrogateescape")


def ascii_bytes(text: str, width: int) -> str:
    """The name if a header can have it, else something like it."""
    return text.encode("ascii", "replace")[:width].decode()
