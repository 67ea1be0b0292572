"""A member of a layer: a file system object, as tar has it (pax(1), "ustar" and "pax" formats)."""

from typing import NamedTuple

FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
"""The typeflags of POSIX."""

XATTR = "SCHILY.xattr."
"""The prefix under which everybody keeps extended attributes in pax headers."""

CAPABILITY = "security.capability"
OVERLAY = "user.overlay."
"""What overlayfs tells itself (Documentation/filesystems/overlayfs.rst, "userxattr")."""

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
"""How a layer says what is not there any more (image-spec 1.1, layer.md, "Whiteouts")."""

Extents = tuple[tuple[int, int], ...]
"""Where a sparse file has data: offset and length, ascending."""


class Entry(NamedTuple):
    """A member, without its data."""

    name: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    """Of the file, holes and all."""
    mtime: int = 0
    """Nanoseconds since 1970."""
    link: str = ""
    xattrs: dict[str, bytes] = {}
    extents: Extents | None = None
    """None when all of the file is data."""


def keeps(xattr: str) -> bool:
    """Whether an extended attribute belongs to an image, as its peers see it.

    Labels of security modules are the host's, and overlayfs believes what its own say.
    """
    return xattr == CAPABILITY or (xattr.startswith("user.") and not xattr.startswith(OVERLAY))
