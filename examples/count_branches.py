"""Look over a guest's shoulder: one instruction at a time, which branches, and how often taken."""

from collections import Counter

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.isa.assembler import assemble
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram

COLLATZ = """
1:  andi a1, a0, 1
    beqz a1, 2f
    sh1add a0, a0, a0
    addi a0, a0, 1
2:  bnez a1, 1b
    srli a0, a0, 1
    addi a2, a0, -1
    bnez a2, 1b
"""
ram, kind = Ram(0x8000_0000, 1 << 20), choose("reference")
ram.write(ram.base, assemble(rv64, COLLATZ, ram.base))
hart, seen = kind.hart(0), Counter[tuple[str, bool]]()
engine = kind.engine(hart, ram, ManualClock())
hart["pc"], hart.x[10], hart.x[12] = ram.base, 27, 1
while hart.x[12] and (word := int.from_bytes(ram.read(pc := hart["pc"], 4), "little")):
    engine.run(1)
    if (text := disassemble(rv64, word, pc)).startswith("b"):
        seen[text, hart["pc"] != pc + 4] += 1
print(*(f"{n:4} {text}: {'taken' if t else 'not'}" for (text, t), n in seen.items()), sep="\n")
