"""A folder of the host and the wall around it: the one place where a guest's wishes reach files.

Files are named by a descriptor and at most one name in the directory that it is of. Descriptors are
O_PATH (open(2)): they hold on to a file and do nothing to it. A name that is one component and is
never followed if it is a symbolic link cannot lead out of its directory, whatever else changes
meanwhile; and the type of the file that a descriptor holds cannot change any more.
"""

import os
import stat
import time
from errno import EACCES, EEXIST, EISDIR, ELOOP, ENXIO, EPERM, EROFS, ESTALE
from typing import NamedTuple

from auberge.machine.share.directory import is_proc
from auberge.machine.share.messages import refused
from auberge.machine.share.owners import Owner, Owners
from auberge.refusal import Refusal

HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# A lease (fcntl(2)) or one of the odd regular files of the kernel's would block without it.
_ALWAYS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_MODE = 0o777
_DIRECTORY_MODE = 0o3777  # a directory's set-group-ID bit runs nothing


class Change(NamedTuple):
    """What is to change about a file; None is what is not. Times are in ns, NOW is the present."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


NOW = -1 << 80


class Folder:
    """What is in the folder `path`, and nothing else; every method may raise OSError.

    Methods that change something raise EROFS if the folder is `read_only`. What is mounted in the
    folder is in it too, but for proc(5). A directory that the host moves out of the folder, while
    a descriptor is held of it, leads nowhere from then on.
    """

    __slots__ = ("_owners", "_path", "_status", "read_only", "root")

    def __init__(self, path: str, read_only: bool, owners: Owners) -> None:
        self.read_only = read_only
        self._owners = owners
        try:
            self.root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            raise Refusal(f"{path}: not a folder; share the folder that it is in") from None
        except OSError as error:
            raise Refusal(f"{path}: {error.strerror}; name a folder to share") from None
        try:
            if is_proc(self.root):
                raise Refusal(f"{path}: has the memory of processes in it; share another folder")
            self._status = os.fstat(self.root)
            self._path = self._place(self.root)
        except OSError as error:
            os.close(self.root)
            why = error.strerror
            raise Refusal(f"/proc: {why}; sharing a folder needs it, have it mounted") from None
        except Refusal:
            os.close(self.root)
            raise

    def close(self) -> None:
        """Give the folder back."""
        os.close(self.root)

    # -- finding --------------------------------------------------------------------------------

    def child(self, directory: int, name: bytes) -> tuple[int, os.stat_result]:
        """A new descriptor of what `directory` has by this name, and its status."""
        descriptor = os.open(name, HOLD, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            if status.st_dev != self._status.st_dev and is_proc(descriptor):
                raise refused(EACCES)
            return descriptor, status
        except BaseException:
            os.close(descriptor)
            raise

    def check_inside(self, descriptor: int) -> None:
        """Raise ESTALE if the host has moved this out of the folder."""
        root, place = self._root_place(), self._place(descriptor)
        if place != root and not place.startswith(root.rstrip(b"/") + b"/"):
            raise refused(ESTALE)

    def path_to(self, descriptor: int) -> bytes | None:
        """Where in the folder a descriptor's file is now; None if it is not there any more."""
        try:
            self.check_inside(descriptor)
        except OSError:
            return None
        path = self._place(descriptor)[len(self._root_place().rstrip(b"/")) :].lstrip(b"/")
        return path if os.fstat(descriptor).st_nlink else None

    def _root_place(self) -> bytes:
        """Where the folder itself is; mostly where it was, which is cheaper to see than to ask."""
        try:
            if os.path.samestat(os.stat(self._path), self._status):
                return self._path
        except OSError:
            pass
        self._path = self._place(self.root)
        return self._path

    def _place(self, descriptor: int) -> bytes:
        return os.readlink(_itself(descriptor).encode())

    # -- opening and creating -------------------------------------------------------------------

    def open(self, descriptor: int, flags: int) -> int:
        """Open what a descriptor holds: a file or directory, nothing that could act or wait."""
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind == stat.S_IFLNK:
            raise refused(ELOOP)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise refused(ENXIO)
        if kind == stat.S_IFDIR:
            if flags & _WRITING:
                raise refused(EISDIR)
            flags = os.O_RDONLY | os.O_DIRECTORY
        elif flags & _WRITING:
            self._check_writable()
        self.check_inside(descriptor)
        return os.open(_itself(descriptor), flags | _ALWAYS)

    def create(
        self, directory: int, name: bytes, flags: int, exclusive: bool, mode: int, owner: Owner
    ) -> int:
        """Create a regular file and open it; or open the one that is there, unless `exclusive`."""
        self._check_writable()
        self.check_inside(directory)
        new = flags & ~os.O_TRUNC | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _ALWAYS
        try:
            created = os.open(name, new, mode & _MODE, dir_fd=directory)
        except FileExistsError:
            if exclusive:
                raise
        else:
            self._finish(created, mode & _MODE, owner)
            return created
        there, status = self.child(directory, name)
        try:
            if not stat.S_ISREG(status.st_mode):
                raise refused(EEXIST)
            return self.open(there, flags)
        finally:
            os.close(there)

    def make_directory(
        self, directory: int, name: bytes, mode: int, owner: Owner
    ) -> os.stat_result:
        """Make a directory; its status."""
        self._check_writable()
        self.check_inside(directory)
        os.mkdir(name, mode & _MODE, dir_fd=directory)
        made, status = self.child(directory, name)
        try:
            if stat.S_ISDIR(status.st_mode):
                self._finish(made, mode & _DIRECTORY_MODE | status.st_mode & stat.S_ISGID, owner)
            return os.fstat(made)
        finally:
            os.close(made)

    def make_symlink(
        self, directory: int, name: bytes, target: bytes, owner: Owner
    ) -> os.stat_result:
        """Make a symbolic link, which may say anything: it is the guest's to follow; its status."""
        self._check_writable()
        self.check_inside(directory)
        os.symlink(target, name, dir_fd=directory)
        made, status = self.child(directory, name)
        try:
            if stat.S_ISLNK(status.st_mode):
                self._give(made, owner)
            return status
        finally:
            os.close(made)

    def make_link(self, descriptor: int, directory: int, name: bytes) -> None:
        """Give what a descriptor holds another name: a file or symbolic link itself."""
        self._check_writable()
        self.check_inside(descriptor)
        self.check_inside(directory)
        if stat.S_IFMT(os.fstat(descriptor).st_mode) not in (stat.S_IFREG, stat.S_IFLNK):
            raise refused(EPERM)
        # linkat(2) shows this way of linking a descriptor; without dir_fd, Python calls link(2)
        os.link(
            _itself(descriptor), name, src_dir_fd=self.root, dst_dir_fd=directory,
            follow_symlinks=True,
        )  # fmt: skip

    def _finish(self, descriptor: int, mode: int, owner: Owner) -> None:
        """Give what was just created the mode that it should have, whatever our umask is."""
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.chmod(_itself(descriptor), mode)
        self._give(descriptor, owner)

    def _give(self, descriptor: int, owner: Owner) -> None:
        if self._owners.are_kept and owner != (0, 0):
            try:
                os.chown(_itself(descriptor), *owner)
            except OSError:
                pass  # what exists may as well be ours: the host may have no such user

    # -- changing -------------------------------------------------------------------------------

    def change(self, descriptor: int, change: Change, writable: bool) -> None:
        """Change what setattr changes; `writable` is a descriptor that was opened to be written.

        Files never become set-user-ID or set-group-ID, and special files stay as they are.
        """
        self._check_writable()
        self.check_inside(descriptor)
        path = _itself(descriptor)
        status = os.fstat(descriptor)
        kind = stat.S_IFMT(status.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            raise refused(EPERM)
        if change.mode is not None:
            bits = _DIRECTORY_MODE if kind == stat.S_IFDIR else _MODE
            os.chmod(path, change.mode & bits)
        if change.uid is not None or change.gid is not None:
            os.chown(path, *self._owners.meant(change.uid, change.gid))
        if change.size is not None:
            self._truncate(descriptor, change.size, writable)
        if change.atime == NOW and change.mtime == NOW:
            os.utime(path)  # which takes permission to write, not ownership
        elif change.atime is not None or change.mtime is not None:
            atime = status.st_atime_ns if change.atime is None else change.atime
            mtime = status.st_mtime_ns if change.mtime is None else change.mtime
            now = time.time_ns()
            os.utime(path, ns=(now if atime == NOW else atime, now if mtime == NOW else mtime))

    def _truncate(self, descriptor: int, size: int, writable: bool) -> None:
        if writable:
            os.ftruncate(descriptor, size)
            return
        opened = self.open(descriptor, os.O_WRONLY)  # truncate(2) would wait for a lease
        try:
            os.ftruncate(opened, size)
        finally:
            os.close(opened)

    def rename(self, directory: int, name: bytes, to: int, new_name: bytes) -> None:
        """Rename a file, perhaps into another directory."""
        self._check_writable()
        self.check_inside(directory)
        self.check_inside(to)
        os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=to)

    def remove(self, directory: int, name: bytes, is_directory: bool) -> None:
        """Remove a name from a directory."""
        self._check_writable()
        self.check_inside(directory)
        if is_directory:
            os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)

    def _check_writable(self) -> None:
        if self.read_only:
            raise refused(EROFS)


def _itself(descriptor: int) -> str:
    """A path that is the file which a descriptor holds, even if that is a symbolic link."""
    return f"/proc/self/fd/{descriptor}"
