"""What a debugger does with a machine, without any protocol; on each engine."""

import threading

import pytest

from auberge.engine.exits import LOADS, STORES, Watch, Watchpoint
from auberge.machine.debug.debugger import Debugger, Ended, Stopped, Unmapped
from auberge.machine.debug.registers import ReadOnly
from auberge.machine.outcome import Paused, PoweredOff, TimedOut
from tests.engine.eager import ENGINES
from tests.machine.debug.client import PATIENCE, Running
from tests.machine.debug.guest import AT, BUILT, machine
from tests.machine.elves import BASE

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.parametrize("engine", ENGINES),
]
LOOP, STORE, FUNCTION, DATA = (AT[name] for name in ("loop", "store", "function", "data"))
WORD = (1 << 64) - 1


class Bench:
    """A debugger over the program, and the machine's thread under it."""

    def __init__(self, path, engine, cpus=1, **options):
        self.opened = machine(path, cpus, engine)
        self.heard = threading.Event()
        inner = self.opened._machine
        self.debugger = Debugger(inner, self.heard.set)
        self.running = Running(Under(self.debugger), **options)

    def wait(self):
        """The news, when there is some."""
        while True:
            assert self.heard.wait(PATIENCE)
            self.heard.clear()
            news = self.debugger.news()
            if news is not None:
                return news

    def go(self, hartids=None):
        self.debugger.go(hartids)
        return self.wait()

    def close(self):
        self.debugger.pause()
        self.running.result()
        self.opened.close()


class Under:
    def __init__(self, debugger):
        self.debugger = debugger

    def run(self, timeout=None):
        return self.debugger.run(None, timeout, 0)


@pytest.fixture
def bench(tmp_path, engine):
    opened = []

    def open_(**options):
        opened.append(Bench(tmp_path, engine, **options))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def test_nothing_runs_before_it_is_let(bench):
    it = bench()
    assert it.debugger.read_register(0, "pc") == BASE
    assert not it.debugger.running
    assert it.debugger.read_register(0, "instret") == 0


def test_breakpoints_until_the_machine_is_off(bench):
    it = bench()
    it.debugger.add_breakpoint(FUNCTION)
    for count in range(1, 4):
        assert it.go() == Stopped(0, breakpoint=True)
        assert it.debugger.read_register(0, "pc") == FUNCTION
        assert it.debugger.read_register(0, "a0") == count
        assert it.debugger.step([0]) == Stopped(0)
        assert it.debugger.read_register(0, "pc") == FUNCTION + 4
    it.debugger.clear()
    it.debugger.write_memory(0, DATA + 16, b"\1")
    assert it.go() == Ended(PoweredOff(7))
    assert it.running.result() == PoweredOff(7)


def test_a_step_over_each_instruction(bench):
    it = bench()
    places = [it.debugger.read_register(0, "pc")]
    for _ in range(10):
        it.debugger.step([0])
        places.append(it.debugger.read_register(0, "pc"))
    assert places[:3] == [BASE, BASE + 4, BASE + 8]
    assert places[3] == LOOP and STORE in places and FUNCTION in places


def test_a_step_that_ends_the_machine(bench):
    it = bench()
    it.debugger.write_memory(0, DATA + 16, b"\1")
    for _ in range(100):
        news = it.debugger.step([0])
        if isinstance(news, Ended):
            break
    assert news == Ended(PoweredOff(7))
    assert it.running.result() == PoweredOff(7)


def test_watchpoints_tell_before_the_access(bench):
    """As GDB takes it on RISC-V, and the debug specification recommends."""
    it = bench()
    it.debugger.add_watch(Watch(DATA + 8, DATA + 15, STORES))
    assert it.go() == Stopped(0, watch=Watchpoint(DATA + 8, 8, STORES))
    assert it.debugger.read_register(0, "pc") == STORE
    assert it.debugger.read_memory(0, DATA + 8, 8) == bytes(8)
    assert it.debugger.step([0]) == Stopped(0)
    assert it.debugger.read_memory(0, DATA + 8, 8) == (6).to_bytes(8, "little")
    it.debugger.clear()
    it.debugger.add_watch(Watch(DATA, DATA, LOADS))
    assert it.go() == Stopped(0, watch=Watchpoint(DATA, 8, LOADS))
    assert it.debugger.read_register(0, "pc") == STORE - 8


def test_four_watches_and_no_more(bench):
    it = bench()
    for n in range(4):
        assert it.debugger.add_watch(Watch(n, n, LOADS))
        assert it.debugger.add_watch(Watch(n, n, LOADS))  # it is there
    assert not it.debugger.add_watch(Watch(9, 9, LOADS))
    it.debugger.remove_watch(Watch(2, 2, LOADS))
    assert it.debugger.add_watch(Watch(9, 9, LOADS))


