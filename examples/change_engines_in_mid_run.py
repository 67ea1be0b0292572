"""State is data: one engine begins a loop, the other finishes it, on the very same hart."""

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram

SUM = """
1:  add a0, a0, a1
    addi a1, a1, -1
    bnez a1, 1b
    j .
"""
ram, clock = Ram(0x8000_0000, 1 << 20), ManualClock()
ram.write(ram.base, assemble(rv64, SUM, ram.base))
interpreter, reference = choose("interpreter"), choose("reference")
hart = interpreter.hart(0)
hart["pc"], hart.x[11] = ram.base, 100_000

interpreter.engine(hart, ram, clock).run(150_001)  # exactly: in the middle of the loop
print(f"interpreter: pc {hart['pc']:#x}, {hart.x[11]:6} to go, sum {hart.x[10]}")
reference.engine(hart, ram, clock).run(5_000)
print(f"reference:   pc {hart['pc']:#x}, {hart.x[11]:6} to go, sum {hart.x[10]}")
interpreter.engine(hart, ram, clock).run(150_000)
print(f"interpreter: pc {hart['pc']:#x}, {hart.x[11]:6} to go, sum {hart.x[10]}")
assert hart.x[10] == 100_000 * 100_001 // 2
