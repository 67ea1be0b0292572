"""Archives in tar's formats, member by member: ustar, pax, and what GNU tar adds.

Everything a header says is checked, and nothing is kept of a member that is past. Python's tarfile
reads an extended header into memory whatever its size, and may take what it cannot parse for the
end.
"""

import struct
from collections.abc import Iterator

from auberge.image.oci import pax
from auberge.image.oci.digest import Stream
from auberge.image.oci.entry import DIRECTORY, FILE, Entry, Extents
from auberge.image.oci.limits import LIMITS, OTHER, Limits
from auberge.image.oci.pax import Overrides
from auberge.refusal import Refusal

BLOCK = 512
PIECE = 1 << 18
LARGEST_ID = (1 << 32) - 2
"""-1 means "leave it as it is" to chown(2)."""

HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK, SPARSE = "x", "g", "L", "K", "S"
PLAIN = {"\0": FILE, "7": FILE}
"""Old and "contiguous" regular files."""
WITHOUT_DATA = frozenset("123456")
"""Links, nodes, directories: whatever their size says."""


class TarReader:
    """An archive, read once from front to back."""

    def __init__(self, stream: Stream, where: str, limits: Limits = LIMITS) -> None:
        self._stream = stream
        self._where = where
        self._limits = limits
        self._left = 0
        """What of the member's data has not been read, padding included."""
        self._padding = 0
        self._extents: Extents = ()
        self._told = 0
        self.offset = 0
        """Where in the stream its next byte is."""

    def __iter__(self) -> Iterator[Entry]:
        """The members; a member's data is there until the next is asked for."""
        count = 0
        found = Overrides()
        while (header := self._header()) is not None:
            count += 1
            if count > self._limits.entries:
                raise self._refusal(f"more than {self._limits.entries} members")
            try:
                entry = self._understand(header, found)
            except (ValueError, OverflowError) as error:
                raise self._refusal(f"member {count}: {error}") from error
            if isinstance(entry, Overrides):
                found = entry
                continue
            found = Overrides()
            yield entry
            self._skip()
        if found != Overrides():
            raise self._refusal("ends after an extended header")

    def data(self) -> Iterator[tuple[int, bytes]]:
        """The data of the member that is at hand: offset in the file, bytes there."""
        for offset, length in self._extents:
            while length:
                piece = self._take(min(length, PIECE))
                yield offset, piece
                offset += len(piece)
                length -= len(piece)

    def _header(self) -> bytes | None:
        block = self._stream.read(BLOCK)
        self.offset += len(block)
        if not block or block == bytes(BLOCK):
            return None
        if len(block) < BLOCK:
            raise self._refusal("ends in the middle of a header")
        return block

    def _understand(self, block: bytes, found: Overrides) -> Entry | Overrides:
        """A member, or what an extended header says of the next; ValueError if it is nonsense."""
        # "the simple sum of all bytes in the header", its own field taken as spaces
        if checksum(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 32:
            raise ValueError("not a tar header")
        name, mode, uid, gid, size, mtime, _, flag, link, magic, version, *names = HEADER.unpack(
            block
        )
        kind = flag.decode("latin-1")
        length = number(size)
        if kind in (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK):
            return self._extended(kind, length, found)
        prefix = names[4]
        path = until_nul(name)
        if magic + version == b"ustar\x0000" and prefix[0]:
            path = until_nul(prefix) + b"/" + path
        kind = PLAIN.get(kind, kind)
        shown = found.name if found.name is not None else pax.text(path)
        if kind == FILE and shown.endswith("/"):
            # as tar did before there were typeflags
            kind = DIRECTORY
        length = found.size if found.size is not None else length
        if kind in WITHOUT_DATA:
            length = 0
        self._begin(length)
        real, extents = length, found.extents
        if kind == SPARSE:
            kind = FILE
            real, extents = number(block[483:495]), self._old_sparse(block)
        elif found.map_in_data and kind == FILE:
            extents, taken = pax.read_map(self._take, length)
            length -= taken
        if extents is not None:
            real = found.real_size if found.real_size is not None else real
            check_extents(extents, length, real)
        if real > self._limits.size:
            raise ValueError(f"{real} bytes, more than {self._limits.size}")
        self._extents = extents if extents is not None else ((0, real),)
        return Entry(
            shown,
            kind,
            number(mode) & 0o7777,
            identity(found.uid if found.uid is not None else number(uid)),
            identity(found.gid if found.gid is not None else number(gid)),
            real,
            found.mtime if found.mtime is not None else pax.clamp(time(mtime) * pax.SECOND),
            found.link if found.link is not None else pax.text(until_nul(link)),
            found.xattrs,
            extents,
        )

    def _extended(self, kind: str, length: int, found: Overrides) -> Overrides:
        if length > self._limits.header:
            raise ValueError(f"an extended header of {length} bytes")
        self._begin(length)
        data = self._take(length)
        self._skip()
        match kind:
            case "x":
                found = pax.read(data, found)
            case "L":
                found = found._replace(name=pax.text(until_nul(data)))
            case "K":
                found = found._replace(link=pax.text(until_nul(data)))
            case _:
                # global headers are comments to everybody who reads layers
                return found
        self._told += len(found.name or "") + len(found.link or "")
        self._told += sum(map(len, found.xattrs.values()))
        if self._told > self._limits.told:
            raise ValueError(f"names and attributes have more than {self._limits.told} bytes")
        return found

    def _old_sparse(self, block: bytes) -> Extents:
        """The map of GNU's old format: in the header, and in blocks that follow it."""
        bounds = sparse_table(block[386:482])
        extended = block[482]
        while extended:
            more = self._stream.read(BLOCK)
            self.offset += len(more)
            if len(more) < BLOCK:
                raise self._refusal("ends in the middle of a header")
            bounds += sparse_table(more[:504])
            extended = more[504]
            if len(bounds) * 12 > self._limits.header:
                raise ValueError("a sparse file's map is too long")
        return pax.extents(bounds)

    def _begin(self, length: int) -> None:
        self._left = length
        self._padding = -length % BLOCK

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.offset += len(data)
        if len(data) < size:
            raise self._refusal("ends in the middle of a member")
        self._left -= size
        return data

    def _skip(self) -> None:
        while self._left:
            self._take(min(self._left, PIECE))
        if self._padding:
            # an archive may end without its last padding
            self.offset += len(self._stream.read(self._padding))
            self._padding = 0

    def _refusal(self, why: str) -> Refusal:
        return Refusal(f"{self._where}: {why}; {OTHER}")


def number(field: bytes) -> int:
    """A number in a header: octal digits, or GNU's base-256 of larger ones; never negative."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise ValueError("a negative number")
        return int.from_bytes(bytes((field[0] & 0x3F,)) + field[1:])
    digits = until_nul(field).strip(b" ")
    if digits.strip(b"01234567"):
        raise ValueError("not an octal number")
    return int(digits, 8) if digits else 0


def checksum(field: bytes) -> int:
    """What a header says its sum is; -1 if that is no number."""
    digits = until_nul(field).strip(b" ")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else -1


def time(field: bytes) -> int:
    """Seconds since 1970; GNU tar has negative ones in two's complement."""
    if field[0] == 0xFF:
        return int.from_bytes(field, signed=True)
    return number(field)


def identity(value: int) -> int:
    """A user or group, as the kernel has them."""
    if value > LARGEST_ID:
        raise ValueError(f"no owner can be {value}")
    return value


def sparse_table(data: bytes) -> list[int]:
    """Offsets and lengths in turn, up to the first that is not used."""
    fields = [data[at : at + 12] for at in range(0, len(data), 12)]
    used = next((at for at in range(0, len(fields), 2) if not fields[at][0]), len(fields))
    return [number(field) for field in fields[:used]]


def check_extents(extents: Extents, stored: int, size: int) -> None:
    """ValueError unless extents are in order, within the file, and all that is stored."""
    end = 0
    for offset, length in extents:
        if offset < end or offset + length > size:
            raise ValueError("a sparse file's map is out of order")
        end = offset + length
    if sum(length for _, length in extents) != stored:
        raise ValueError("a sparse file's map is not of its data")


def until_nul(field: bytes) -> bytes:
    """A string in a field, which NUL ends early."""
    return field.split(b"\0", 1)[0]
