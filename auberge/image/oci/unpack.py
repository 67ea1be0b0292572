"""A layer becomes a directory that overlayfs can use (image-spec 1.1, layer.md).

A layer is unpacked by itself, as podman and docker do: what it says about others is kept as
overlayfs has it, whiteouts as character devices 0/0 and opaque directories by an extended
attribute, and in a list for those who cannot use overlayfs. Nothing outside of the directory is
touched whatever the archive says, and nothing is created in it that could harm the host: neither
devices, nor what overlayfs would believe.
"""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from auberge.image.oci.below import as_below, is_usual
from auberge.image.oci.beneath import Beneath, Parts, opened
from auberge.image.oci.digest import Stream
from auberge.image.oci.entry import (
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    OPAQUE,
    WHITEOUT,
    Entry,
)
from auberge.image.oci.layer import OPAQUE_BY_ROOT, OPAQUE_BY_USER, Contents, Owner
from auberge.image.oci.limits import LIMITS, OTHER, Limits
from auberge.image.oci.tar_reader import TarReader
from auberge.refusal import Refusal, reason

AUFS = ".wh..wh."
"""What aufs told itself; it means nothing to others."""
LONGEST = 4095
"""PATH_MAX, without the NUL."""


def unpack(
    stream: Stream,
    root: str,
    where: str,
    below: Sequence[str] = (),
    limits: Limits = LIMITS,
) -> Contents:
    """Unpack a layer into an empty directory; `below` are those it will lie on, the topmost first.

    Directories it does not mention, though something is in them, are as they are below.
    """
    with opened(root, where) as tree:
        unpacker = Unpacker(tree, where, below, limits)
        try:
            reader = TarReader(stream, where, limits)
            for entry in reader:
                unpacker.add(entry, reader)
            return unpacker.finish()
        except OSError as error:
            raise Refusal(
                f"{where}: {unpacker.at!r}: {reason(error)}; free some space, or {OTHER}"
            ) from error


def parts_of(name: str, where: str, limits: Limits = LIMITS) -> Parts:
    """The components of a path in an archive; none for its root. Hostile ones are refused."""
    if name in ("/", "./"):
        return ()
    if name.startswith("/"):
        raise Refusal(f"{where}: {name!r} is an absolute path; {OTHER}")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Refusal(f"{where}: {name!r} leaves the archive; {OTHER}")
    if "\n" in name or "\0" in name:
        raise Refusal(f"{where}: {name!r} is no name for a file; {OTHER}")
    if len(parts) > limits.depth or len(name.encode(errors="surrogateescape")) > LONGEST:
        raise Refusal(f"{where}: {name[:40]!r}...: too long a path; {OTHER}")
    return parts


