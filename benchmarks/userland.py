"""Commands inside the booted `tiny`: user mode, system calls, paging; the same in QEMU."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from harness.guests import QEMU, QEMU_PACKAGE, boot_tiny, qemu_boot_tiny, qemu_is_here
from harness.process import Process
from harness.report import compare, interleaved, missing, rounds

PROMPT = "root@tiny:~# "
MADE = "dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\\000' 'a' > /tmp.bin"

COMMANDS = {
    "shell_loop": "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done",
    "processes": "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do /bin/true; sh -c :; done",
    "sha256": "sha256sum /tmp.bin >/dev/null",
    "gzip": "gzip -c /tmp.bin >/dev/null",
    "awk_floats": "awk 'BEGIN {for (i = 1; i < 200000; i++) s += i / 3; print s}' >/dev/null",
    "sort": "seq 20000 | sort -r >/dev/null",
    "system_calls": "dd if=/dev/zero of=/dev/null bs=1 count=60000 2>/dev/null",
}


def cpu_of(guest: Process, command: str) -> float:
    """Seconds of CPU that the emulator uses while the guest runs a command."""
    return guest.carry_out(command, PROMPT).cpu


def main() -> None:
    """Two guests at their shells, each command in one and then in the other."""
    count = rounds(3)
    with ExitStack() as stack:
        commands = [boot_tiny()]
        if qemu_is_here():
            commands.append(qemu_boot_tiny())
        else:
            missing(QEMU, QEMU_PACKAGE)
        guests = [stack.enter_context(Process(command)) for command in commands]
        for guest in guests:
            guest.await_text(PROMPT)
            cpu_of(guest, MADE)
        for name, command in COMMANDS.items():
            measures: list[Callable[[], float]] = [
                partial(cpu_of, guest, command) for guest in guests
            ]
            found = interleaved(count, *measures)
            compare(f"userland.{name}", "s", found[0], found[1] if len(found) > 1 else [])


if __name__ == "__main__":
    main()
