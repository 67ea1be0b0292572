"""Which thread may do what: `run` in one, everything else from any, and all of it by asyncio."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import auberge
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.api.test_machine import ECHO
from tests.machine.debug.client import Running
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def make(tmp_path):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf([(BASE, assemble(rv64, ECHO, BASE))]))
    made = []

    def machine():
        made.append(auberge.Machine.virt(kernel, memory="4M", console=lambda data: None))
        return made[-1]

    yield machine
    for each in made:
        each.close()


def test_two_threads_cannot_run_one_machine(make):
    machine = make()
    machine.run(until="ready\n")
    running = Running(machine)
    while not machine._machine.running:
        pass
    with pytest.raises(RuntimeError) as error:
        machine.run()
    assert str(error.value) == "the machine is running already, in another thread"
    while running.thread.is_alive():  # it may just be about to begin
        machine.pause()
    assert running.result() == auberge.Paused()


def test_many_threads_type_look_and_pause(make):
    machine = make()
    machine.run(until="ready\n")
    running = Running(machine)

    def work(n):
        for _ in range(20):
            machine.console.send(f"{n}")
            with machine.stopped():
                assert machine.harts[0].pc >= BASE
            assert machine.memory.read(BASE, 4)
            assert machine.statistics().instructions
            assert machine.console.output.startswith("ready\n")
            machine.resize(80, 25)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    machine.console.send("q")
    assert running.result() == auberge.PoweredOff(0)
    typed = machine.console.output.removeprefix("ready\n")
    assert sorted(typed) == sorted("01234567" * 20 + "q")


def test_closing_from_another_thread_ends_the_run(make):
    machine = make()
    machine.run(until="ready\n")
    running = Running(machine)
    machine.close()
    assert running.result() in (auberge.Paused(), auberge.PoweredOff(0))
    assert not [t for t in threading.enumerate() if t.name.startswith("hart")]


def test_conversations_by_asyncio(make):
    async def talk(machine, word):
        assert await asyncio.to_thread(machine.run, until="ready\n") == auberge.Printed("ready\n")
        machine.console.send(word)
        heard = await asyncio.to_thread(machine.console.expect, word, timeout=60)
        machine.console.send("q")
        assert await asyncio.to_thread(machine.run, timeout=60) == auberge.PoweredOff(0)
        return heard

    async def all_of_them():
        return await asyncio.gather(*(talk(make(), f"word {n}") for n in range(4)))

    assert asyncio.run(all_of_them()) == [f"word {n}" for n in range(4)]


def test_a_task_that_is_cancelled_pauses_its_machine(make):
    machine = make()

    async def run():
        try:
            await asyncio.to_thread(machine.run)
        except asyncio.CancelledError:
            machine.pause()
            raise

    async def cancelled():
        task = asyncio.create_task(run())
        await asyncio.to_thread(wait_for_output)
        with machine.stopped():  # from the event loop, for a moment
            pc = machine.harts[0].pc
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pc

    def wait_for_output():
        while "ready" not in machine.console.output:
            pass

    assert asyncio.run(cancelled()) >= BASE
    machine.console.send("q")
    while machine._machine.running:
        pass
    assert machine.run(timeout=60) == auberge.PoweredOff(0)