def test_an_interrupt(bench):
    it = bench(cpus=2)
    it.debugger.go()
    it.debugger.interrupt()
    while not it.heard.wait(0.05):
        it.debugger.insist()
    assert it.wait().interrupted
    assert not it.debugger.insisting
    counts = [it.debugger.read_register(n, "a0") for n in range(2)]
    it.debugger.step([1])
    assert it.debugger.read_register(0, "a0") == counts[0]  # nothing else moved


def test_harts_that_stand_still(bench):
    it = bench(cpus=2)
    it.debugger.add_breakpoint(FUNCTION)
    for _ in range(5):
        assert it.go([1]) == Stopped(1, breakpoint=True)
        it.debugger.step([1])
    assert it.debugger.read_register(1, "a0") == 1 + 5  # which began as its hartid
    assert it.debugger.read_register(0, "pc") == BASE
    assert it.go([0]) == Stopped(0, breakpoint=True)


def test_others_go_on_beside_a_step(bench):
    it = bench(cpus=2)
    it.debugger.add_breakpoint(FUNCTION)
    it.debugger.step([0], others=[1])
    assert it.debugger.read_register(0, "pc") == BASE + 4
    assert it.debugger.read_register(1, "pc") == FUNCTION


def test_registers_can_be_written(bench):
    it = bench()
    values = {"a0": 7, "pc": STORE, "ft3": WORD - 1, "mscratch": 1 << 63, "priv": 1, "satp": 0}
    for name, value in values.items():
        it.debugger.write_register(0, name, value)
    for name, value in values.items():
        assert it.debugger.read_register(0, name) == value
    it.debugger.write_register(0, "zero", 5)
    assert it.debugger.read_register(0, "zero") == 0
    it.debugger.write_register(0, "mstatus", WORD)  # what is legal of it
    assert it.debugger.read_register(0, "mstatus") == 0x8000000A007E79AA
    it.debugger.write_register(0, "fcsr", 0xFF)
    assert it.debugger.read_register(0, "fflags") == 0x1F
    assert it.debugger.read_register(0, "misa") >> 62 == 2


@pytest.mark.parametrize(
    ("name", "value"), [("misa", 0), ("cycle", 0), ("priv", 2), ("mhartid", 1)]
)
def test_registers_that_cannot_be_written(bench, name, value):
    with pytest.raises(ReadOnly):
        bench().debugger.write_register(0, name, value)


def test_memory_is_read_up_to_its_end(bench):
    it = bench()
    assert it.debugger.read_memory(0, BASE, 64) == BUILT.code[:64]
    end = BASE + (4 << 20)
    assert it.debugger.read_memory(0, end - 5, 9000) == bytes(5)
    for wrong in (0, 0x1000_0000, end, WORD):
        with pytest.raises(Unmapped):
            it.debugger.read_memory(0, wrong, 1)
    with pytest.raises(Unmapped):
        it.debugger.write_memory(0, end - 4, bytes(8))
    assert it.debugger.read_memory(0, BASE, 0) == b""


def test_code_that_is_written_executes(bench):
    it = bench()
    it.debugger.add_breakpoint(FUNCTION)
    it.go()
    nop = (0x13).to_bytes(4, "little")
    it.debugger.write_memory(0, FUNCTION, nop)
    before = it.debugger.read_register(0, "a3")
    it.debugger.step([0])
    assert it.debugger.read_register(0, "a3") == before


def test_virtual_memory_and_the_physical_where_there_is_none(bench):
    it = bench()
    root = BASE + (1 << 20)
    it.debugger.write_memory(0, root + 8, (BASE >> 2 | 0xCF).to_bytes(8, "little"))
    it.debugger.write_register(0, "satp", 8 << 60 | root >> 12)
    it.debugger.write_register(0, "priv", 1)
    assert it.debugger.read_memory(0, 0x4000_0000, 16) == BUILT.code[:16]
    assert it.debugger.read_memory(0, BASE, 16) == BUILT.code[:16]
    it.debugger.write_memory(0, 0x4000_0000 + (2 << 20) - 2, b"abcd")
    assert it.debugger.read_memory(0, BASE + (2 << 20) - 2, 4) == b"abcd"


def test_time_out_while_it_stands_still(bench):
    it = bench(timeout=0.05)
    assert it.running.result() == TimedOut()


def test_a_pause_while_it_stands_still(bench):
    it = bench()
    it.debugger.pause()
    assert it.running.result() == Paused()


def test_guest_time_stands_still(bench):
    it = bench()
    first = it.debugger.read_register(0, "time")
    for _ in range(3):
        it.debugger.step([0])
    assert it.debugger.read_register(0, "time") - first < 20_000_000
