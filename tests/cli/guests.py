"""Small machine-mode programs as ELF files, by our own assembler."""

import struct

from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64

RAM = 0x8000_0000

HELLO = """
    li a0, 0x10000000
    la a1, text
1:  lbu a2, 0(a1)
    beqz a2, 2f
    sb a2, 0(a0)
    addi a1, a1, 1
    j 1b
2:  li a0, 0x100000
    li a1, {code}
    sw a1, 0(a0)
    j .
text: .asciz "hello\\n"
"""
SPIN = "j ."
SLEEP = "wfi; j ."
ECHO = """
    li a0, 0x10000000
1:  lbu a1, 5(a0)
    andi a1, a1, 1
    beqz a1, 1b
    lbu a1, 0(a0)
    sb a1, 0(a0)
    li a2, 'q'
    bne a1, a2, 1b
    li a0, 0x100000
    li a1, 0x5555
    sw a1, 0(a0)
    j .
"""
NOWHERE = "jr zero"
FLOOD = """
    li a0, 0x10000000
    li a1, 'y'
1:  sb a1, 0(a0)
    j 1b
"""


def hello(code: int = 0) -> str:
    """Prints hello and ends with `code`, as the SiFive test device takes it."""
    return HELLO.format(code=code << 16 | 0x3333 if code else 0x5555)


def write_elf(path, text: str) -> str:
    """An ELF file of one segment, to be run in machine mode from the beginning of RAM."""
    code = assemble(rv64, text, RAM)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, RAM, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 120, RAM, RAM, len(code), len(code), 4096)
    path.write_bytes(ident + header + segment + code)
    return str(path)
