"""Layers on one another without the kernel's help: a copy of what an overlay would show."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from auberge.image import sparse
from auberge.image.oci import content
from auberge.image.oci.beneath import OPEN, remove_at
from auberge.image.oci.beneath import opened as beneath
from auberge.image.oci.entry import keeps
from auberge.image.oci.layer import Contents, Owner
from auberge.refusal import Refusal

READ = os.O_RDONLY | os.O_CLOEXEC
OBJECT = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_layers(keys: Sequence[str], target: str, owners: dict[str, Owner] | None = None) -> None:
    """Copy layers, the lowest first, into an empty directory.

    With `owners`, all there is this user's, and whose it is in the layers is noted in it, by path.
    """
    for key in keys:
        hide(content.contents(key), target)
        Copier(content.layer(key), target, owners).copy()


def hide(contents: Contents, target: str) -> None:
    """Remove what a layer hides of those below it."""
    for path in contents.whiteouts:
        parent, _, name = path.rpartition("/")
        _remove_in(target, parent, [name])
    for path in contents.opaques:
        _remove_in(target, path, None)


def _remove_in(target: str, directory: str, names: list[str] | None) -> None:
    """Remove things in a directory, if it is one all the way: nothing is followed."""
    parts = tuple(part for part in directory.split("/") if part)
    with beneath(target, target) as tree, suppress(FileNotFoundError, Refusal):
        place = tree.directory(parts)
        for name in os.listdir(f"/proc/self/fd/{place}") if names is None else names:
            remove_at(place, name)


class Copier:
    """One layer, being copied onto what is there."""

    def __init__(self, source: str, target: str, owners: dict[str, Owner] | None = None) -> None:
        self._source = source
        self._target = target
        self._owners = owners
        self._is_root = os.geteuid() == 0 and owners is None
        self._links: dict[int, str] = {}
        """Where the first of several names of an inode was copied to."""

    def copy(self) -> None:
        """Copy all of it."""
        source, target = os.open(self._source, OPEN), os.open(self._target, OPEN)
        try:
            self._directory(source, target, "")
        finally:
            os.close(source)
            os.close(target)

    def _directory(self, source: int, target: int, path: str) -> None:
        """Copy what is in a directory, then what the directory itself is."""
        opened = readable(source, ".", os.O_DIRECTORY)
        try:
            for name in sorted(os.listdir(opened)):
                self._object(opened, target, name, f"{path}/{name}" if path else name)
            writable = os.open(".", READ | os.O_DIRECTORY, dir_fd=target)
            try:
                self._like(opened, writable)
            finally:
                os.close(writable)
            self._note(path, os.fstat(opened))
        finally:
            os.close(opened)

    def _object(self, source: int, target: int, name: str, path: str) -> None:
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFCHR:
            # a whiteout; what it hides is gone already
            return
        if kind == stat.S_IFDIR:
            self._into_directory(source, target, name, path)
            return
        remove_at(target, name)
        self._note(path, found)
        if found.st_nlink > 1 and found.st_ino in self._links:
            first = os.path.join(self._target, self._links[found.st_ino])
            os.link(first, name, dst_dir_fd=target, follow_symlinks=False)
            return
        if found.st_nlink > 1:
            self._links[found.st_ino] = path
        if kind == stat.S_IFREG:
            self._file(source, target, name)
            return
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mkfifo(name, dir_fd=target)
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)
        if self._is_root:
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        times = found.st_atime_ns, found.st_mtime_ns
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)

    def _note(self, path: str, found: os.stat_result) -> None:
        if self._owners is not None:
            self._owners[path] = (found.st_uid, found.st_gid)

    def _into_directory(self, source: int, target: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=target)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
                remove_at(target, name)
                os.mkdir(name, 0o700, dir_fd=target)
            elif not self._is_root:
                os.chmod(name, 0o700, dir_fd=target)
        old, new = os.open(name, OPEN, dir_fd=source), os.open(name, OPEN, dir_fd=target)
        try:
            self._directory(old, new, path)
        finally:
            os.close(old)
            os.close(new)

    def _file(self, source: int, target: int, name: str) -> None:
        old = readable(source, name, 0)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            new = os.open(name, flags, 0o600, dir_fd=target)
            try:
                size = os.fstat(old).st_size
                os.ftruncate(new, size)
                for at, end in sparse.data(old, size):
                    while at < end:
                        # shares the blocks where the file system can
                        at += os.copy_file_range(old, new, end - at, at, at)
                self._like(old, new)
            finally:
                os.close(new)
        finally:
            os.close(old)

    def _like(self, old: int, new: int) -> None:
        """Give owner, mode, attributes and times of one open object to another."""
        found = os.fstat(old)
        if self._is_root:
            os.chown(new, found.st_uid, found.st_gid)
        for name in os.listxattr(old):
            if keeps(name):
                with suppress(OSError):
                    os.setxattr(new, name, os.getxattr(old, name))
        os.chmod(new, stat.S_IMODE(found.st_mode))
        os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))


def readable(directory: int, name: str, flags: int) -> int:
    """Open what belongs to this user to read, whatever its mode says; the mode stays.

    The name is one in an open directory, or `.` for that itself; symbolic links are not followed,
    and FIFOs not waited for.
    """
    flags |= READ | os.O_NONBLOCK
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
    except PermissionError:
        held = directory
        if name != ".":  # it cannot be looked up in a directory that may not be searched
            held = os.open(name, OBJECT, dir_fd=directory)
        path = f"/proc/self/fd/{held}"  # this very object, whatever has its name by now
        try:
            mode = stat.S_IMODE(os.fstat(held).st_mode)
            os.chmod(path, mode | 0o500)
            try:
                return os.open(path, flags)
            finally:
                os.chmod(path, mode)
        finally:
            if held != directory:
                os.close(held)
