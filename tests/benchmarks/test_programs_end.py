"""The programs that benchmarks run come to their end, on one hart and on two."""

import kernels
import pytest
from harness.harts import Running, U
from harness.programs import elf_file

import auberge


def outcome(body, harts=1):
    with (
        elf_file(body, harts) as path,
        auberge.Machine.virt(
            kernel=path, memory="128M", cpus=harts, console=lambda text: None
        ) as machine,
    ):
        return machine.run(timeout=60)


@pytest.mark.parametrize("harts", [1, 2])
def test_a_program_in_its_frame_powers_off(harts):
    assert outcome("nop", harts) == auberge.PoweredOff(0)


@pytest.mark.slow
@pytest.mark.parametrize("name", kernels.KERNELS)
def test_a_kernel_powers_off(name):
    assert outcome(kernels.KERNELS[name]) == auberge.PoweredOff(0)


@pytest.mark.parametrize("engine", ["interpreter", "reference"])
def test_a_hart_on_its_own_runs_with_paging(engine):
    running = Running("addi a0, a0, 1\nauipc a1, 0\n1: j 1b\n", engine, mode=U)
    running.retire(5)
    assert (running.hart.x[10], running.hart.x[11]) == (1, 0x4000_0004)
    assert running.hart["priv"] == U


def test_fibonacci_is_right():
    text = kernels.FIBONACCI.replace("36", "12") + "li t0, 0x10000000\nsb a0, 0(t0)\n"
    printed = []
    with (
        elf_file(text) as path,
        auberge.Machine.virt(kernel=path, memory="128M", console=printed.append) as machine,
    ):
        machine.run(timeout=60)
    assert b"".join(printed) == bytes([144])
