"""What a container changed, as members of a new layer (image-spec 1.1, layer.md, "Change Types").

The upper directory of an overlay is read as overlayfs writes it; of a copy, what differs from the
image's layers. What a container made is a stranger's work: nothing of it is followed, and trees
that no layer may have are refused.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from auberge.image import sparse
from auberge.image.oci.beneath import OPEN
from auberge.image.oci.entry import (
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    OPAQUE,
    SYMLINK,
    WHITEOUT,
    Entry,
    Extents,
    keeps,
)
from auberge.image.oci.layer import OPAQUE_BY_ROOT, OPAQUE_BY_USER
from auberge.image.oci.limits import LIMITS
from auberge.image.oci.merge import readable
from auberge.refusal import Refusal

BY_OVERLAYFS = ("redirect", "metacopy")
"""What an upper directory only has if it was mounted with features that we never ask for."""

HOLE = 1 << 20
"""Files with that much of nothing are written as sparse files."""

PIECE = 1 << 20


class Range(NamedTuple):
    """Ids of a container that are others on the host (user_namespaces(7))."""

    inside: int
    outside: int
    length: int


class Change(NamedTuple):
    """A member of the new layer."""

    entry: Entry
    data: Callable[[], Iterator[bytes]]


def inside(outside: int, ranges: Sequence[Range]) -> int:
    """An id of the host as the container sees it; without ranges they are the same."""
    for each in ranges:
        if each.outside <= outside < each.outside + each.length:
            return each.inside + outside - each.outside
    return 65534 if ranges else outside


def as_inside(
    changes: Iterable[Change],
    uids: Sequence[Range],
    gids: Sequence[Range],
    owners: dict[str, tuple[int, int]],
) -> Iterator[Change]:
    """The same with owners as the container sees them.

    What belongs to its root may belong to others in the image, if nobody could give it to them:
    those are `owners`, by path.
    """
    for change in changes:
        entry = change.entry
        if entry.name.rpartition("/")[2].startswith(WHITEOUT):
            yield change
            continue
        owner = inside(entry.uid, uids), inside(entry.gid, gids)
        if owner == (0, 0):
            owner = owners.get(path_of(entry), owner)
        yield change._replace(entry=entry._replace(uid=owner[0], gid=owner[1]))


class Walk:
    """A tree that a container wrote, in a layer's order: directories before what is in them."""

    def __init__(self, root: str, is_overlay: bool) -> None:
        self._root = root
        self._is_overlay = is_overlay
        self._links: dict[int, str] = {}

    def __iter__(self) -> Iterator[Change]:
        root = os.open(self._root, OPEN)
        try:
            yield from self._directory(root, "", 0)
        finally:
            os.close(root)

    def _directory(self, this: int, path: str, depth: int) -> Iterator[Change]:
        """The directory, and then all that is in it."""
        if depth > LIMITS.depth or len(path) > 4000:
            raise Refusal(f"{path[:40]!r}...: too deep for a layer; remove it in the container")
        opened = readable(this, ".", os.O_DIRECTORY)
        try:
            found = os.fstat(opened)
            yield Change(self._entry(path + "/" if path else "./", DIRECTORY, found, opened), none)
            if self._is_overlay and is_opaque(opened, path):
                yield Change(Entry(f"{path}/{OPAQUE}" if path else OPAQUE, FILE), none)
            for name in sorted(os.listdir(opened)):
                below = f"{path}/{name}" if path else name
                found = os.stat(name, dir_fd=opened, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    inner = os.open(name, OPEN, dir_fd=opened)
                    try:
                        yield from self._directory(inner, below, depth + 1)
                    finally:
                        os.close(inner)
                else:
                    yield from self._object(opened, name, below, found)
        finally:
            os.close(opened)

    def _object(self, parent: int, name: str, path: str, found: os.stat_result) -> Iterator[Change]:
        if name.startswith(WHITEOUT) or "\n" in name:
            raise Refusal(f"{path!r}: no layer can have that name; remove it in the container")
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFCHR and found.st_rdev == 0:
            above, slash, last = path.rpartition("/")
            yield Change(Entry(f"{above}{slash}{WHITEOUT}{last}", FILE), none)
            return
        if kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK):
            # sockets mean nothing without who listens; devices are the runtime's to give
            return
        # names that are compared one by one are files of their own
        linked = self._is_overlay and found.st_nlink > 1
        if linked and found.st_ino in self._links:
            # docker gives what a link's header says to the file
            entry = self._entry(path, HARDLINK, found, None)
            yield Change(entry._replace(link=self._links[found.st_ino]), none)
            return
        if linked:
            self._links[found.st_ino] = path
        if kind == stat.S_IFLNK:
            entry = self._entry(path, SYMLINK, found, None)
            yield Change(entry._replace(link=os.readlink(name, dir_fd=parent)), none)
        elif kind == stat.S_IFIFO:
            yield Change(self._entry(path, FIFO, found, None), none)
        else:
            yield from self._file(parent, name, path)

    def _file(self, parent: int, name: str, path: str) -> Iterator[Change]:
        file = readable(parent, name, 0)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise Refusal(f"{path!r}: is exchanged while it is saved; pause the container")
            entry = self._entry(path, FILE, found, file)._replace(size=found.st_size)
            extents = tuple((at, end - at) for at, end in sparse.data(file, found.st_size))
            if found.st_size - sum(length for _, length in extents) >= HOLE:
                entry = entry._replace(extents=extents)
            else:
                extents = ((0, found.st_size),)
            yield Change(entry, lambda: pieces(file, extents))
        finally:
            os.close(file)

    def _entry(self, path: str, kind: str, found: os.stat_result, opened: int | None) -> Entry:
        xattrs: dict[str, bytes] = {}
        if opened is not None:
            xattrs = {
                name: os.getxattr(opened, name) for name in os.listxattr(opened) if keeps(name)
            }
        return Entry(
            path,
            kind,
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_gid,
            0,
            found.st_mtime_ns,
            xattrs=xattrs,
        )


