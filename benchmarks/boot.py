"""`auberge boot tiny` beside QEMU: CPU time to /init, first kernel line, memory at the shell."""

from collections.abc import Sequence

from harness.guests import (
    MEMORY,
    QEMU,
    QEMU_PACKAGE,
    boot_tiny,
    qemu_boot_tiny,
    qemu_is_here,
)
from harness.process import Memory, Process, Usage
from harness.report import Target, compare, interleaved, missing, report, rounds

FIRST_LINE = "] Linux version"
FROM_INIT = "guest says:"
PROMPT = "root@tiny:~# "

CPU_TARGET, FIRST_LINE_TARGET = Target(most=2), Target(most=300)
MEMORY_TARGET = Target(most=60)
MIB = 1 << 20


def until(command: Sequence[str], text: str) -> Usage:
    """What a command uses until it prints `text`; then it is killed."""
    with Process(command) as process:
        return process.await_text(text)


def at_the_shell(command: Sequence[str]) -> Memory:
    """Resident memory while the guest waits for its first command."""
    with Process(command) as process:
        process.await_text(PROMPT)
        return process.memory(MEMORY)


def main() -> None:
    """Ours and theirs in turn; the first boot of ours is not counted, it may build its engine."""
    count = rounds(5)
    peer = qemu_is_here()
    until(boot_tiny("earlycon=sbi"), FIRST_LINE)

    commands = [boot_tiny("auberge.report")] + [qemu_boot_tiny("auberge.report")] * peer
    ours, *theirs = interleaved(
        count, *(lambda command=command: until(command, FROM_INIT).cpu for command in commands)
    )
    compare("boot.cpu_to_init", "s", ours, sum(theirs, []), ratio_target=CPU_TARGET)

    commands = [boot_tiny("earlycon=sbi")] + [qemu_boot_tiny("earlycon=sbi")] * peer
    ours, *theirs = interleaved(
        count, *(lambda c=command: until(c, FIRST_LINE).wall * 1000 for command in commands)
    )
    compare("boot.first_line", "ms", ours, sum(theirs, []), target=FIRST_LINE_TARGET)

    memory = at_the_shell(boot_tiny())
    report("boot.memory_beyond_guest.auberge", memory.own / MIB, "MiB", MEMORY_TARGET)
    report("boot.memory_of_guest.auberge", memory.guest / MIB, "MiB")
    if peer:
        memory = at_the_shell(qemu_boot_tiny())
        report("boot.memory_beyond_guest.qemu", memory.own / MIB, "MiB")
        report("boot.memory_of_guest.qemu", memory.guest / MIB, "MiB")
    else:
        missing(QEMU, QEMU_PACKAGE)


if __name__ == "__main__":
    main()
