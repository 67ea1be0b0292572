"""A disk read from beginning to end by a guest, cold: raw and compressed; the same in QEMU."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from harness.guests import QEMU, QEMU_PACKAGE, boot_tiny, qemu_boot_tiny, qemu_is_here
from harness.process import PATIENCE, Process
from harness.report import Target, compare, interleaved, missing, report, rounds

import auberge
from auberge.image import build

PROMPT = "root@tiny:~# "
SIZE = 192 << 20
TARGET = Target(least=200)
FORGET = "echo 3 > /proc/sys/vm/drop_caches"
AGAIN = "ag''ain"


def contents() -> bytes:
    """Bytes that compress to about half, differently everywhere."""
    rolls = random.Random(1)
    return b"".join(rolls.randbytes(2048) + bytes(2048) for _ in range(SIZE >> 12))


def disks(folder: str) -> list[str]:
    """The disk raw and, where qemu-img is here, as qcow2: plain, and compressed by zlib."""
    raw = os.path.join(folder, "raw.img")
    with open(raw, "wb") as file:
        file.write(contents())
    made = [raw]
    if shutil.which("qemu-img") is None:
        missing("qemu-img", "qemu-utils")
        return made
    for name, options in (("plain", []), ("zlib", ["-c"])):
        path = os.path.join(folder, f"{name}.qcow2")
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, path], check=True
        )
        made.append(path)
    return made


def command(guest: Process, words: str) -> float:
    """Seconds that a command takes in the guest."""
    return guest.carry_out(words, PROMPT).wall


def read_all(disk: int, flags: str) -> str:
    """A guest's command that reads a disk, which it knows by its serial number."""
    found = f"$(basename $(dirname $(grep -l disk{disk} /sys/block/vd*/serial)))"
    return f"dd if=/dev/{found} of=/dev/null bs=1M {flags}"


def rate(guest: Process, disk: int, flags: str) -> float:
    """MB/s of a sequential read with nothing in the guest's cache."""
    command(guest, FORGET)
    return SIZE / 1e6 / command(guest, read_all(disk, flags))


def python_per_request(path: str) -> float:
    """Microseconds of Python that a request of 1 MiB costs, as `--stats` has it."""
    image = build("tiny", "riscv64")
    with auberge.Machine.virt(
        image.kernel, image.initrd, disks=[f"{path},ro"], console=lambda text: None
    ) as machine:
        machine.console.expect(PROMPT, PATIENCE)
        machine.console.send(f"{read_all(0, '')}; {FORGET}; echo {AGAIN}\n")
        machine.console.expect("again", PATIENCE)
        before = machine.statistics().disks
        machine.console.send(f"{read_all(0, '')}; poweroff -f\n")
        machine.run(timeout=PATIENCE)
        after = machine.statistics().disks
    requests = after["requests"] - before["requests"]
    return (after["python_ns"] - before["python_ns"]) / requests / 1000


def main() -> None:
    """Two guests at their shells with the same disks, one read in one and then in the other."""
    count = rounds(3)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        made = disks(folder)
        ours = [*boot_tiny(), "--net", "none"]
        for path in made:
            ours += ["--disk", f"{path},ro"]
        commands = [ours]
        if qemu_is_here():
            theirs = qemu_boot_tiny()
            for number, path in enumerate(made):
                kind = "raw" if path.endswith(".img") else "qcow2"
                drive = f"file={path},if=none,id=d{number},format={kind},readonly=on"
                theirs += [
                    "-drive",
                    drive,
                    "-device",
                    f"virtio-blk-device,drive=d{number},serial=disk{number}",
                ]
            commands.append(theirs)
        else:
            missing(QEMU, QEMU_PACKAGE)
        guests = [stack.enter_context(Process(words)) for words in commands]
        for guest in guests:
            guest.await_text(PROMPT)
        for name, disk, flags, target in (
            ("raw", 0, "", TARGET),
            ("raw_direct", 0, "iflag=direct", TARGET),
            ("qcow2", 1, "", None),
            ("qcow2_zlib", 2, "", None),
        ):
            if disk >= len(made):
                continue
            measures: list[Callable[[], float]] = [
                partial(rate, guest, disk, flags) for guest in guests
            ]
            interleaved(1, *measures)  # the guest's memory is touched for the first time
            found = interleaved(count, *measures)
            theirs_found = found[1] if len(found) > 1 else []
            compare(f"disk.{name}", "MB/s", found[0], theirs_found, target)
        report("disk.python_per_request", python_per_request(made[0]), "us")


if __name__ == "__main__":
    main()
