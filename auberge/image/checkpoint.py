"""Copies of a disk that is being installed on: an interrupted build goes on from the newest."""

import os


class Checkpoints:
    """The copies in a directory of installations of the same things (`key`); no others stay there.

    A copy has its name only when all of it is on the host's disk, whenever who makes it is killed.
    """

    def __init__(self, directory: str, key: str) -> None:
        self._directory = directory
        self._prefix = f"{key}."

    def restore(self, disk: str) -> int:
        """Make `disk` the newest copy; how many steps it has behind it, 0 if there is none."""
        os.makedirs(self._directory, exist_ok=True)
        steps = [0]
        for name in os.listdir(self._directory):
            step = name.removeprefix(self._prefix)
            if step != name and step.isdecimal():
                steps.append(int(step))
        newest = max(steps)
        self._forget_all_but(self._name(newest))
        if newest:
            copy_sparse(os.path.join(self._directory, self._name(newest)), disk)
        return newest

    def keep(self, disk: str, step: int) -> None:
        """Copy `disk`, to which nothing is written meanwhile, as it is after `step` steps.

        Without room for a copy there is none: the build may still succeed.
        """
        path = os.path.join(self._directory, self._name(step))
        try:
            copy_sparse(disk, f"{path}.part")
            os.rename(f"{path}.part", path)
        except OSError:
            self._forget_all_but("")
        else:
            self._forget_all_but(self._name(step))

    def _name(self, step: int) -> str:
        return f"{self._prefix}{step}"

    def _forget_all_but(self, kept: str) -> None:
        for name in os.listdir(self._directory):
            if name != kept:
                os.unlink(os.path.join(self._directory, name))


def copy_sparse(source: str, target: str) -> None:
    """Copy a file without its holes (lseek(2)), and wait until the copy is on the disk."""
    with open(source, "rb") as old, open(target, "wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole up to the end
                break
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            while at < end:
                # shares the blocks where the file system can
                at += os.copy_file_range(old.fileno(), new.fileno(), end - at, at, at)
        os.fsync(new.fileno())
