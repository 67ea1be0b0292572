"""Programs that only compute, compiled by gcc, inside the booted `tiny`: the translator and QEMU.

The first runs of a program do not count: in them, what is hot is compiled, and compiled well.
"""

import io
import os
import shutil
import tempfile
from contextlib import ExitStack
from functools import partial

from harness.computing import ALONE, COMPILER, HOSTS, PACKAGE, compiled, programs, source
from harness.guests import (
    QEMU,
    QEMU_PACKAGE,
    boot_tiny_from,
    qemu_boot_tiny_from,
    qemu_is_here,
    tiny_initrd,
)
from harness.process import Process, used
from harness.report import Target, compare, interleaved, median_ratio, missing, report, rounds

from auberge.image.cpio import Cpio

PROMPT = "root@tiny:~# "
NATIVE = Target(most=3)
WARM = 10  # runs of a program before those that count


def archive(folder: str) -> bytes:
    """All programs for the guest, to be unpacked after its own initramfs."""
    out = io.BytesIO()
    files = Cpio(out)
    files.directory("bin")
    for name in programs():
        with open(compiled(COMPILER, source(name), folder, *ALONE), "rb") as file:
            files.file(f"bin/compute_{name}", file.read(), 0o755)
    files.close()
    return out.getvalue()


def cpu_of(guest: Process, name: str) -> float:
    """Seconds of CPU that the emulator uses while the guest runs a program."""
    return guest.carry_out(f"compute_{name}", PROMPT).cpu


def own_cpu_of(program: str) -> float:
    """Seconds of CPU that it takes on this host itself."""
    return float(used([program]).cpu)


def main() -> None:
    """Two guests, each program in one and then in the other; and on this host, if it has gcc."""
    count = rounds(3)
    if shutil.which(COMPILER) is None:
        missing(COMPILER, PACKAGE)
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        initrd = os.path.join(folder, "initrd")
        with open(initrd, "wb") as file:
            file.write(tiny_initrd() + archive(folder))
        commands = [boot_tiny_from(initrd, "--engine", "translator")]
        if qemu_is_here():
            commands.append(qemu_boot_tiny_from(initrd))
        else:
            missing(QEMU, QEMU_PACKAGE)
        guests = [stack.enter_context(Process(command)) for command in commands]
        for guest in guests:
            guest.await_text(PROMPT)
        for name in programs():
            for guest in guests * WARM:
                cpu_of(guest, name)
            runs = [partial(cpu_of, guest, name) for guest in guests]
            if shutil.which(HOSTS):
                runs.append(partial(own_cpu_of, compiled(HOSTS, source(name), folder)))
            ours, *others = interleaved(count, *runs)
            compare(f"computing.{name}", "s", ours, others[0] if qemu_is_here() else [])
            if shutil.which(HOSTS):
                ratio = median_ratio(ours, others[-1])
                report(f"computing.{name}.over_native", ratio, "x", NATIVE)


if __name__ == "__main__":
    main()
