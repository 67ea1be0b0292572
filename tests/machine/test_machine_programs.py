"""Programs of our own assembler on the whole machine, on each engine: machine mode and S-mode."""

import pytest

import auberge
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.outcome import Faulted, PoweredOff, TimedOut
from tests.engine.eager import ENGINES
from tests.machine.elves import BASE, elf

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.parametrize("engine", ENGINES),
]


@pytest.fixture
def boot(tmp_path, engine):
    """Assemble and run a program: (outcome, what it printed)."""
    made = []

    def run(text, base=BASE, timeout=30, keys=b"", **options):
        built = assembly(rv64, text, base)
        symbols = [(n, v) for n, v in built.symbols.items() if n == "tohost"]
        path = tmp_path / "program.elf"
        path.write_bytes(elf([(base, built.code, len(built.code) + 4096)], base, symbols))
        printed = bytearray()
        machine = auberge.Machine.virt(
            path, memory="4M", engine=engine, console=printed.extend, **options
        )
        made.append(machine)
        machine.console.send(keys)
        return machine.run(timeout=timeout), bytes(printed)

    yield run
    for machine in made:
        machine.close()


@pytest.mark.parametrize("value, code", [(1, 0), (7, 3)])
def test_tohost_ends_a_test_program(boot, value, code):
    program = f"""
        la t0, tohost
        li t1, 2            # even: not an end
        sd t1, 0(t0)
        li t1, {value}
        sd t1, 0(t0)
    loop: j loop
        .align 3
    tohost: .dword 0
    """
    assert boot(program) == (PoweredOff(code), b"")


def test_the_uart_and_power_off(boot):
    program = """
        li s0, 0x10000000
        la s1, text
    next: lbu a0, 0(s1)
        beqz a0, off
        sb a0, 0(s0)
        addi s1, s1, 1
        j next
    off: li s0, 0x100000
        li a0, 0x00053333
        sw a0, 0(s0)
    loop: j loop
    text: .asciz "hello\\n"
    """
    assert boot(program) == (PoweredOff(5), b"hello\n")


def test_an_echo_by_interrupts(boot):
    """UART, PLIC and wfi together: what is typed comes back, until q."""
    program = """
        la t0, handler
        csrw mtvec, t0
        li s0, 0x10000000
        li s1, 0x0c000000
        li s2, 0x0c200000
        li t0, 1
        sw t0, 40(s1)       # priority of source 10
        li t1, 0x0c002000
        li t0, 1024
        sw t0, 0(t1)        # enabled for M of hart 0
        li t0, 1
        sb t0, 1(s0)        # IER
        li t0, 2048
        csrw mie, t0        # MEIE
        csrsi mstatus, 8
    wait: wfi
        j wait
        .align 2
    handler: lw a1, 4(s2)   # claim
        lbu a0, 0(s0)
        sb a0, 0(s0)
        sw a1, 4(s2)        # complete
        li a1, 113
        bne a0, a1, back
        li t0, 0x100000
        li t1, 0x5555
        sw t1, 0(t0)
    back: mret
    """
    assert boot(program, keys=b"hi q") == (PoweredOff(0), b"hi q")


def test_the_machine_timer(boot):
    program = """
        la t0, handler
        csrw mtvec, t0
        li s0, 0x0200bff8
        li s1, 0x02004000
        ld t0, 0(s0)
        addi t0, t0, 1000
        sd t0, 0(s1)
        li t0, 128
        csrw mie, t0
        csrsi mstatus, 8
    wait: wfi
        j wait
        .align 2
    handler: csrr a0, mcause
        slli a0, a0, 1
        srli a0, a0, 1      # 7
        slli a0, a0, 16
        li t1, 0x3333
        or t1, t1, a0
        li t0, 0x100000
        sw t1, 0(t0)
    loop: j loop
    """
    assert boot(program) == (PoweredOff(7), b"")
    assert boot(program, icount=True) == (PoweredOff(7), b"")


