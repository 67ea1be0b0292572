"""Kernels of a few dozen lines that ask much of several harts; all end by switching off, with 0.

In S-mode, by SBI (chapters 7 to 10). Registers: s0 hartid, s1 the state of a random generator, s2
where it is kept, s3 a count of this hart's own; t5 and t6 are the trap handler's.
"""

PROLOGUE = """
start:
    mv s0, a0
    la t0, handler
    csrw stvec, t0
    li t0, 0x22             # SSIE, STIE
    csrw sie, t0
    slli t1, s0, 3
    la s2, seeds
    add s2, s2, t1
    ld s1, (s2)
    la s3, counts
    add s3, s3, t1
    csrsi sstatus, 2
"""

COMMON = """
random:                     # xorshift
    slli t0, s1, 13
    xor s1, s1, t0
    srli t0, s1, 7
    xor s1, s1, t0
    slli t0, s1, 17
    xor s1, s1, t0
    sd s1, (s2)
    srli a0, s1, 8
    ret

all_others:                 # hart 0 starts the rest here
    mv s4, ra
    li s5, {harts}
1:  addi s5, s5, -1
    beqz s5, 2f
    mv a0, s5
    la a1, start
    li a2, 0
    li a7, 0x48534D
    li a6, 0
    ecall
    bnez a0, failed
    j 1b
2:  mv ra, s4
    ret

remote_fence:               # a6: which; of all harts
    li a0, 0
    li a1, -1
    li a2, 0
    li a3, 0
    li a7, 0x52464E43
    ecall
    bnez a0, failed
    ret

checked:                    # by the others, what there is now
    la t0, checks
    sd zero, (t0)
    li t1, 2 * {harts}
1:  ld t2, (t0)
    bltu t2, t1, 1b
    ret
passed_when_checked:
    jal checked
    j passed
failed:
    li a1, 1
    j off
passed:
    li a1, 0
off:
    li a0, 0
    li a7, 0x53525354
    li a6, 0
    ecall
    j .

    .balign 4
handler:
    csrr t5, scause
    bgez t5, failed
    andi t5, t5, 0xff
    li t6, 5
    beq t5, t6, 1f
    csrci sip, 2
    la t5, interrupts
    li t6, 1
    amoadd.d zero, t6, (t5)
    sret
1:  li t5, -1
    csrw stimecmp, t5
    sret

    .balign 8
seeds: .dword {seeds}
counts: .dword 0, 0, 0, 0, 0, 0, 0, 0
interrupts: .dword 0
generation: .dword 0
checks: .dword 0
"""

STORM = """
    bnez s0, loop
    jal all_others
loop:
    jal random
    ld t0, (s3)
    addi t0, t0, 1
    sd t0, (s3)
    li t1, {rounds}
    bltu t1, t0, finished
    la t0, actions
    andi t1, s1, 7
    slli t1, t1, 2
    add t0, t0, t1
    jr t0
actions:
    j interrupt
    j fence_i
    j sfence
    j nap
    j suspend
    j lock
    j add
    j stop

interrupt:
    andi a0, a0, {mask}
    li a1, 0
    li a7, 0x735049
    li a6, 0
    ecall
    bnez a0, failed
    j loop
fence_i:
    li a6, 0
    jal remote_fence
    j loop
sfence:
    andi a0, a0, {mask}
    li a1, 0
    li a2, 0
    li a3, 0
    li a7, 0x52464E43
    li a6, 1
    ecall
    bnez a0, failed
    j loop

soon:                       # an interrupt within 100 us, which only ends sleep
    csrci sstatus, 2
    andi a0, a0, 0x3ff
    rdtime t0
    add t0, t0, a0
    csrw stimecmp, t0
    ret
nap:
    jal soon
    wfi
    csrsi sstatus, 2
    j loop
suspend:
    jal soon
    li a0, 0
    li a7, 0x48534D
    li a6, 3
    ecall
    bnez a0, failed
    csrsi sstatus, 2
    j loop

lock:
    la t0, lock_word
    li t1, 1
1:  lr.w.aq t2, (t0)
    bnez t2, 1b
    sc.w t2, t1, (t0)
    bnez t2, 1b
    ld t2, 8(t0)
    addi t2, t2, 1
    sd t2, 8(t0)
    amoswap.w.rl zero, zero, (t0)
    la t0, locks
    j count
add:
    la t0, sum
    li t1, 1
    amoadd.d zero, t1, (t0)
    la t0, adds
count:                      # what this hart has done, for hart 0 to compare with
    slli t1, s0, 3
    add t0, t0, t1
    ld t1, (t0)
    addi t1, t1, 1
    sd t1, (t0)
    j loop

stop:
    beqz s0, restart
    andi a0, a0, 7
    bnez a0, loop
go:
    csrci sstatus, 2
    li a7, 0x48534D
    li a6, 1
    ecall
    j failed
restart:                    # hart 0 starts all that have stopped and have more to do
    li s5, {harts}
1:  addi s5, s5, -1
    beqz s5, loop
    mv a0, s5
    li a7, 0x48534D
    li a6, 2
    ecall
    bnez a0, failed
    li t0, 1
    bne a1, t0, 1b
    la t0, counts
    slli t1, s5, 3
    add t0, t0, t1
    ld t0, (t0)
    li t1, {rounds}
    bltu t1, t0, 1b
    mv a0, s5
    la a1, start
    li a2, 0
    li a6, 0
    ecall
    bnez a0, failed
    j 1b

finished:
    fence rw, rw
    beqz s0, last
    la t0, ended
    li t1, 1
    amoadd.d zero, t1, (t0)
    j go
last:
    la t0, ended
    ld t0, (t0)
    li t1, {harts} - 1
    bne t0, t1, restart
    fence rw, rw
    li s5, {harts}
    la s6, locks
    la s7, lock_word
    ld s8, 8(s7)
    la s9, sum
    ld s9, (s9)
1:  ld t0, (s6)
    sub s8, s8, t0
    ld t0, adds - locks(s6)
    sub s9, s9, t0
    addi s6, s6, 8
    addi s5, s5, -1
    bnez s5, 1b
    bnez s8, failed
    bnez s9, failed
    j passed

    .balign 8
lock_word: .dword 0, 0
sum: .dword 0
ended: .dword 0
locks: .dword 0, 0, 0, 0, 0, 0, 0, 0
adds: .dword 0, 0, 0, 0, 0, 0, 0, 0
"""
"""Interrupts, fences, sleep, starts and stops of all to all, and a lock that must exclude."""

