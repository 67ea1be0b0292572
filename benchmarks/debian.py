"""`auberge boot debian` beside QEMU: time to `login:`, memory there.

`make bench` runs it where the image is in the cache: making it takes longer than all benchmarks.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from harness.guests import (
    QEMU,
    QEMU_PACKAGE,
    boot_debian,
    qemu_boot_debian,
    qemu_is_here,
)
from harness.process import Memory, Process, Usage
from harness.report import Target, compare, interleaved, missing, report, rounds

from auberge.image.store import find

LOGIN = "debian login: "  # in one piece only where the kernel is quiet
MEMORY = 1 << 30
PATIENCE = 900.0
MIB = 1 << 20

TIME_TARGET, MEMORY_TARGET = Target(most=2.5), Target(most=150)


class Boot(NamedTuple):
    """What a boot used until somebody could log in, and what it holds then."""

    usage: Usage
    memory: Memory


def boot(command: Sequence[str]) -> Boot:
    """Boot to the login prompt, and no further."""
    with Process(command) as process:
        return Boot(process.await_text(LOGIN, PATIENCE), process.memory(MEMORY))


def main() -> None:
    """Ours and theirs in turn."""
    if find("debian", "riscv64") is None:
        print("# debian: no such image; make it with `auberge image build debian`")
        return
    peer = qemu_is_here()
    commands = [boot_debian("quiet")] + [qemu_boot_debian("quiet")] * peer
    ours, *others = interleaved(rounds(3), *(partial(boot, each) for each in commands))
    theirs = sum(others, [])
    for name, one, other in (
        ("login", [b.usage.wall for b in ours], [b.usage.wall for b in theirs]),
        ("cpu_to_login", [b.usage.cpu for b in ours], [b.usage.cpu for b in theirs]),
    ):
        compare(f"debian.{name}", "s", one, other, ratio_target=TIME_TARGET)
    for name, boots in (("auberge", ours), ("qemu", theirs)):
        if boots:
            own = min(b.memory.own for b in boots)
            target = MEMORY_TARGET if name == "auberge" else None
            report(f"debian.memory_beyond_guest.{name}", own / MIB, "MiB", target)
            guest = min(b.memory.guest for b in boots)
            report(f"debian.memory_of_guest.{name}", guest / MIB, "MiB")
    if not peer:
        missing(QEMU, QEMU_PACKAGE)


if __name__ == "__main__":
    main()
