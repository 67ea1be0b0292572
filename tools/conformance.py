"""Run every test program of a folder: `python tools/conformance.py [--engine NAME] DIR`.

A test program is an ELF file that is linked at 0x80000000, begins in machine mode, and says how it
went in its word `tohost`, as those of riscv-tests do (HTIF: 1 is a pass, any other odd number a
failure; one for device 1 prints a character). Prints what did not pass, then a line for each set
(what names share up to their second hyphen). Exits with 1 unless all passed.
"""

import argparse
import sys
from pathlib import Path

from auberge.engine.choose import NAMES, choose
from auberge.engine.clock import InstructionClock
from auberge.engine.exits import Idle, MmioRead, MmioWrite, Stuck
from auberge.machine.elf import open_elf
from auberge.memory.ram import Ram
from auberge.refusal import Refusal

BASE, SIZE = 0x8000_0000, 64 << 20
SLICE, LIMIT = 2_000, 5_000_000  # instructions between looks at tohost, and in all
ELF_MAGIC = b"\x7fELF"


def run(path: str, engine: str) -> str:
    """How the program at `path` went: "passed", or what happened instead."""
    program = open_elf(path, BASE, SIZE, BASE)
    if program.tohost is None:
        raise Refusal(f"{path}: no symbol tohost; give a folder of test programs")
    ram, clock, kind = Ram(BASE, SIZE), InstructionClock(), choose(engine)
    try:
        program.load(ram)
        hart = kind.hart(0)
        hart["pc"] = program.entry
        machine = kind.engine(hart, ram, clock)
        while hart["spent"] < LIMIT:
            out = machine.run(SLICE)
            said = int.from_bytes(ram.read(program.tohost, 8), "little")
            if said >> 48:  # a command to a device; what it prints is not what is judged
                ram.write(program.tohost, bytes(8))
            elif said & 1:
                return "passed" if said == 1 else f"failed in its test {said >> 1}"
            match out:
                case MmioRead() | MmioWrite():
                    machine.resume(None)
                case Stuck(pc, cause):
                    return f"stuck at {pc:#x} with cause {cause}"
                case Idle(None):
                    return "asleep for ever"
                case Idle(deadline):
                    clock.skip_to(deadline or 0)
        return f"no answer after {LIMIT} instructions, at {hart['pc']:#x}"
    finally:
        ram.close()


def is_elf(path: Path) -> bool:
    """Whether `path` is an ELF file, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == ELF_MAGIC


def main() -> int:
    """Run them all, in order of their names."""
    parser = argparse.ArgumentParser(description="Run a folder of test programs.")
    parser.add_argument("--engine", choices=NAMES, default="auto")
    parser.add_argument("folder", metavar="DIR")
    options = parser.parse_args()
    sets: dict[str, list[bool]] = {}
    try:
        for path in sorted(filter(is_elf, Path(options.folder).glob("*"))):
            how = run(str(path), options.engine)
            sets.setdefault("-".join(path.name.split("-")[:2]), []).append(how == "passed")
            if how != "passed":
                print(f"{path.name}: {how}", flush=True)
    except (Refusal, OSError) as error:
        print(error, file=sys.stderr)
        return 125
    if not sets:
        print(f"{options.folder}: no ELF files; give a folder of test programs", file=sys.stderr)
        return 125
    sets["all"] = [passed for each in sets.values() for passed in each]
    for name, results in sets.items():
        print(f"{name:20} {sum(results)}/{len(results)}")
    return 0 if all(sets["all"]) else 1


if __name__ == "__main__":
    sys.exit(main())
