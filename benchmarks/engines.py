"""How fast instructions run: loops in S-mode with Sv39, a timer, interrupts and a budget on."""

from collections.abc import Callable
from functools import partial

from harness.harts import DATA, Running, U, mips
from harness.report import Target, report, rounds

from auberge.engine.clock import HostClock, InstructionClock

INTEGERS = """
loop:   add     a0, a0, a1
        xor     a2, a2, a0
        slli    a3, a0, 3
        srli    a4, a2, 5
        sub     a1, a3, a4
        addi    a5, a5, 1
        and     a6, a5, a1
        bnez    a5, loop
        j       loop
"""

MEMORY = f"""
start:  li      s0, {DATA}
        li      s1, {DATA + 0x8000}
        mv      t0, s0
loop:   ld      a0, 0(t0)
        ld      a1, 8(t0)
        add     a0, a0, a1
        sd      a0, 16(t0)
        lw      a2, 24(t0)
        addi    t0, t0, 32
        bne     t0, s1, loop
        mv      t0, s0
        j       loop
"""

CALLS = f"""
start:  li      sp, {DATA + 0x1000}
loop:   addi    sp, sp, -16
        sd      ra, 0(sp)
        call    leaf
        ld      ra, 0(sp)
        addi    sp, sp, 16
        j       loop
leaf:   addi    a0, a0, 1
        ret
"""

FLOATS = f"""
start:  li      t0, 3
        fcvt.d.l f1, t0
        li      t0, 7
        fcvt.d.l f2, t0
        fdiv.d  f3, f1, f2
        li      t0, {DATA}
loop:   fadd.d  f4, f4, f3
        fmul.d  f5, f4, f3
        fmadd.d f6, f5, f3, f6
        fsub.d  f7, f6, f4
        fsd     f7, 0(t0)
        fld     f8, 0(t0)
        addi    a5, a5, 1
        j       loop
"""

# One page after another; `mask` decides after how many it begins anew.
PAGES = """
start:  li      s0, {data}
        li      s1, {mask}
        li      s2, 4096
loop:   add     t1, s0, t0
        ld      a0, 0(t1)
        add     t0, t0, s2
        and     t0, t0, s1
        j       loop
"""
FEW, MANY = 63 << 12, 4095 << 12
PAGES_LOOP = 5

ECALLS = """
        la      t0, loop                # in U-mode from the start; the handler's page is S-mode's
loop:   ecall
        j       loop
        .align  12
handler:
        csrr    t1, sepc
        addi    t1, t1, 4
        csrw    sepc, t1
        sret
"""
ECALL_LOOP = 6  # the ecall itself, the handler, the jump

NATIVE = 40_000_000
REFERENCE = 4_000
INTEGER_TARGET, REFERENCE_TARGET = Target(least=400), Target(least=0.05)


def integer_loops(times: int) -> None:
    """The loops on the interpreter, the first of them under both clocks."""
    for name, clock in (("host", HostClock()), ("instruction", InstructionClock())):
        found = mips(partial(Running, INTEGERS, clock=clock), NATIVE, times)
        report(f"interpreter.integers.{name}_clock", found, "MIPS", INTEGER_TARGET)
    loops = (("memory", MEMORY), ("calls", CALLS), ("floats", FLOATS))
    for name, text in loops:
        report(f"interpreter.{name}", mips(partial(Running, text), NATIVE, times), "MIPS")


def reference_loop(times: int) -> None:
    """The definition of the instruction set, doing the same."""
    found = mips(partial(Running, INTEGERS, "reference"), REFERENCE, times)
    report("reference.integers", found, "MIPS", REFERENCE_TARGET)


def ns_per_loop(make: Callable[[], Running], length: int, times: int) -> float:
    """Nanoseconds that once around a loop of `length` instructions takes."""
    return 1000 * length / mips(make, NATIVE // 4, times)


def misses(times: int) -> None:
    """What a load costs more when the TLB does not have its page: the walk, natively."""
    few, many = (
        ns_per_loop(partial(Running, PAGES.format(data=DATA, mask=mask)), PAGES_LOOP, times)
        for mask in (FEW, MANY)
    )
    report("interpreter.tlb_miss", many - few, "ns")


def system_calls(times: int) -> None:
    """ecall from U-mode, a handler of three instructions, sret."""

    def make() -> Running:
        running = Running(ECALLS, mode=U)
        running.hart["stvec"] = running.hart["pc"] + 0x1000
        return running

    report("interpreter.ecall_and_sret", ns_per_loop(make, ECALL_LOOP, times), "ns")


def main() -> None:
    """All of them."""
    times = rounds(5)
    integer_loops(times)
    misses(times)
    system_calls(times)
    reference_loop(min(times, 3))


if __name__ == "__main__":
    main()
