"""First and second starts with the translator, each with a cache of its own, and QEMU beside them.

The second one begins when the compiler has done what the first has left. By the clock.
"""

import os
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from harness.guests import (
    QEMU,
    QEMU_PACKAGE,
    boot_debian,
    boot_tiny,
    qemu_boot_debian,
    qemu_boot_tiny,
    qemu_is_here,
    run_program,
)
from harness.process import Process, used
from harness.programs import elf_file
from harness.report import Target, compare, missing, report, rounds
from harness.translations import await_compiler

from auberge.image import store

FROM_INIT = "guest says:"
LOGIN = "debian login: "  # in one piece only where the kernel is quiet
PATIENCE = 900.0  # seconds

FIRST, SECOND = Target(most=1.5), Target(most=0.6)
SHORT = Target(most=1.1)

# Some hundredths of a second of work in ever new places: what a translator has the least of.
SHORT_PROGRAM = (
    "\n".join(f"f{n}: li t0, {2000 + n}\n1: addi t0, t0, -1\n xor t1, t1, t0\n bnez t0, 1b"
              for n in range(2000)) + "\n"
)  # fmt: skip


class Starts(NamedTuple):
    """Seconds until a text is printed: first start, second start, and another emulator's."""

    first: list[float]
    second: list[float]
    peer: list[float]


def until(command: Sequence[str], text: str) -> float:
    """Seconds by the clock until a command prints `text`; then it is told to end, and does."""
    with Process(command) as process:
        wall = process.await_text(text, PATIENCE).wall
        process.end()
    return wall


def build_interpreter() -> None:
    """Into the cache that is in force: a first start is one without translations."""
    with elf_file("nop") as path:
        used(run_program(path))


def starts(ours: Sequence[str], theirs: Sequence[str], text: str, count: int) -> Starts:
    """Measure them in turn."""
    found = Starts([], [], [])
    images = store.images_directory()
    for _ in range(count):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            os.symlink(images, os.path.join(folder, "images"))
            before, os.environ["AUBERGE_CACHE_DIR"] = os.environ.get("AUBERGE_CACHE_DIR"), folder
            try:
                build_interpreter()
                found.first.append(until(ours, text))
                await_compiler()
                found.second.append(until(ours, text))
                await_compiler()
            finally:
                del os.environ["AUBERGE_CACHE_DIR"]
                if before is not None:
                    os.environ["AUBERGE_CACHE_DIR"] = before
        if theirs:
            found.peer.append(until(theirs, text))
    return found


def main() -> None:
    """Both images; and a program that ends before a translator is of use."""
    count = rounds(3)
    peer = qemu_is_here()
    tiny = boot_tiny("auberge.report"), qemu_boot_tiny("auberge.report"), FROM_INIT
    guests = {"tiny": (tiny, count)}
    if store.find("debian", "riscv64") is not None:
        guests["debian"] = (boot_debian("quiet"), qemu_boot_debian("quiet"), LOGIN), 1
    for name, ((ours, theirs, text), times) in guests.items():
        found = starts(ours, theirs if peer else [], text, times)
        compare(f"starts.{name}.first", "s", found.first, found.peer, ratio_target=FIRST)
        compare(f"starts.{name}.second", "s", found.second, found.peer, ratio_target=SECOND)
    if not peer:
        missing(QEMU, QEMU_PACKAGE)
    with elf_file(SHORT_PROGRAM) as path:
        alone, both = [], []
        for _ in range(count):
            alone.append(used([*run_program(path), "--engine", "interpreter"]).wall)
            both.append(used(run_program(path)).wall)
    ratio = sorted(b / a for a, b in zip(alone, both, strict=True))[count // 2]
    report("starts.short_program.interpreter", min(alone), "s")
    report("starts.short_program.translator", min(both), "s")
    report("starts.short_program.ratio", ratio, "x", SHORT)


if __name__ == "__main__":
    main()
