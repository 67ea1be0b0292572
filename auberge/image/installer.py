"""The guest that installs a guest: what it is given, what it says, and whether it succeeded."""

import os
import re
import shutil

from auberge.image.recipe import INSTALL, Computer, Job, Progress
from auberge.refusal import Refusal

MEMORY = "1G"

APPEND = "quiet panic=0"

END = "Kernel panic"
"""After this line nothing more comes."""

ROOM = 64 << 20
"""With less left on the host's disk after a failure, that is what failed."""


class Ear:
    """Listens to the installer's console; see debian_files.py for what that says."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.failure = ""
        self.done = False
        self._total = total
        self._progress = progress
        self._seen: set[str] = set()
        self._line = b""

    def hear(self, data: bytes) -> None:
        """Take what was printed."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._understand(line.decode(errors="replace").strip())

    def close(self) -> None:
        """Take the last line as well, complete or not."""
        self.hear(b"\n")

    def _understand(self, line: str) -> None:
        if line == "auberge: done":
            self.done = True
        elif line.startswith("auberge: failed: "):
            self.failure = line.removeprefix("auberge: failed: ")
        elif END in line:
            self.failure = re.sub(r"^\[.*?\] ", "", line)
        elif re.fullmatch(r"status: \S+: (unpacked|installed)", line):
            self._seen.add(line)
            self._progress(INSTALL, min(len(self._seen), self._total - 1), self._total)


def install(
    kernel: str, initrd: str, disk: str, cd: str, steps: int, computer: Computer, progress: Progress
) -> None:
    """Have a guest with this initramfs install Debian on `disk` from `cd`; refuse what went wrong.

    `steps` is how often dpkg says that it has unpacked or installed something.
    """
    ear = Ear(steps, progress)
    progress(INSTALL, 0, steps)
    computer(Job(kernel, initrd, APPEND, MEMORY, (f"{disk},rw", f"{cd},ro"), ear.hear, END))
    ear.close()
    if not ear.done:
        where = os.path.dirname(disk)
        if shutil.disk_usage(where).free < ROOM:
            raise Refusal(f"{where}: no space left on device; AUBERGE_CACHE_DIR may name another")
        why = ear.failure or "it ended without a word"
        raise Refusal(f"debian: the installation failed: {why}; build again, or use another mirror")
    progress(INSTALL, steps, steps)
