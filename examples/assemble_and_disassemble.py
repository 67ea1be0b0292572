"""The description at work: text to words, words to text, and what an encoding says."""

from auberge.isa.assembler import assembly
from auberge.isa.disassembler import disassemble, lines
from auberge.isa.riscv.rv64 import rv64

program = assembly(
    rv64,
    """
    count:  li a0, 1000000
    1:      addi a0, a0, -1
            bnez a0, 1b
            ret
    """,
    origin=0x8000_0000,
)
print("labels:", {name: hex(address) for name, address in program.symbols.items()})
for line in lines(rv64, program.code, program.origin, aliases=True):
    print(f"{line.address:x}: {line.word:08x}  {line.text}")

add = rv64["add"]
word = add.encode(rd=10, rs1=11, rs2=12)
print(f"{word:08x} is {disassemble(rv64, word)!r}; c.add is {disassemble(rv64, 0x952E)!r}")
print(f"{len(rv64.insns)} instructions, {len(rv64.csrs)} CSRs: {rv64.isa_string()}")
