"""Two engines, one program: where do they differ? Here one of them has been given a wrong start."""

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Exit
from auberge.engine.lockstep import first_difference
from auberge.isa.assembler import assemble
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram


class Subject:
    """A hart that multiplies for ever; `bug` flips a bit of a register that is used late."""

    def __init__(self, engine: str, bug: int = 0) -> None:
        self.ram, kind = Ram(0x8000_0000, 1 << 20), choose(engine)
        self.ram.write(self.ram.base, assemble(rv64, "mul a0, a0, a1; addi a2, a2, 1; j . - 8"))
        self.hart = kind.hart(0)
        self.hart["pc"], self.hart.x[10], self.hart.x[11] = self.ram.base, 3 + bug, 5
        self.engine = kind.engine(self.hart, self.ram, ManualClock())

    def run(self, budget: int) -> Exit:
        return self.engine.run(budget)


print(first_difference(lambda: Subject("reference"), lambda: Subject("interpreter"), 10_000))
found = first_difference(lambda: Subject("reference"), lambda: Subject("interpreter", 8), 10_000)
assert found is not None
print(f"at {found.pc:#x}, {disassemble(rv64, found.word)}: {found.values}")
