"""Harts that start, stop, interrupt and fence each other without pause neither stand still nor err.

A hart that waits for ever would hang these tests; then the watchdog ends the process, and prints
where each thread is.
"""

import random
import threading
import time

import pytest

import auberge
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from tests.engine import eager
from tests.machine import smp_programs
from tests.machine.elves import elf

KERNEL = 0x8020_0000
TWO_AND_FOUR = [
    (2, "interpreter"), (2, "translator"), (4, "interpreter"), (2, eager.NAME), (4, eager.NAME),
]  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120, method="thread")]


@pytest.fixture
def smp(tmp_path):
    """A machine for one of the programs."""
    made = []

    def smp(program, harts, rounds, engine="interpreter", **options):
        source = smp_programs.text(program, harts, rounds, **options)
        built = assembly(rv64, source, KERNEL)
        path = tmp_path / "kernel.elf"
        path.write_bytes(elf([(KERNEL, built.code, len(built.code) + 4096)], KERNEL))
        machine = auberge.Machine.virt(
            path, memory="8M", cpus=harts, engine=engine, console=lambda data: None
        )
        made.append(machine)
        return machine

    yield smp
    for machine in made:
        machine.close()


def paused_at_random(machine, seed):
    """Run to the end, while another thread pauses the machine at random moments; how often."""
    over, pauses = threading.Event(), 0

    def pausing():
        r = random.Random(seed)
        while not over.is_set():
            machine.pause()
            time.sleep(r.random() * 0.01)

    thread = threading.Thread(target=pausing)
    thread.start()
    try:
        while (outcome := machine.run(timeout=100)) == auberge.Paused():
            pauses += 1
    finally:
        over.set()
        thread.join()
    assert outcome == auberge.PoweredOff(0)
    return pauses


@pytest.mark.parametrize("engine", ["interpreter", "translator", eager.NAME])
@pytest.mark.parametrize(("harts", "rounds"), [(2, 40_000), (4, 20_000), (8, 10_000)])
def test_a_storm_of_calls(smp, harts, rounds, engine):
    rounds = rounds // 10 if engine == eager.NAME else rounds
    machine = smp(smp_programs.STORM, harts, rounds, engine, seed=harts)
    assert machine.run(timeout=100) == auberge.PoweredOff(0)


def test_a_storm_on_the_reference(smp):
    machine = smp(smp_programs.STORM, 3, 60, engine="reference", seed=3)
    assert machine.run(timeout=100) == auberge.PoweredOff(0)


@pytest.mark.parametrize("engine", ["interpreter", "translator"])
@pytest.mark.parametrize("harts", [2, 5])
def test_a_storm_of_calls_and_pauses(smp, harts, engine):
    machine = smp(smp_programs.STORM, harts, 30_000 // harts, engine, seed=harts)
    assert paused_at_random(machine, harts) > 10


@pytest.mark.parametrize("offset", [0, 4094], ids=["inside", "across-pages"])
@pytest.mark.parametrize(("harts", "engine"), TWO_AND_FOUR)
def test_code_is_not_older_than_the_remote_fence(smp, harts, engine, offset):
    rounds = 300 if engine == eager.NAME else 2000
    machine = smp(smp_programs.PATCH, harts, rounds, engine, seed=1, offset=offset)
    assert machine.run(timeout=100) == auberge.PoweredOff(0)


@pytest.mark.parametrize(("harts", "engine"), TWO_AND_FOUR)
def test_translations_are_not_older_than_the_remote_fence(smp, harts, engine):
    rounds = 20_000 if harts == 2 and engine != eager.NAME else 2000
    machine = smp(smp_programs.REMAP, harts, rounds, engine, seed=1)
    assert machine.run(timeout=100) == auberge.PoweredOff(0)


def test_fences_and_pauses(smp):
    machine = smp(smp_programs.REMAP, 3, 60_000, seed=1)
    assert paused_at_random(machine, 1) > 10


@pytest.mark.parametrize("program", ["PATCH", "REMAP"])
def test_a_fence_that_does_nothing_is_found(smp, program, monkeypatch):
    """These tests can fail. The last page is not the one that was mapped first."""
    monkeypatch.setattr("auberge.machine.vcpu.Vcpu.flush", lambda vcpu, what: None)
    machine = smp(getattr(smp_programs, program), 2, 2001, seed=1)
    assert machine.run(timeout=100) == auberge.PoweredOff(1)
