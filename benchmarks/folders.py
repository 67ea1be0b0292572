"""A folder of the host in a guest: one large file, and many small ones; the same in QEMU.

QEMU's files have versions, so Linux reads them ahead and may show what the host has changed since;
ours have none, so that it reads 4 KiB at a time, always what is there.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from harness.guests import QEMU, QEMU_PACKAGE, boot_tiny, qemu_boot_tiny, qemu_is_here
from harness.process import Process
from harness.report import compare, interleaved, missing, rounds
from network import command

PROMPT = "root@tiny:~# "
MEBIBYTES = 32
DIRECTORIES, FILES = 40, 50

# what is done in the guest, and how much of what that is
LARGE = {
    "write": f"dd if=/dev/zero of=/share/large bs=1M count={MEBIBYTES} 2> /dev/null",
    "read": "dd if=/share/large of=/dev/null bs=1M 2> /dev/null",
}
SMALL = {
    "list": "find /share/tree -size +100 > /dev/null",
    "open": "cat /share/tree/*/* > /dev/null",
    "create": "mkdir /share/new; cp -r /share/tree /share/new; rm -r /share/new",
}


def furnish(folder: str) -> None:
    """Make the many small files."""
    for directory in range(DIRECTORIES):
        path = os.path.join(folder, "tree", f"directory-{directory}")
        os.makedirs(path)
        for number in range(FILES):
            with open(os.path.join(path, f"file-{number}"), "wb") as file:
                file.write(bytes(1000))


def megabytes(guest: Process, words: str) -> float:
    """MB/s of one command over the large file."""
    return MEBIBYTES * 1.048576 / command(guest, words)


def files(guest: Process, words: str) -> float:
    """Small files a second of one command over all of them."""
    return DIRECTORIES * FILES / command(guest, words)


def main() -> None:
    """Two guests at their shells, each with a folder of its own; one works, and then the other."""
    count = rounds(3)
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
        for folder in folders:
            furnish(folder)
        commands = [[*boot_tiny(), "--net", "none", "-v", f"{folders[0]}:/share"]]
        if qemu_is_here():
            local = f"local,id=share,path={folders[1]},security_model=none"
            device = ["-fsdev", local, "-device", "virtio-9p-device,fsdev=share,mount_tag=/share"]
            commands.append([*qemu_boot_tiny(), *device])
        else:
            missing(QEMU, QEMU_PACKAGE)
        guests = [stack.enter_context(Process(words)) for words in commands]
        for guest in guests:
            guest.await_text(PROMPT)
        for measure, unit, jobs in ((megabytes, "MB/s", LARGE), (files, "files/s", SMALL)):
            for name, words in jobs.items():
                measures: list[Callable[[], float]] = [
                    partial(measure, guest, words) for guest in guests
                ]
                found = interleaved(count, *measures)
                theirs = found[1] if len(found) > 1 else []
                compare(f"folders.{name}", unit, found[0], theirs)


if __name__ == "__main__":
    main()
