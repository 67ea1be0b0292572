"""A directory that strangers' paths are looked up in, and never lead out of.

Each component is opened relative to the one before it and never followed if it is a symbolic link:
what RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS of openat2(2) promise, on every kernel.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import ENOTEMPTY

from auberge.refusal import Refusal

OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Parts = tuple[str, ...]
ADDITIONS = 100
"""How often something may have been added to a directory while it was emptied."""


class Beneath:
    """An open directory; what was looked up last is kept open, as the next is often there too."""

    def __init__(self, path: str, where: str) -> None:
        self._where = where
        self._root = os.open(path, OPEN)
        self._parts: Parts = ()
        self._last = self._root

    def close(self) -> None:
        """Let go of the directories."""
        self._forget()
        os.close(self._root)

    def directory(self, parts: Parts) -> int:
        """A descriptor of a directory in it, good until the next call.

        Raises FileNotFoundError if there is none, and Refusal if something else is in the way.
        """
        common = len(self._parts)
        if parts[:common] != self._parts:
            self._forget()
            common = 0
        for depth in range(common, len(parts)):
            try:
                found = os.open(parts[depth], OPEN, dir_fd=self._last)
            except NotADirectoryError as error:
                shown = "/".join(parts[: depth + 1])
                raise Refusal(
                    f"{self._where}: {shown!r} is not a directory, but something is to be in it;"
                    " use another archive"
                ) from error
            self._forget()
            self._last, self._parts = found, parts[: depth + 1]
        return self._last

    def _forget(self) -> None:
        if self._last != self._root:
            os.close(self._last)
        self._last, self._parts = self._root, ()


@contextmanager
def opened(path: str, where: str) -> Iterator[Beneath]:
    """Open a directory for the length of a block."""
    tree = Beneath(path, where)
    try:
        yield tree
    finally:
        tree.close()


def open_file(path: str, parts: Sequence[str], where: str) -> int:
    """A regular file somewhere in a directory, to read; nothing else is opened."""
    with opened(path, where) as tree:
        parent = tree.directory(tuple(parts[:-1]))
        # a FIFO would be waited for
        file = os.open(
            parts[-1],
            os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
            dir_fd=parent,
        )
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise Refusal(f"{where}: {'/'.join(parts)!r} is not a regular file; use another archive")
    return file


def remove_tree(path: str) -> None:
    """Remove a directory and all that is in it, or a file, if it is there.

    What belongs to others of this user's ids (newuidmap(1)) too, by a process that is root of them.
    """
    try:
        parent = os.open(os.path.dirname(path) or ".", OPEN)
    except FileNotFoundError:
        return
    try:
        remove_at(parent, os.path.basename(path))
    except PermissionError:
        if os.geteuid() == 0:
            raise
        from auberge.image.oci import mapped

        mapped.remove(path)
    finally:
        os.close(parent)


def remove_at(parent: int, name: str) -> None:
    """Remove what has a name in an open directory, whatever modes a stranger gave to it.

    However deep a tree is, this needs two descriptors: what is in a directory of it is moved to the
    top first. What belongs to other users is removed only by root. What a process adds meanwhile is
    removed too, unless it goes on adding: then OSError (ENOTEMPTY) is raised.
    """
    if _unlinked(parent, name):
        return
    top = _opened(parent, name)
    try:
        for left in range(ADDITIONS, -1, -1):
            try:
                _empty(top)
                os.rmdir(name, dir_fd=parent)
                return
            except OSError as error:
                if error.errno != ENOTEMPTY or not left:
                    raise
    finally:
        os.close(top)


def _empty(top: int) -> None:
    """Remove all that is in an open directory."""
    # a name that the stranger could not guess
    token = os.urandom(8).hex()
    left = os.listdir(top)
    moved = 0
    while left:
        entry = left.pop()
        if _unlinked(top, entry):
            continue
        this = _opened(top, entry)
        try:
            for inner in os.listdir(this):
                if not _unlinked(this, inner):
                    os.chmod(inner, 0o700, dir_fd=this)
                    moved += 1
                    left.append(f"{token}{moved}")
                    os.rename(inner, left[-1], src_dir_fd=this, dst_dir_fd=top)
        finally:
            os.close(this)
        os.rmdir(entry, dir_fd=top)


def _unlinked(parent: int, name: str) -> bool:
    """Remove what is no directory; whether it is gone."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        return False
    return True


def _opened(parent: int, name: str) -> int:
    os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
