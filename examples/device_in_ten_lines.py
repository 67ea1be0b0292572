"""A device of your own, and a hart that uses it: write a number, read its square."""

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import MmioRead, MmioWrite
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.bus import Bus, Region
from auberge.memory.ram import Ram


class Squarer:
    state = 0

    def read(self, offset: int, width: int) -> int:
        return self.state**2 % 2**64

    def write(self, offset: int, width: int, value: int) -> None:
        self.state = value


device, ram = Squarer(), Ram(0x8000_0000, 4096)
bus = Bus([Region("squarer", 0x1000_0000, 8, frozenset({8}), device.read, device.write)])
ram.write(ram.base, assemble(rv64, "lui t0, 0x10000; sd sp, (t0); ld a0, (t0)", ram.base))
engine = choose("auto").engine(choose("auto").hart(0), ram, ManualClock())
engine.hart["pc"], engine.hart.x[2] = ram.base, 12
while isinstance(exit := engine.run(3), MmioRead | MmioWrite):
    answer = bus.read(*exit) if isinstance(exit, MmioRead) else 0 if bus.write(*exit) else None
    engine.resume(answer)  # None is an access fault
print(engine.hart.x[10])  # 144
