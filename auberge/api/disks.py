"""The disks of a machine: opened as their user named them, and what the host says of them."""

import os
import sys
import time
from collections.abc import Sequence
from errno import EDQUOT, EFBIG, ENOSPC

from auberge.machine.disk import Disk, Mode, open_disk
from auberge.machine.virtio.block import Block, Counts

MODES: dict[str, Mode] = {
    "ro": "ro", "rw": "rw", "overlay": "overlay", "temporary": "temporary",
}  # fmt: skip
FORMAT = "format="


class Disks:
    """Disks as in "FILE", "FILE,ro" or "FILE,rw,format=raw"; raises Refusal. To be closed."""

    def __init__(self, named: Sequence[str]) -> None:
        self.counts = Counts()
        self._said: set[tuple[str, int]] = set()
        self._opened: list[Disk] = []
        try:
            for name in named:
                self._opened.append(open_named(name))
        except BaseException:
            self.close()
            raise

    def devices(self) -> list[Block]:
        """A device for each, in order."""
        return [
            Block(disk, f"disk{n}", self.counts, time.perf_counter_ns, self._complain)
            for n, disk in enumerate(self._opened)
        ]

    def close(self) -> None:
        """Give them back, with all that was written; a second time does nothing."""
        opened, self._opened = self._opened, []
        for disk in opened:
            try:
                if not disk.read_only:
                    disk.flush()  # as a disk does that is switched off: not every guest asks for it
            except OSError as error:
                self._complain(error)
            finally:
                disk.close()

    def _complain(self, error: OSError) -> None:
        """Say on stderr why a guest has an error of its disk: once for each file and reason."""
        kind = str(error.filename), error.errno or 0
        if kind in self._said:
            return
        self._said.add(kind)
        screen = sys.stderr
        if screen is None:
            return
        try:
            # A guest's terminal is raw: nobody adds the carriage return.
            end = "\r\n" if screen.isatty() else "\n"
            print(f"auberge: {complaint(error)}", end=end, file=screen, flush=True)
        except (OSError, ValueError):  # nobody listens
            pass


def open_named(text: str) -> Disk:
    """The disk that a user wrote; raises Refusal."""
    path, mode, format = split_options(text)
    return open_disk(path, mode, format)


def split_options(text: str) -> tuple[str, Mode, str | None]:
    """A file, how it is written, and its format; a comma that begins no option is the file's."""
    mode: Mode = "overlay"
    format = None
    while True:
        path, comma, option = text.rpartition(",")
        if comma and option in MODES:
            mode = MODES[option]
        elif comma and option.startswith(FORMAT):
            format = option.removeprefix(FORMAT)
        else:
            return text, mode, format
        text = path


def complaint(error: OSError) -> str:
    """One line about an error of the host that became the guest's."""
    why = error.strerror or str(error)
    if error.errno in (ENOSPC, EDQUOT, EFBIG):
        advice = "make room there, or the guest will lose what it writes"
    else:
        advice = "check that file and the disk it is on"
    return f"{os.fspath(error.filename or 'disk')}: {why.lower()}; the guest has an error; {advice}"