class Unpacker:
    """A layer that is being unpacked, member by member."""

    def __init__(self, tree: Beneath, where: str, below: Sequence[str], limits: Limits) -> None:
        self._tree = tree
        self._where = where
        self._below = below
        self._limits = limits
        self._is_root = os.geteuid() == 0
        self._directories: dict[Parts, Entry] = {}
        """Their times and modes are set in the end: writing into them needs and changes those."""
        self._whiteouts: set[Parts] = set()
        self._opaques: set[Parts] = set()
        self._owners: dict[str, Owner] = {}
        self._size = 0
        self._overlays = True
        self._implied: set[Parts] = set()
        self._depends = False
        self.at = ""
        """The member that is worked on."""

    def add(self, entry: Entry, reader: TarReader) -> None:
        """Create what a member describes."""
        self.at = entry.name
        parts = parts_of(entry.name, self._where, self._limits)
        if any(part.startswith(WHITEOUT) for part in parts):
            self._whiteout(parts, entry)
        elif entry.kind == DIRECTORY:
            self._directory(parts, entry)
        elif not parts:
            raise self._refusal("is the root, but no directory")
        else:
            try:
                self._create(parts, entry, reader)
            except FileExistsError:
                raise self._refusal("is in the layer twice") from None

    def finish(self) -> Contents:
        """Do what waits for the rest; the layer is complete then."""
        for parts in sorted(self._whiteouts):
            self._hide(parts)
        if () not in self._directories:
            self._directories[()] = self._as_below(())
        for parts in sorted(self._directories, reverse=True):
            self.at = "/".join(parts)
            self._finish_directory(parts, self._directories[parts])
        return Contents(
            self._size,
            tuple(sorted("/".join(parts) for parts in self._whiteouts - self._opaques)),
            tuple(sorted("/".join(parts) for parts in self._opaques)),
            self._owners,
            self._overlays,
            tuple(sorted("/".join(parts) for parts in self._implied)),
            self._depends,
        )

    def _create(self, parts: Parts, entry: Entry, reader: TarReader) -> None:
        name = parts[-1]
        match entry.kind:
            case "0":
                self._file(parts, entry, reader)
                return
            case "1":
                target = parts_of(entry.link, self._where, self._limits)
                self._link(target, parts)
                return
            case "2":
                parent = self._parent(parts)
                if not entry.link or len(entry.link) > LONGEST:
                    raise self._refusal("is a symbolic link to nothing")
                os.symlink(entry.link, name, dir_fd=parent)
            case "6":
                parent = self._parent(parts)
                os.mkfifo(name, 0o600, dir_fd=parent)
            case "3" | "4":
                raise self._refusal("is a device, which no layer needs")
            case _:
                raise self._refusal(f"is of the unknown kind {entry.kind!r}")
        if self._owner_to_give(parts, entry):
            try:
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            except OSError:
                self._note_owner(parts, entry)
        if entry.kind == FIFO:
            # after chown, which takes set-user-ID away
            os.chmod(name, entry.mode, dir_fd=parent)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _file(self, parts: Parts, entry: Entry, reader: TarReader) -> None:
        self._size += entry.size
        if self._size > self._limits.size:
            raise self._refusal(f"is too much, with more than {self._limits.size} bytes before")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(parts[-1], flags, 0o600, dir_fd=self._parent(parts))
        try:
            for offset, piece in reader.data():
                while piece:
                    written = os.pwrite(file, piece, offset)
                    piece = piece[written:]
                    offset += written
            if entry.extents is not None:
                os.ftruncate(file, entry.size)
            self._finish_object(file, parts, entry)
        finally:
            os.close(file)

    def _link(self, target: Parts, parts: Parts) -> None:
        """A hard link to a member that came before: never to what the host has elsewhere."""
        if not target:
            raise self._refusal("is a hard link to the root")
        try:
            source = os.open(
                ".", os.O_PATH | os.O_CLOEXEC, dir_fd=self._tree.directory(target[:-1])
            )
        except FileNotFoundError:
            raise self._refusal("is a hard link to what is not in the layer") from None
        try:
            parent = self._parent(parts)
            try:
                found = os.stat(target[-1], dir_fd=source, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    raise self._refusal("is a hard link to a directory")
                os.link(
                    target[-1],
                    parts[-1],
                    src_dir_fd=source,
                    dst_dir_fd=parent,
                    follow_symlinks=False,
                )
            except FileNotFoundError:
                raise self._refusal("is a hard link to what is not in the layer") from None
        finally:
            os.close(source)
        if (owner := self._owners.get("/".join(target))) is not None:
            self._owners["/".join(parts)] = owner

    def _directory(self, parts: Parts, entry: Entry) -> None:
        if parts and parts not in self._directories:
            parent = self._parent(parts)
            try:
                os.mkdir(parts[-1], 0o700, dir_fd=parent)
            except FileExistsError:
                raise self._refusal("is in the layer twice") from None
        # what is said last about a directory counts: many tools repeat them
        self._directories[parts] = entry

    def _parent(self, parts: Parts) -> int:
        """The directory of a member, which is made if the layer has not mentioned it."""
        try:
            return self._tree.directory(parts[:-1])
        except FileNotFoundError:
            pass
        for depth in range(1, len(parts)):
            above = parts[:depth]
            try:
                self._tree.directory(above)
            except FileNotFoundError:
                os.mkdir(above[-1], 0o700, dir_fd=self._tree.directory(above[:-1]))
                self._directories[above] = self._as_below(above)
        return self._tree.directory(parts[:-1])

    def _as_below(self, parts: Parts) -> Entry:
        """A directory that is not mentioned, as the nearest layer below has it."""
        self._implied.add(parts)
        entry = as_below(parts, self._below)
        self._depends |= entry is not None and not is_usual(entry)
        return entry or Entry("/".join(parts), DIRECTORY, 0o755)

    def _whiteout(self, parts: Parts, entry: Entry) -> None:
        if any(part.startswith(WHITEOUT) for part in parts[:-1]):
            raise self._refusal("is in what is a whiteout")
        if entry.kind not in (FILE, HARDLINK):
            raise self._refusal("is a whiteout, but no file")
        if parts[-1] == OPAQUE:
            self._parent(parts)
            self._opaques.add(parts[:-1])
        elif not parts[-1].startswith(AUFS):
            hidden = parts[-1].removeprefix(WHITEOUT)
            if hidden in ("", ".", ".."):
                raise self._refusal("is a whiteout of nothing")
            self._parent(parts)
            self._whiteouts.add((*parts[:-1], hidden))

    def _hide(self, parts: Parts) -> None:
        """Keep what is below out of sight.

        "Whiteout files MUST only apply to resources in lower/parent layers": what this layer has in
        the same place stays, and if that is a directory, nothing of the one below shows in it.
        """
        self.at = "/".join(parts)
        parent = self._tree.directory(parts[:-1])
        try:
            found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            if not self._below:
                # a layer at the bottom hides nothing, and overlayfs would list the node
                self._depends = True
                return
            try:
                os.mknod(parts[-1], stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=parent)
            except PermissionError:
                self._overlays = False
        else:
            if stat.S_ISDIR(found.st_mode):
                self._opaques.add(parts)

    def _finish_directory(self, parts: Parts, entry: Entry) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        this = os.open(".", flags, dir_fd=self._tree.directory(parts))
        try:
            if parts in self._opaques:
                with suppress(PermissionError):
                    os.setxattr(this, OPAQUE_BY_ROOT, b"y")
                try:
                    os.setxattr(this, OPAQUE_BY_USER, b"y")
                except OSError:
                    self._overlays = False
            self._finish_object(this, parts, entry)
        finally:
            os.close(this)

    def _finish_object(self, this: int, parts: Parts, entry: Entry) -> None:
        """Owner, mode, attributes and time of what is open, in the order that keeps them all."""
        if self._owner_to_give(parts, entry):
            try:
                os.chown(this, entry.uid, entry.gid)
            except OSError:
                self._note_owner(parts, entry)
        for name, value in entry.xattrs.items():
            # capabilities are root's to give, and some file systems have no user's attributes
            with suppress(OSError):
                os.setxattr(this, name, value)
        os.chmod(this, entry.mode)
        os.utime(this, ns=(entry.mtime, entry.mtime))

    def _owner_to_give(self, parts: Parts, entry: Entry) -> bool:
        """Whether to try; a user who is not root is root in what is unpacked, and cannot give."""
        if not self._is_root and (entry.uid, entry.gid) != (0, 0):
            self._note_owner(parts, entry)
        return self._is_root

    def _note_owner(self, parts: Parts, entry: Entry) -> None:
        self._owners["/".join(parts)] = (entry.uid, entry.gid)

    def _refusal(self, why: str) -> Refusal:
        return Refusal(f"{self._where}: {self.at!r} {why}; {OTHER}")
