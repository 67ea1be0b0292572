"""The "newc" archive an initramfs is made of.

Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
"""

from typing import BinaryIO

MAGIC = b"070701"
TRAILER = "TRAILER!!!"

S_IFCHR = 0o020000
S_IFDIR = 0o040000
S_IFREG = 0o100000
S_IFLNK = 0o120000


class Cpio:
    """Write one initramfs: owned by root, dated 1970, the same bytes for the same calls.

    Names are relative paths whose directories were written before; anything else raises ValueError,
    because the kernel would drop such an entry without a word.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._kinds: dict[str, int] = {"": S_IFDIR}

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory; what is in it comes later."""
        self._entry(name, S_IFDIR, mode, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._entry(name, S_IFREG, mode, data)

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link, which may point at anything or nothing."""
        if not target or "\0" in target:
            raise ValueError(f"{name}: {target!r} cannot be the target of a symbolic link")
        self._entry(name, S_IFLNK, 0o777, target.encode())

    def character_device(self, name: str, mode: int, major: int, minor: int) -> None:
        """Add the node of a character device."""
        self._entry(name, S_IFCHR, mode, b"", (major, minor))

    def close(self) -> None:
        """End the archive; the stream stays open."""
        self._header(TRAILER, 0, 0, 1, 0, (0, 0))

    def _entry(
        self, name: str, kind: int, mode: int, data: bytes, device: tuple[int, int] = (0, 0)
    ) -> None:
        if mode & ~0o7777:
            raise ValueError(f"{name}: mode {mode:#o} has bits other than permissions")
        if name in self._kinds or name == TRAILER:
            raise ValueError(f"{name!r} is in the archive already")
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"{name!r} is not a plain relative path")
        if self._kinds.get("/".join(parts[:-1])) != S_IFDIR:
            raise ValueError(f"{name!r} comes before its directory")
        self._kinds[name] = kind
        links = 2 if kind == S_IFDIR else 1
        self._header(name, len(self._kinds), kind | mode, links, len(data), device)
        self._out.write(data + bytes(-len(data) % 4))

    def _header(
        self, name: str, inode: int, mode: int, links: int, size: int, device: tuple[int, int]
    ) -> None:
        path = name.encode() + b"\0"
        # ino mode uid gid nlink mtime filesize dev(major, minor) rdev(major, minor) namesize check
        fields = (inode, mode, 0, 0, links, 0, size, 0, 0, *device, len(path), 0)
        if max(fields) > 0xFFFF_FFFF:
            raise ValueError(f"{name!r} is too large for a newc archive")
        header = MAGIC + b"".join(b"%08X" % field for field in fields) + path
        self._out.write(header + bytes(-len(header) % 4))
