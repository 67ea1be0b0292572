"""Run a program without an operating system: machine mode, the UART, and an exit code."""

import struct

import auberge
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64

BASE = 0x8000_0000
code = assemble(
    rv64,
    """
    li t0, 0x10000000       # the UART
    li t1, 65
    sb t1, 0(t0)
    li t0, 0x100000         # the test device: 0x3333, and the code above it
    li t1, 0x00053333
    sw t1, 0(t0)
    """,
    BASE,
)
elf = struct.pack(  # two headers are enough of an ELF file
    "<4s4B8xHHIQQQIHHH6x", b"\x7fELF", 2, 1, 1, 0, 2, 243, 1, BASE, 64, 0, 0, 64, 56, 1
)
elf += struct.pack("<IIQQQQQQ", 1, 7, 120, BASE, BASE, len(code), len(code), 4096)
with open("program.elf", "wb") as file:
    file.write(elf + code)

with auberge.Machine.virt(kernel="program.elf") as machine:
    print(machine.run())  # A, then PoweredOff(code=5)
