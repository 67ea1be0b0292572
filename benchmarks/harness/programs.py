"""Programs for machine mode from assembly text: ELF files that power the machine off."""

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64

BASE = 0x8000_0000

FRAME = """
        csrr    t0, mhartid
        slli    t0, t0, 16
        li      sp, {stacks}
        sub     sp, sp, t0              # 64 KiB of stack for each hart
        li      t0, 0x6000              # mstatus.FS: floating point is on
        csrs    mstatus, t0
{body}
        la      t0, finished
        li      t1, 1
        amoadd.d t1, t1, (t0)
        addi    t1, t1, 1
        li      t2, {harts}
        bne     t1, t2, rest            # the last hart switches off
        li      t0, 0x100000            # the test finisher of board virt
        li      t1, 0x5555
        sw      t1, 0(t0)
rest:   wfi
        j       rest
        .align  3
finished: .dword 0
"""


def program(body: str, harts: int = 1) -> bytes:
    """`body` in a frame: each of `harts` runs it with a stack of its own, then all is over."""
    return assemble(rv64, FRAME.format(body=body, harts=harts, stacks=BASE + (64 << 20)), BASE)


def elf(code: bytes) -> bytes:
    """An executable with one segment, at the beginning of RAM (System V ABI, chapters 4 and 5)."""
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, 2, 243, 1, BASE, 64, 0, 0, 64, 56, 1, 64, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 7, 4096, BASE, BASE, len(code), len(code), 4096)
    return (header + segment).ljust(4096, b"\0") + code


@contextmanager
def elf_file(body: str, harts: int = 1) -> Iterator[str]:
    """The path of such a program, while the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "program")
        with open(path, "wb") as file:
            file.write(elf(program(body, harts)))
        yield path
