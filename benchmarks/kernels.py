"""Programs that only compute, in machine mode, beside QEMU's translator: it is faster at these."""

import statistics
from collections.abc import Sequence
from functools import partial

from harness.guests import (
    QEMU,
    QEMU_PACKAGE,
    qemu_is_here,
    qemu_run_program,
    run_program,
)
from harness.process import used
from harness.programs import elf_file
from harness.report import compare, interleaved, missing, report, rounds

SIEVE = """
        li      s0, 0x81000000          # one byte for each number below s1
        li      s1, 2000000
        li      s2, 60                  # times
again:  mv      t0, s0
        add     t1, s0, s1
1:      sd      zero, 0(t0)
        addi    t0, t0, 8
        bltu    t0, t1, 1b
        li      t2, 2
2:      add     t0, s0, t2
        lbu     t3, 0(t0)
        bnez    t3, 4f
        add     t0, t0, t2
3:      bgeu    t0, t1, 4f
        sb      t2, 0(t0)
        add     t0, t0, t2
        j       3b
4:      addi    t2, t2, 1
        mul     t3, t2, t2
        bltu    t3, s1, 2b
        addi    s2, s2, -1
        bnez    s2, again
"""

FIBONACCI = """
        li      a0, 36
        call    fib
        j       done
fib:    li      t0, 2
        bltu    a0, t0, 1f
        addi    sp, sp, -32
        sd      ra, 0(sp)
        sd      s0, 8(sp)
        sd      s1, 16(sp)
        mv      s0, a0
        addi    a0, a0, -1
        call    fib
        mv      s1, a0
        addi    a0, s0, -2
        call    fib
        add     a0, a0, s1
        ld      ra, 0(sp)
        ld      s0, 8(sp)
        ld      s1, 16(sp)
        addi    sp, sp, 32
1:      ret
done:   nop
"""

MATRICES = """
        li      s0, 0x81000000          # a, b and c: 320 x 320 doubles each
        li      s1, 320
        li      s2, 0x81100000
        li      s3, 0x81200000
        slli    s4, s1, 3               # bytes of a row
        li      s5, 0                   # i
rows:   li      s6, 0                   # j
columns: mul    t0, s5, s4
        add     t0, t0, s0              # a[i]
        slli    t1, s6, 3
        add     t1, t1, s2              # b[0][j]
        fmv.d.x fa0, zero
        mv      t2, s1
1:      fld     fa1, 0(t0)
        fld     fa2, 0(t1)
        fmadd.d fa0, fa1, fa2, fa0
        addi    t0, t0, 8
        add     t1, t1, s4
        addi    t2, t2, -1
        bnez    t2, 1b
        mul     t0, s5, s4
        add     t0, t0, s3
        slli    t1, s6, 3
        add     t0, t0, t1
        fsd     fa0, 0(t0)
        addi    s6, s6, 1
        bne     s6, s1, columns
        addi    s5, s5, 1
        bne     s5, s1, rows
"""

CHECKSUM = """
        li      s0, 0x81000000          # Adler-32 and a xorshift over 1 MiB, byte by byte
        li      s2, 64
        li      s3, 65521
        li      a0, 1
        li      a1, 0
        li      a3, 88172645463325252
again:  mv      t0, s0
        li      t1, 0x100000
        add     t1, t1, t0
1:      lbu     t2, 0(t0)
        add     t2, t2, a3
        andi    t2, t2, 0xff
        add     a0, a0, t2
        add     a1, a1, a0
        remu    a0, a0, s3
        remu    a1, a1, s3
        slli    t3, a3, 13
        xor     a3, a3, t3
        srli    t3, a3, 7
        xor     a3, a3, t3
        slli    t3, a3, 17
        xor     a3, a3, t3
        addi    t0, t0, 1
        bne     t0, t1, 1b
        addi    s2, s2, -1
        bnez    s2, again
"""

SORT = """
        li      s0, 0x81000000          # insertion sort of 16000 doublewords from a generator
        li      s1, 16000
        li      a3, 88172645463325252
        mv      t0, s0
        slli    t1, s1, 3
        add     t1, t1, s0
1:      slli    t3, a3, 13
        xor     a3, a3, t3
        srli    t3, a3, 7
        xor     a3, a3, t3
        slli    t3, a3, 17
        xor     a3, a3, t3
        sd      a3, 0(t0)
        addi    t0, t0, 8
        bne     t0, t1, 1b
        addi    t0, s0, 8
2:      ld      t2, 0(t0)
        mv      t3, t0
3:      beq     t3, s0, 4f
        ld      t4, -8(t3)
        bgeu    t2, t4, 4f
        sd      t4, 0(t3)
        addi    t3, t3, -8
        j       3b
4:      sd      t2, 0(t3)
        addi    t0, t0, 8
        bne     t0, t1, 2b
"""

# A virtual machine of four bytecodes: jumps through a table, which no translator foresees.
BYTECODE = """
        li      s0, 80000000            # bytecodes to execute
        la      s1, table
        la      s2, text
        mv      s3, s2
next:   addi    s0, s0, -1
        beqz    s0, done
        lbu     t0, 0(s3)
        addi    s3, s3, 1
        slli    t0, t0, 3
        add     t0, t0, s1
        ld      t0, 0(t0)
        jr      t0
op_add: add     a0, a0, a1
        j       next
op_xor: xor     a1, a1, a0
        j       next
op_shift: srli  a1, a1, 1
        j       next
op_again: mv    s3, s2
        j       next
        .align  3
table:  .dword  op_add, op_xor, op_shift, op_again
text:   .byte   0, 1, 0, 2, 1, 0, 0, 2, 0, 1, 3
        .align  2
done:   nop
"""

KERNELS = {
    "sieve": SIEVE,
    "fibonacci": FIBONACCI,
    "matrices": MATRICES,
    "checksum": CHECKSUM,
    "sort": SORT,
    "bytecode": BYTECODE,
}


WARM = 3  # runs that do not count: what is hot is compiled in them, and after them


def cpu(command: Sequence[str]) -> float:
    """Seconds of CPU of a command."""
    return used(command).cpu


def main() -> None:
    """Each as a whole process, less one that has nothing to do."""
    count = rounds(3)
    peer = qemu_is_here()
    with elf_file("nop") as path:
        starts = interleaved(
            count, partial(cpu, run_program(path)), *[partial(cpu, qemu_run_program(path))] * peer
        )
    empty = [statistics.median(start) for start in starts]
    report("kernel.start.auberge", empty[0], "s")
    if peer:
        report("kernel.start.qemu", empty[1], "s")
    else:
        missing(QEMU, QEMU_PACKAGE)
    for name, text in KERNELS.items():
        with elf_file(text) as path:
            commands = [run_program(path), *[qemu_run_program(path)] * peer]
            for _ in range(WARM):
                cpu(commands[0])
            found = interleaved(count, *(partial(cpu, command) for command in commands))
        net = [[each - start for each in row] for row, start in zip(found, empty, strict=True)]
        compare(f"kernel.{name}", "s", net[0], net[1] if peer else [])


if __name__ == "__main__":
    main()