def is_opaque(directory: int, path: str) -> bool:
    """Whether nothing below a directory of an overlay shows in it."""
    names = os.listxattr(directory)
    for prefix in ("trusted.overlay.", "user.overlay."):
        for feature in BY_OVERLAYFS:
            if prefix + feature in names:
                raise Refusal(
                    f"{path!r}: the overlay was mounted with {feature}; mount it as prepare() says"
                )
    return any(
        name in names and os.getxattr(directory, name) == b"y"
        for name in (OPAQUE_BY_ROOT, OPAQUE_BY_USER)
    )


def pieces(file: int, extents: Extents) -> Iterator[bytes]:
    """What a file has in its extents; zeros where it has become shorter meanwhile."""
    for at, length in extents:
        while length:
            piece = os.pread(file, min(length, PIECE), at) or bytes(min(length, PIECE))
            yield piece
            at += len(piece)
            length -= len(piece)


def none() -> Iterator[bytes]:
    """No data."""
    return iter(())


class Seen(NamedTuple):
    """What tells a file that was changed from one that was not, as docker does with copies."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str


def seen(entry: Entry) -> Seen:
    """What is compared of a member."""
    of_file = entry.kind == FILE
    return Seen(
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size if of_file else 0,
        entry.mtime,
        entry.link,
    )


def survey(root: str) -> dict[str, Seen]:
    """All that is in a copy of layers, to be compared with later."""
    return {path_of(change.entry): seen(change.entry) for change in Walk(root, False)}


def differing(changes: Iterable[Change], before: dict[str, Seen]) -> Iterator[Change]:
    """Of a tree, what is not as it was before, and whiteouts for what is there no more."""
    directories: set[str] = set()
    gone = dict(before)
    for change in changes:
        path = path_of(change.entry)
        if change.entry.kind == DIRECTORY:
            directories.add(path)
        if gone.pop(path, None) != seen(change.entry):
            yield change
    for path in sorted(gone):
        above, slash, last = path.rpartition("/")
        # what is in a directory that is gone itself is gone with it
        if above in directories:
            yield Change(Entry(f"{above}{slash}{WHITEOUT}{last}", FILE), none)


def path_of(entry: Entry) -> str:
    """A member's path, empty for the root."""
    return entry.name.removeprefix("./").rstrip("/")
