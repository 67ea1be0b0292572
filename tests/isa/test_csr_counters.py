"""Counters: Volume II, 3.1.10 - 3.1.12; Volume I, 7.1 and 8. Timers: Volume II, 3.2.1, and Sstc."""

import pytest

from auberge.engine.exits import Idle
from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import ALL, CODE, Bench, S, Trap

pytestmark = pytest.mark.usefixtures("each_engine")

STCE, TM = 1 << 63, 2
MTI, STI = 1 << 7, 1 << 5


@pytest.mark.parametrize("name", ["mcycle", "minstret"])
def test_a_counter_counts_instructions_before_the_one_that_reads_it(name: str) -> None:
    bench = Bench()
    before = bench.read(name)
    bench.step(10)
    assert bench.read(name) == before + 11


@pytest.mark.parametrize("name", ["mcycle", "minstret"])
def test_what_is_written_is_what_the_next_instruction_reads(name: str) -> None:
    """Volume I, 7.1: "the write is done instead of the increment"."""
    bench = Bench()
    bench.step(3)
    bench.write(name, 100)
    assert bench.read(name) == 100
    assert bench.read(name) == 101
    bench.write(name, ALL)
    bench.step(1)
    assert bench.read(name) == 0


@pytest.mark.parametrize(("name", "shadow"), [("mcycle", "cycle"), ("minstret", "instret")])
def test_shadows_follow(name: str, shadow: str) -> None:
    bench = Bench()
    bench.write(name, 1000)
    assert bench.read(shadow) == 1000
    assert bench.read(name) == 1001


@pytest.mark.parametrize(("name", "bit"), [("mcycle", 1), ("minstret", 4)])
def test_an_inhibited_counter_stands_still(name: str, bit: int) -> None:
    bench = Bench()
    bench.write(name, 50)
    bench.write("mcountinhibit", bit)  # this one still counts
    bench.step(7)
    assert bench.read(name) == 51
    bench.write(name, 60)
    bench.step(3)
    assert bench.read(name) == 60
    bench.write("mcountinhibit", 0)  # this one does not
    assert bench.read(name) == 60
    assert bench.read(name) == 61


def test_inhibiting_one_counter_leaves_the_other() -> None:
    bench = Bench()
    bench.write("mcycle", 0)
    bench.write("minstret", 0)
    bench.write("mcountinhibit", 1)
    bench.step(5)
    assert bench.read("mcycle") == 2
    assert bench.read("minstret") == 7


def test_what_traps_does_not_retire() -> None:
    """3.3.1: ecall and ebreak "should not increment the minstret CSR"."""
    bench = Bench()
    bench.write("minstret", 0)
    assert bench.insn("ecall") == Trap(3, 11, 0)
    assert bench.insn("ebreak") == Trap(3, 3, CODE)
    assert bench.read("minstret") == 0
    bench["mie"], bench["mip"] = 0x222, 0x2
    bench["mstatus"] |= 8
    bench.step(1)  # of the handler: the interrupt itself is none
    assert bench["mcause"] == 1 << 63 | 1
    assert bench.read("minstret") == 2


def test_a_trap_does_not_move_an_inhibited_counter() -> None:
    bench = Bench(mcountinhibit=4, minstret=77)
    bench.insn("ecall")
    assert bench.read("minstret") == 77


def test_time_is_the_clock() -> None:
    bench = Bench()
    assert bench.read("time") == 1000
    bench.clock.advance(5)
    assert bench.read("time") == 1005


def test_the_machine_timer_is_pending_from_mtimecmp_on() -> None:
    """3.2.1: "whenever mtime contains a value greater than or equal to mtimecmp"."""
    bench = Bench(mtimecmp=1001)
    assert bench.read("mip") == 0
    bench.clock.advance(1)
    assert bench.read("mip") == MTI
    bench["mtimecmp"] = ALL
    assert bench.read("mip") == 0


def test_mtip_is_read_only() -> None:
    bench = Bench(mtimecmp=0)
    bench.step(1)
    bench.write("mip", 0)
    assert bench["mip"] == MTI


def test_the_supervisor_timer_is_pending_from_stimecmp_on() -> None:
    bench = Bench(menvcfg=STCE, stimecmp=1001)
    assert bench.read("mip") == 0
    bench.clock.advance(1)
    assert bench.read("mip") == STI


def test_a_write_of_stimecmp_shows_at_once() -> None:
    bench = Bench(menvcfg=STCE, mcounteren=TM, mideleg=STI, priv=S)
    for compare, pending in ((1000, STI), (1001, 0), (999, STI), (ALL, 0), (0, STI)):
        bench.write("stimecmp", compare)
        assert bench["mip"] == pending
        assert bench.read("sip") == pending


def test_stip_is_the_software_s_without_stce_and_the_timer_s_with_it() -> None:
    bench = Bench(stimecmp=0)
    bench.write("mip", STI)
    assert bench.read("mip") == STI
    bench.write("mip", 0)
    bench.step(5)
    assert bench.read("mip") == 0
    bench.write("menvcfg", STCE)
    assert bench["mip"] == STI
    assert bench.clear("mip", STI) == STI
    assert bench["mip"] == STI
    bench.write("stimecmp", ALL)
    assert bench.set("mip", STI | 2) == 0
    assert bench["mip"] == 2
    bench.write("stimecmp", 0)
    bench.write("menvcfg", 0)  # taken back cleared
    assert bench["mip"] == 2


def test_the_supervisor_timer_interrupts() -> None:
    bench = Bench(
        menvcfg=STCE, stimecmp=1010, mideleg=STI, mie=STI, priv=S, mstatus=2 << 34 | 2 << 32 | 2
    )
    bench.step(20)
    assert bench["pc"] == CODE + 80
    bench.clock.advance(10)
    bench.step(1)
    assert (bench["scause"], bench["sepc"]) == (1 << 63 | 5, CODE + 80)


def test_wfi_says_when_the_next_enabled_timer_is_due() -> None:
    bench = Bench(menvcfg=STCE, stimecmp=2000, mtimecmp=1500, mie=STI)
    bench.put(rv64["wfi"].encode())
    assert bench.step(5) == Idle(2000)
    bench["mie"] = STI | MTI
    bench["pc"] = CODE
    assert bench.step(5) == Idle(1500)
    bench["mie"] = 0
    bench["pc"] = CODE
    assert bench.step(5) == Idle(None)
