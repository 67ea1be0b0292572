"""The programs of `computing.py` in machine mode, without paging: the translator, QEMU, this host.

A program that does nothing is taken from each time. The first runs do not count.
"""

import os
import shutil
import tempfile
from functools import partial

from harness.computing import ALONE, COMPILER, HOSTS, PACKAGE, compiled, programs, source
from harness.guests import QEMU, QEMU_PACKAGE, qemu_is_here, qemu_run_program, run_program
from harness.process import used
from harness.report import Target, compare, interleaved, median_ratio, missing, report, rounds
from harness.translations import await_compiler

BARE = [
    "-DBARE",
    "-mcmodel=medany",
    "-Wl,-Ttext=0x80000000,-n,--build-id=none,--no-warn-rwx-segments",
    "-fno-pic",
    "-no-pie",
]
NOTHING = '#include "program.h"\nu64 compute(void) { return 0; }\n'
WARM = 4
NATIVE = Target(most=2)


def bare(text: str, folder: str) -> str:
    """The path of a program for machine mode; `text` is that of its source."""
    return str(compiled(COMPILER, text, folder, *ALONE, *BARE))


def cpu_of(command: list[str]) -> float:
    """Seconds of CPU that a process takes."""
    return float(used(command).cpu)


def main() -> None:
    """Each program as a process of ours, one of QEMU's and one of its own."""
    count = rounds(5)
    if shutil.which(COMPILER) is None:
        missing(COMPILER, PACKAGE)
        return
    runners = [run_program]
    if qemu_is_here():
        runners.append(qemu_run_program)
    else:
        missing(QEMU, QEMU_PACKAGE)
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "nothing.c")
        with open(text, "w", encoding="utf-8") as file:
            file.write(NOTHING)
        nothing = bare(text, folder)
        empty = [min(cpu_of(run(nothing)) for _ in range(count)) for run in runners]
        for name in programs():
            path = bare(source(name), folder)
            for _ in range(WARM):
                used(run_program(path))
                await_compiler()
            commands, starts = [run(path) for run in runners], [*empty]
            if shutil.which(HOSTS):
                commands.append([compiled(HOSTS, source(name), folder)])
                starts.append(0.0)
            found = interleaved(count, *(partial(cpu_of, command) for command in commands))
            ours, *others = (
                [max(time - less, 0.001) for time in taken]
                for taken, less in zip(found, starts, strict=True)
            )
            compare(f"bare.{name}", "s", ours, others[0] if qemu_is_here() else [])
            if shutil.which(HOSTS):
                report(f"bare.{name}.over_native", median_ratio(ours, others[-1]), "x", NATIVE)


if __name__ == "__main__":
    main()
