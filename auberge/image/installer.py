"""The guest that installs a guest: what it is given, what it says, and whether it succeeded."""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from typing import NamedTuple

from auberge.image.recipe import INSTALL, Computer, Job, Progress
from auberge.refusal import Refusal

MEMORY = "1G"

APPEND = "quiet panic=0 auberge.step={done}"
"""And how many steps are behind it."""

MOST_HARTS = 2
"""The index of the kernel's modules is made beside all else; dpkg does one thing at a time."""

END = "Kernel panic"
"""After this line nothing more comes."""

ROOM = 64 << 20
"""With less left on the host's disk after a failure, that is what failed."""


class Installation(NamedTuple):
    """What the guest that installs is made of."""

    kernel: str
    initrd: str
    disk: str
    cd: str
    steps: Sequence[int]
    """How many packages each step installs."""
    done: int
    """How many steps the disk has behind it."""


class Ear:
    """Listens to the installer's console; see debian_files.py for what that says."""

    def __init__(self, guest: Installation, keep: Callable[[int], None], progress: Progress):
        self.failure = ""
        self.done = False
        self._keep = keep
        self._progress = progress
        # dpkg says that it has unpacked a package, and that it has installed it
        self._total = 2 * sum(guest.steps)
        self._before = 2 * sum(guest.steps[: guest.done])
        self._seen: set[str] = set()
        self._line = b""
        self._report()

    def hear(self, data: bytes) -> bytes:
        """Take what was printed; the answer, if it asks for one."""
        *lines, self._line = (self._line + data).split(b"\n")
        return b"".join(self._understand(line.decode(errors="replace").strip()) for line in lines)

    def close(self) -> None:
        """Take the last line as well, complete or not."""
        self.hear(b"\n")

    def _understand(self, line: str) -> bytes:
        if line == "auberge: done":
            self.done = True
        elif line.startswith("auberge: failed: "):
            self.failure = line.removeprefix("auberge: failed: ")
        elif step := re.fullmatch(r"auberge: checkpoint (\d)", line):
            self._keep(int(step[1]))
            return b"go on\n"
        elif END in line:
            self.failure = re.sub(r"^\[.*?\] ", "", line)
        elif re.fullmatch(r"status: \S+: (unpacked|installed)", line):
            self._seen.add(line)
            self._report()
        return b""

    def _report(self) -> None:
        done = self._before + len(self._seen)
        self._progress(INSTALL, min(done, self._total - 1), self._total)


def install(
    guest: Installation, keep: Callable[[str, int], None], computer: Computer, progress: Progress
) -> None:
    """Have the guest install Debian on its disk; refuse what went wrong.

    `keep` copies the disk as it is after a number of steps.
    """
    ear = Ear(guest, lambda step: keep(guest.disk, step), progress)
    computer(
        Job(
            guest.kernel,
            guest.initrd,
            APPEND.format(done=guest.done),
            MEMORY,
            (f"{guest.disk},rw", f"{guest.cd},ro"),
            ear.hear,
            END,
            min(MOST_HARTS, len(os.sched_getaffinity(0))),
        )
    )
    ear.close()
    if not ear.done:
        where = os.path.dirname(guest.disk)
        if shutil.disk_usage(where).free < ROOM:
            raise Refusal(f"{where}: no space left on device; AUBERGE_CACHE_DIR may name another")
        why = ear.failure or "it ended without a word"
        raise Refusal(f"debian: the installation failed: {why}; build again, or use another mirror")
    total = 2 * sum(guest.steps)
    progress(INSTALL, total, total)
