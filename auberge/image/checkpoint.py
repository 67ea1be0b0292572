"""Copies of a disk that is being installed on: an interrupted build goes on from the newest."""

import os

from auberge.image import sparse


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
            sparse.copy(os.path.join(self._directory, self._name(newest)), disk)
        return newest

    def keep(self, disk: str, step: int) -> None:
        """Copy `disk`, to which nothing is written meanwhile, as it is after `step` steps.

        Without room for a copy there is none: the build may still succeed.
        """
        path = os.path.join(self._directory, self._name(step))
        try:
            sparse.copy(disk, f"{path}.part")
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
