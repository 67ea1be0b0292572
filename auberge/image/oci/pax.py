"""Extended headers of the pax format (POSIX.1-2017, pax, "pax Extended Header"), and GNU's."""

from collections.abc import Callable
from typing import NamedTuple

from auberge.image.oci.entry import XATTR, Extents, keeps

SECOND = 1_000_000_000
EARLIEST, LATEST = -(1 << 31) * SECOND, ((1 << 34) - 1) * SECOND
"""What ext4 can say; utimensat(2) clamps too."""


class Overrides(NamedTuple):
    """What extended headers say instead of the header itself."""

    name: str | None = None
    link: str | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    xattrs: dict[str, bytes] = {}
    real_size: int | None = None
    """Of a sparse file."""
    extents: Extents | None = None
    map_in_data: bool = False
    """GNU's sparse format 1.0: the data begins with the map."""


def records(data: bytes) -> list[tuple[str, bytes]]:
    """The records of a header, in order; ValueError if they are not well formed."""
    found: list[tuple[str, bytes]] = []
    at = 0
    while at < len(data):
        space = data.index(b" ", at, at + 20)
        end = at + decimal(data[at:space])
        if end <= space or end > len(data) or data[end - 1 : end] != b"\n":
            raise ValueError("a record's length is wrong")
        keyword, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise ValueError("a record has no value")
        found.append((text(keyword), value))
        at = end
    return found


def read(data: bytes, before: Overrides) -> Overrides:
    """What an extended header changes; ValueError if it makes no sense."""
    found = before
    sparse: dict[str, int] = {}
    bounds: list[int] = []
    xattrs = dict(before.xattrs)
    for keyword, value in records(data):
        match keyword:
            case "path" | "GNU.sparse.name":
                # the sparse name is the file's, whichever record comes first
                if keyword != "path" or "named" not in sparse:
                    found = found._replace(name=text(value))
                if keyword != "path":
                    sparse["named"] = 1
            case "linkpath":
                found = found._replace(link=text(value))
            case "size":
                found = found._replace(size=decimal(value))
            case "uid":
                found = found._replace(uid=decimal(value))
            case "gid":
                found = found._replace(gid=decimal(value))
            case "mtime":
                found = found._replace(mtime=nanoseconds(value))
            case "GNU.sparse.realsize" | "GNU.sparse.size":
                found = found._replace(real_size=decimal(value))
            case "GNU.sparse.major" | "GNU.sparse.minor":
                sparse[keyword] = decimal(value)
            case "GNU.sparse.offset" | "GNU.sparse.numbytes":
                bounds.append(decimal(value))
            case "GNU.sparse.map":
                bounds += [decimal(number) for number in value.split(b",") if value]
            case _ if keyword.startswith(XATTR):
                name = keyword.removeprefix(XATTR)
                if keeps(name):
                    xattrs[name] = value
    version = sparse.get("GNU.sparse.major"), sparse.get("GNU.sparse.minor")
    if version == (1, 0):
        found = found._replace(map_in_data=True)
    elif found.real_size is not None:
        found = found._replace(extents=extents(bounds))
    return found._replace(xattrs=xattrs)


def extents(bounds: list[int]) -> Extents:
    """Pairs of offset and length out of a flat list; ValueError if one is half."""
    if len(bounds) % 2:
        raise ValueError("half an extent")
    return tuple(zip(bounds[::2], bounds[1::2], strict=True))


def read_map(read: Callable[[int], bytes], left: int) -> tuple[Extents, int]:
    """A map before the data of a sparse file, and how many bytes it took.

    Lines of decimal numbers, the first their count, in whole blocks of 512 bytes.
    """
    numbers: list[int] = []
    rest = b""
    taken = 0
    wanted = 1
    while len(numbers) < wanted:
        if left - taken < 512:
            raise ValueError("a sparse file's map is cut off")
        block = read(512)
        taken += 512
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > 1024:
            raise ValueError("a sparse file's map is none")
        for line in lines:
            if len(numbers) == wanted:
                break
            numbers.append(decimal(line))
            if len(numbers) == 1:
                wanted = 1 + 2 * numbers[0]
                # each takes at least four bytes
                if 4 * numbers[0] > left:
                    raise ValueError("a sparse file's map is longer than its data")
    return extents(numbers[1:]), taken


def decimal(data: bytes) -> int:
    """A whole number in decimal digits and nothing else; ValueError otherwise."""
    if not data.isdigit() or len(data) > 20:
        raise ValueError("not a number")
    return int(data)


def nanoseconds(data: bytes) -> int:
    """A time as pax has it, to the nanosecond, as near as file systems come to it."""
    whole, _, part = data.removeprefix(b"-").partition(b".")
    if part and not part.isdigit():
        raise ValueError("not a time")
    time = decimal(whole) * SECOND + int(part[:9].ljust(9, b"0"))
    return clamp(-time if data.startswith(b"-") else time)


def clamp(time: int) -> int:
    """The nearest time that a file can have."""
    return max(EARLIEST, min(time, LATEST))


def text(data: bytes) -> str:
    """A name as Python hands it to the kernel: any bytes but NUL."""
    if b"\0" in data:
        raise ValueError("a name with NUL in it")
    return data.decode("utf-8", "surrogateescape")
