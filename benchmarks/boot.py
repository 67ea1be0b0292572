"""`auberge boot tiny` beside QEMU: CPU time to /init, first kernel line, memory at the shell."""

from collections.abc import Sequence
from functools import partial

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


def wall_ms(usages: Sequence[Usage]) -> list[float]:
    """Their milliseconds by the clock."""
    return [1000 * usage.wall for usage in usages]


def cpu_ms(usages: Sequence[Usage]) -> list[float]:
    """Their milliseconds of CPU."""
    return [1000 * usage.cpu for usage in usages]


def main() -> None:
    """Ours and theirs in turn; the first boot of ours is not counted, it may build its engine."""
    count = rounds(5)
    peer = qemu_is_here()
    until(boot_tiny("earlycon=sbi"), FIRST_LINE)

    commands = [boot_tiny("auberge.report")] + [qemu_boot_tiny("auberge.report")] * peer
    first, *others = interleaved(count, *(partial(until, each, FROM_INIT) for each in commands))
    ours, theirs = ([usage.cpu for usage in usages] for usages in (first, sum(others, [])))
    compare("boot.cpu_to_init", "s", ours, theirs, ratio_target=CPU_TARGET)

    commands = [boot_tiny("earlycon=sbi")] + [qemu_boot_tiny("earlycon=sbi")] * peer
    first, *others = interleaved(count, *(partial(until, each, FIRST_LINE) for each in commands))
    other = sum(others, [])
    for name, ours, theirs, target in (
        ("first_line", wall_ms(first), wall_ms(other), FIRST_LINE_TARGET),
        ("cpu_to_first_line", cpu_ms(first), cpu_ms(other), None),
    ):
        compare(f"boot.{name}", "ms", ours, theirs, target)

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
