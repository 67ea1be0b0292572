"""What it costs a guest to reach a device that Python serves, in a whole machine."""

import statistics
import time
from collections.abc import Sequence
from functools import partial

from harness.guests import QEMU, QEMU_PACKAGE, qemu_is_here, qemu_run_program, run_program
from harness.process import used
from harness.programs import elf_file
from harness.report import Target, compare, interleaved, missing, report, rounds

import auberge
from auberge.engine.choose import choose
from auberge.engine.clock import HostClock
from auberge.engine.exits import MmioRead, Spent
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram

COUNT = 100_000
BASE = 0x8000_0000
RAM = BASE + (8 << 20)
SCRATCH = 0x1000_0007  # of the UART: a register without effects
LINE_STATUS = 0x1000_0005
TRANSMIT = 0x1000_0000
PRIORITY = 0x0C00_0004  # of an interrupt source, in the PLIC

ACCESSES = """
        li      s0, {address}
        li      s1, {count}
1:      {access}
        addi    s1, s1, -1
        bnez    s1, 1b
"""

# As the kernel's 8250 driver prints a character: wait until there is room, write.
PRINT = """
        li      s0, 0x10000000
        li      s1, {count}
        li      a1, 0x2e
1:      lbu     a0, 5(s0)
        andi    a0, a0, 0x20
        beqz    a0, 1b
        sb      a1, 0(s0)
        addi    s1, s1, -1
        bnez    s1, 1b
"""

ROUND_TRIP = Target(most=3)


def cpu_of(body: str) -> float:
    """Seconds of CPU that this process needs to run a machine with that program to its end."""
    with (
        elf_file(body) as path,
        auberge.Machine.virt(kernel=path, memory="128M", console=lambda text: None) as machine,
    ):
        begin = time.process_time()
        outcome = machine.run()
        spent = time.process_time() - begin
    if outcome != auberge.PoweredOff(0):
        raise RuntimeError(f"a benchmark ended with {outcome}")
    return spent


def accesses(address: int, access: str, count: int = COUNT) -> str:
    """A program that does `access` again and again, with s0 at `address`."""
    return ACCESSES.format(address=address, access=access, count=count)


def round_trips(count: int) -> None:
    """Loads and stores of device registers, less the same of RAM."""
    for name, address, access in (
        ("uart_load", SCRATCH, "lbu a0, 0(s0)"),
        ("uart_store", SCRATCH, "sb a0, 0(s0)"),
        ("plic_load", PRIORITY, "lw a0, 0(s0)"),
    ):
        device, ram = interleaved(
            count,
            partial(cpu_of, accesses(address, access)),
            partial(cpu_of, accesses(RAM, access)),
        )
        each = statistics.median(device) - statistics.median(ram)
        report(f"device.{name}", each / COUNT * 1e6, "us", ROUND_TRIP)


def printing(count: int) -> None:
    """A character on the console by way of the UART: two accesses."""
    each = interleaved(count, partial(cpu_of, PRINT.format(count=COUNT)))[0]
    report("device.uart_character", statistics.median(each) / COUNT * 1e6, "us")


def exits(count: int) -> None:
    """An engine alone: the least that `run` costs, and a device access answered at once."""
    ram = Ram(BASE, 1 << 20)
    hart = choose("interpreter").hart(0)
    engine = choose("interpreter").engine(hart, ram, HostClock())
    text = f"li s0, {SCRATCH}\n1: lbu a0, 0(s0)\nj 1b\n"
    ram.write(BASE, assemble(rv64, "1: addi a0, a0, 1\nj 1b\n", BASE))
    hart["pc"] = BASE

    def spent() -> float:
        begin = time.thread_time()
        for _ in range(COUNT):
            end = engine.run(2)
        assert end == Spent()
        return time.thread_time() - begin

    report("engine.run_of_2", statistics.median(interleaved(count, spent)[0]) / COUNT * 1e6, "us")

    ram.write(BASE, assemble(rv64, text, BASE))
    hart["pc"] = BASE
    hart.request("fence_i")

    def served() -> float:
        begin = time.thread_time()
        for _ in range(COUNT):
            end = engine.run(1 << 40)
            engine.resume(0)
        assert isinstance(end, MmioRead)
        return time.thread_time() - begin

    each = statistics.median(interleaved(count, served)[0])
    report("engine.device_exit", each / COUNT * 1e6, "us")


def against_qemu(count: int) -> None:
    """The same loads as whole processes, whose start is measured and taken away."""

    def difference(commands: Sequence[Sequence[str]]) -> float:
        return (used(commands[0]).cpu - used(commands[1]).cpu) / COUNT / 10 * 1e6

    text, empty = accesses(SCRATCH, "lbu a0, 0(s0)", 10 * COUNT), "nop"
    with elf_file(text) as long, elf_file(empty) as short:
        ours, theirs = interleaved(
            count,
            lambda: difference([run_program(long), run_program(short)]),
            lambda: difference([qemu_run_program(long), qemu_run_program(short)]),
        )
    compare("device.uart_load_as_process", "us", ours, theirs)


def main() -> None:
    """All of them."""
    count = rounds(5)
    round_trips(count)
    printing(count)
    exits(count)
    if qemu_is_here():
        against_qemu(min(count, 3))
    else:
        missing(QEMU, QEMU_PACKAGE)


if __name__ == "__main__":
    main()
