"""A device of your own in a machine: the guest writes a number, and reads its square."""

import struct
from pathlib import Path

import auberge
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.device import Line


class Squarer:
    size, widths, compatible = 8, frozenset({8}), "example,squarer"

    def __init__(self, irq: Line) -> None:
        self.state = (0,)

    def properties(self) -> dict[str, int]:
        return {}  # what the device tree says of it besides

    def read(self, offset: int, width: int) -> int:
        return self.state[0] ** 2 % 2**64

    def write(self, offset: int, width: int, value: int) -> None:
        self.state = (value,)


code, base = assemble(rv64, "lui t0, 0x30000; li a0, 12; sd a0, (t0); ld a1, (t0)"), 1 << 31
elf = struct.pack(
    "<4s4B8xHHIQQQIHHH6x", b"\x7fELF", 2, 1, 1, 0, 2, 243, 1, base, 64, 0, 0, 64, 56, 1
)
elf += struct.pack("<IIQQQQQQ", 1, 7, 120, base, base, len(code), len(code), 4096)
Path("program.elf").write_bytes(elf + code)
with auberge.Machine.virt("program.elf", devices={0x3000_0000: Squarer}) as machine:
    machine.run(until=base + len(code))
    print(machine.harts[0]["a1"])  # 144