PATCH = """
    bnez s0, execute
    jal all_others
    jal checked
    la s6, patched
    la s7, generation
    li s8, 0
1:  addi s8, s8, 1
    slli t0, s8, 4          # the upper half of addi a0, zero, n
    sh t0, 2(s6)
    li a6, 0
    jal remote_fence
    fence w, w
    sd s8, (s7)
    li t0, {rounds}
    bltu s8, t0, 1b
    j passed_when_checked
execute:
    la s9, checks
    li t1, 1
    la s7, generation
1:  ld s8, (s7)
    fence r, r
    jal patched
    bgeu a0, s8, 2f
    j failed
2:  amoadd.d zero, t1, (s9)
    j 1b

    .balign 4096
    .space {offset}
patched:
    addi a0, zero, 0
    ret
"""
"""Hart 0 writes code that the others execute, which is never older than the last fence."""

REMAP = """
    la t0, root
    srli t0, t0, 12
    li t1, 8 << 60
    or t0, t0, t1
    csrw satp, t0
    sfence.vma
    bnez s0, look
    jal all_others
    jal checked
    la s6, leaf
    la s7, generation
    la s9, pages
    li s8, 0
1:  addi s8, s8, 1
    andi t0, s8, 3
    slli t0, t0, 12
    add t0, s9, t0
    sd s8, (t0)             # the number, in the page that is to be seen
    srli t0, t0, 2
    ori t0, t0, 0xc7
    sd t0, (s6)
    li a6, 1
    jal remote_fence
    fence w, w
    sd s8, (s7)
    li t0, {rounds}
    bltu s8, t0, 1b
    j passed_when_checked
look:
    la s9, checks
    li t1, 1
    la s7, generation
    li s6, 0x40000000
1:  ld s8, (s7)
    fence r, r
    ld a0, (s6)
    bgeu a0, s8, 2f
    j failed
2:  amoadd.d zero, t1, (s9)
    j 1b

    .balign 4096
root: .dword 0, (middle >> 2) | 1, 0x80000000 >> 2 | 0xcf
    .space 4096 - 24
middle: .dword (leaf >> 2) | 1
    .space 4096 - 8
leaf: .dword (pages >> 2) | 0xc7
    .space 4096 - 8
pages: .space 4 * 4096
"""
"""Hart 0 maps one page after the other at one address: what is read is not older than the fence."""


def text(program: str, harts: int, rounds: int, seed: int, offset: int = 0) -> str:
    """The whole source of one of them."""
    seeds = ", ".join(str(seed * 8 + n + 1 << 20 | 0x9E37) for n in range(8))
    return (PROLOGUE + program + COMMON).format(
        harts=harts, rounds=rounds, mask=(1 << harts) - 1, seeds=seeds, offset=offset
    )
