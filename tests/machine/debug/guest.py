"""A small machine-mode program to be debugged, on one hart or two."""

from pathlib import Path

import auberge
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from tests.machine.elves import BASE, elf

PROGRAM = """
start:  csrr s1, mhartid
        la s0, data
loop:   addi a0, a0, 1
        ld a1, 0(s0)
        add a1, a1, a0
store:  sd a1, 8(s0)
        call function
        bnez s1, loop
        lw a2, 16(s0)           # not zero: the debugger says that it is enough
        beqz a2, loop
        li t0, 0x100000
        li t1, 0x00073333
        sw t1, 0(t0)
end:    j end
function:
        addi a3, a3, 2
        ret
        .align 6
data:   .dword 5
        .dword 0
        .dword 0
"""
BUILT = assembly(rv64, PROGRAM, BASE)
AT = BUILT.symbols


def write(path: Path) -> Path:
    path.write_bytes(elf([(BASE, BUILT.code, len(BUILT.code) + 4096)]))
    return path


def machine(path: Path, cpus: int = 1, engine: str = "interpreter") -> auberge.Machine:
    kernel = write(path / "program")
    return auberge.Machine.virt(kernel, memory="4M", cpus=cpus, engine=engine, console=print)
