"""Machines that come and go leave no descriptors, mappings or threads behind."""

import gc
import os
import threading

import pytest

from auberge.engine.choose import choose
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.machine import Configuration, Machine, Outside
from auberge.machine.outcome import PoweredOff
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.slow

LOOPS_AND_ENDS = """
    li s0, 200000
again:
    addi s0, s0, -1
    bnez s0, again
    li s1, 0x100000
    li a0, 0x5555
    sw a0, 0(s1)
"""
OUTSIDE = Outside(lambda data: None, os.urandom, lambda: 0)


def held() -> tuple[int, int, int]:
    """Descriptors, mappings, threads."""
    gc.collect()
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return len(os.listdir("/proc/self/fd")), len(maps.readlines()), threading.active_count()


@pytest.mark.parametrize("engine", ["translator", "interpreter"])
@pytest.mark.parametrize("is_closed", [True, False])
def test_fifty_machines_leave_nothing(tmp_path, engine, is_closed):
    program = tmp_path / "program"
    program.write_bytes(elf([(BASE, assembly(rv64, LOOPS_AND_ENDS, BASE).code)]))

    def one() -> None:
        configuration = Configuration(str(program), memory=4 << 20, cpus=2)
        machine = Machine(configuration, choose(engine), OUTSIDE)
        assert machine.run() == PoweredOff(0)
        if is_closed:
            machine.close()

    for _ in range(3):  # what is of the process comes with the first ones
        one()
    before = held()
    for _ in range(50):
        one()
    after = held()
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] <= before[1] + 20