def test_an_access_to_nothing_is_an_access_fault(boot):
    program = """
        la t0, handler
        csrw mtvec, t0
        li s0, 0x40000000
        li s1, 0
        sw s1, 0(s0)
    loop: j loop
        .align 2
    handler: csrr a0, mcause
        csrr a1, mtval
        bne a1, s0, loop
        slli a0, a0, 16
        li t1, 0x3333
        or t1, t1, a0
        li t0, 0x100000
        sw t1, 0(t0)
    """
    assert boot(program) == (PoweredOff(7), b"")


def test_a_jump_to_nowhere_is_a_fault_of_the_guest(boot):
    outcome, _ = boot("li t0, 0x1000\njr t0", base=BASE + 0x20_0000)
    message = "hart 0: traps for ever at 0x0 (cause 1), which is its own trap handler"
    assert outcome == Faulted(message)


def test_a_guest_that_never_ends_times_out(boot):
    assert boot("loop: j loop", timeout=0.05) == (TimedOut(), b"")


def test_a_supervisor_calls_sbi(boot):
    """At 2 MiB it is a kernel: in S-mode, hart id in a0; it prints by DBCN, and shuts down."""
    program = """
        bnez a0, loop
        la a1, text
        li a0, 5
        li a2, 0
        li a6, 0
        li a7, 0x4442434e
        ecall
        bnez a0, loop
        li a0, 0
        li a1, 1
        li a6, 0
        li a7, 0x53525354
        ecall
    loop: j loop
    text: .ascii "S-mode"
    """
    assert boot(program, base=BASE + 0x20_0000) == (PoweredOff(1), b"S-mod")


def test_a_supervisor_sleeps_until_its_timer(boot):
    program = """
        la t0, handler
        csrw stvec, t0
        rdtime a0
        addi a0, a0, 2000
        li a6, 0
        li a7, 0x54494d45
        ecall
        li t0, 32
        csrw sie, t0
        csrsi sstatus, 2
    wait: wfi
        j wait
        .align 2
    handler: li a7, 8
        ecall
    """
    assert boot(program, base=BASE + 0x20_0000) == (PoweredOff(0), b"")


def test_two_harts_take_turns(boot):
    """Hart 0 starts hart 1, they count by amoadd, and hart 1 interrupts hart 0 in the end."""
    program = """
        la s0, count
        bnez a0, second
        la t0, handler
        csrw stvec, t0
        csrsi sie, 2
        csrsi sstatus, 2
        li a0, 1
        la a1, start
        li a2, 7
        li a6, 0
        li a7, 0x48534d
        ecall
        li t1, 100
    first: li t0, 1
        amoadd.d x0, t0, (s0)
        addi t1, t1, -1
        bnez t1, first
    wait: wfi
        j wait
    start: la s0, count
    second: li t1, 100
    more: li t0, 1
        amoadd.d x0, t0, (s0)
        addi t1, t1, -1
        bnez t1, more
    both: ld t0, 0(s0)
        li t1, 200
        bne t0, t1, both
        li a0, 1
        li a1, 0
        li a6, 1
        li a7, 0x52464e43
        ecall                 # remote sfence.vma of hart 0
        li a0, 1
        li a1, 0
        li a6, 0
        li a7, 0x735049
        ecall
    spin: j spin
        .align 2
    handler: li a7, 8
        ecall
        .align 3
    count: .dword 0
    """
    assert boot(program, base=BASE + 0x20_0000, cpus=2) == (PoweredOff(0), b"")


def test_a_run_with_icount_repeats_exactly(boot):
    """When a spinning guest sees its timer interrupt is printed, and always the same."""
    program = """
        la t0, handler
        csrw mtvec, t0
        li s0, 0x0200bff8
        li s1, 0x02004000
        ld t0, 0(s0)
        addi t0, t0, 300
        sd t0, 0(s1)
        li t0, 128
        csrw mie, t0
        li s2, 0
        csrsi mstatus, 8
    spin: addi s2, s2, 1
        j spin
        .align 2
    handler: rdinstret a0
        add a0, a0, s2
        li t0, 0x10000000
        li t1, 8
    digit: sb a0, 0(t0)
        srli a0, a0, 8
        addi t1, t1, -1
        bnez t1, digit
        li t0, 0x100000
        li t1, 0x5555
        sw t1, 0(t0)
    """
    first = boot(program, icount=True)
    assert first[0] == PoweredOff(0) and len(first[1]) == 8
    assert boot(program, icount=True) == first
