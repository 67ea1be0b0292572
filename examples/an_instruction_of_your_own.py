"""An encoding, a syntax and a function: the assembler knows it, and an engine executes it."""

from auberge.bits.bits import Bits, select
from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.isa.assembler import assemble
from auberge.isa.hart import Hart
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram

mine = rv64.extension("Xdist", "1.0", "Distances")


@mine.insn("0000000 rs2 rs1 000 rd 0001011", "dist {rd}, {rs1}, {rs2}")
def dist(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
    """|rs1 - rs2| of unsigned numbers; `if` would not do: the guest knows which is larger."""
    a, b = h.x[rs1], h.x[rs2]
    h.x[rd] = select(a.ult(b), b - a, a - b)


ram = Ram(0x8000_0000, 1 << 20)
ram.write(ram.base, assemble(rv64, "dist a0, a1, a2"))
reference = choose("reference")
hart = reference.hart(0)
hart["pc"], hart.x[11], hart.x[12] = ram.base, 5, 12
print(reference.engine(hart, ram, ManualClock()).run(1), "a0 =", hart.x[10])
