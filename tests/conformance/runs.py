"""A program run by an engine of ours, and by QEMU's user mode."""

import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Hypercall, Spent
from auberge.memory.ram import PAGE, Ram
from tests.conformance.program import EXIT, START, WRITE, Program

QEMU = "qemu-riscv64"
CPU = "rv64,zba=true,zbb=true,zbs=true"
FS_ON, EVERYWHERE = 1 << 13, (1 << 54) - 1
A0, A1, A2, A7 = 10, 11, 12, 17
ECALL_FROM_U = 8


class Result(NamedTuple):
    """What a program wrote, how it ended, and after how many instructions (0: nobody counted)."""

    output: bytes
    end: str
    instructions: int = 0


def run_here(engine: str, program: Program) -> Result:
    """On an engine of ours, in U-mode with bare addresses; the host serves its two system calls."""
    kind, ram = choose(engine), Ram(START, -(-program.size // PAGE) * PAGE)
    ram.write(START, program.contents())
    hart = kind.hart(0)
    machine = kind.engine(hart, ram, ManualClock())
    hart["pc"], hart["priv"], hart["hosted"] = START, 0, 1
    hart["mstatus"] |= FS_ON
    hart["pmpcfg0"], hart["pmpaddr0"] = 0x1F, EVERYWHERE
    output = b""
    budget = 100_000 + 10_000 * program.iterations
    while True:
        out = machine.run(budget)
        if not isinstance(out, Hypercall) or hart["cause"] != ECALL_FROM_U:
            end = "no end" if isinstance(out, Spent) else f"{out}, cause {hart['cause']}"
            end += f", pc {hart['pc']:#x}, tval {hart['tval']:#x}"
            break
        if hart.x[A7] == EXIT:
            end = f"exit {hart.x[A0]}"
            break
        if hart.x[A7] != WRITE:
            end = f"system call {hart.x[A7]}"
            break
        output += ram.read(hart.x[A1], hart.x[A2])
        hart["pc"] += 4
    return Result(output, end, hart["spent"])


def run_in_qemu(program: Program, path: Path) -> Result:
    """In QEMU's user mode, from a file at `path`."""
    path.write_bytes(program.elf())
    path.chmod(0o755)
    done = subprocess.run([QEMU, "-cpu", CPU, path], capture_output=True, timeout=60, check=False)
    code = done.returncode
    return Result(done.stdout, f"exit {code}" if code >= 0 else signal.Signals(-code).name)
