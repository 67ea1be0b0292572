"""What the recorder says is what happened, and what it does is what other engines do."""

import pytest

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Spent
from auberge.isa.assembler import assemble
from auberge.isa.riscv.names import F, X
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.debug.recorder import Access, HostCall, Instruction, Recorder, Trap
from auberge.memory.ram import Ram
from tests.engine.world import World, program

RAM, DATA, HANDLER = 0x8000_0000, 0x8001_0000, 0x8000_1000
BIT = 1 << 63


class Recorded:
    """Assembly at the start of RAM, in machine mode; a1 is the address of data."""

    def __init__(self, text):
        self.ram = Ram(RAM, 1 << 20)
        self.hart = choose("reference").hart(0)
        self.ram.write(RAM, assemble(rv64, text, RAM))
        self.ram.write(HANDLER, assemble(rv64, "nop\nnop\n", HANDLER))
        self.hart["pc"], self.hart["mtvec"], self.hart.x[11] = RAM, HANDLER, DATA
        self.engine = Recorder(self.hart, self.ram, ManualClock())

    def step(self, count=1):
        assert self.engine.run(count) == Spent()
        return self.engine.take()

    def changes(self, count=1):
        last = self.step(count)[-1]
        assert isinstance(last, Instruction)
        return last.written, last.accesses


def test_an_instruction_and_the_register_it_writes():
    bench = Recorded("addi a0, zero, 7\n addi zero, a0, 1\n c.mv a2, a0\n addi a0, a0, 0")
    assert bench.step(4) == [
        Instruction(RAM, 3, 0x00700513, {"a0": 7}, ()),
        Instruction(RAM + 4, 3, 0x00150013, {}, ()),
        Instruction(RAM + 8, 3, 0x862A, {"a2": 7}, ()),
        Instruction(RAM + 10, 3, 0x00050513, {"a0": 7}, ()),  # written, though it is the same
    ]
    assert bench.engine.take() == []


def test_loads_and_stores():
    bench = Recorded("li a0, -2\n sb a0, 5(a1)\n lhu a2, 4(a1)\n fld ft1, 0(a1)")
    bench.hart["mstatus"] |= 1 << 13
    assert bench.changes(2) == ({}, (Access(DATA + 5, 1, 0xFE, True),))
    assert bench.changes() == ({"a2": 0xFE00}, (Access(DATA + 4, 2, 0xFE00, False),))
    written, accesses = bench.changes()
    assert accesses == (Access(DATA, 8, 0xFE00_0000_0000, False),)
    assert written == {"ft1": 0xFE00_0000_0000, "mstatus": bench.hart["mstatus"] | BIT}


def test_accesses_across_two_pages():
    bench = Recorded("li a0, 0x123\n sw a0, -2(a1)\n lw a2, -2(a1)")
    assert bench.changes(2) == ({}, (Access(DATA - 2, 4, 0x123, True),))
    assert bench.changes() == ({"a2": 0x123}, (Access(DATA - 2, 4, 0x123, False),))


def test_atomic_accesses():
    bench = Recorded(
        "li a0, 5\n amoadd.w a2, a0, (a1)\n lr.d a3, (a1)\n sc.d a4, a0, (a1)\n sc.d a4, a0, (a1)"
    )
    bench.ram.write(DATA, b"\3")
    both = Access(DATA, 4, 3, False), Access(DATA, 4, 8, True)
    assert bench.changes(2) == ({"a2": 3}, both)
    assert bench.changes() == ({"a3": 8}, (Access(DATA, 8, 8, False),))
    assert bench.changes() == ({"a4": 0}, (Access(DATA, 8, 5, True),))
    assert bench.changes() == ({"a4": 1}, ())


def test_a_block_that_is_zeroed():
    bench = Recorded("cbo.zero (a1)")
    _, accesses = bench.changes()
    assert accesses == tuple(Access(DATA + at, 8, 0, True) for at in range(0, 64, 8))


def test_csrs_that_change():
    bench = Recorded("csrrwi a0, mscratch, 9\n csrrwi a0, mscratch, 9\n csrr a0, minstret")
    assert bench.changes()[0] == {"a0": 0, "mscratch": 9}
    assert bench.changes()[0] == {"a0": 9}
    assert bench.changes()[0] == {"a0": 2}


@pytest.mark.parametrize(
    ("text", "cause", "tval"),
    [
        ("ld a0, 0(zero)", None, 0),
        ("ecall", 11, 0),
        ("ebreak", 3, RAM),
        (".word 0", 2, 0),
        ("amoadd.d a0, a0, (sp)", 6, 4),
    ],
)
def test_exceptions(text, cause, tval):
    bench = Recorded(text)
    bench.hart.x[2] = 4
    if cause is None:  # nothing answers there: the board says so
        bench.engine.run(1)
        bench.engine.resume(None)
        cause = 5
    else:
        assert bench.engine.run(1) == Spent()
    word = int.from_bytes(bench.ram.read(RAM, 4), "little")
    word = word if word & 3 == 3 else word & 0xFFFF
    assert bench.engine.take() == [Trap(RAM, cause, tval, HANDLER, 3, word)]


def test_an_instruction_that_cannot_be_fetched():
    bench = Recorded("jr zero")
    assert bench.step(2)[-1] == Trap(0, 1, 0, HANDLER, 3, 0)


def test_an_interrupt_comes_before_the_first_instruction_of_its_handler():
    bench = Recorded("nop\nnop")
    bench.step()
    bench.hart["mie"], bench.hart["mstatus"] = 1 << 11, bench.hart["mstatus"] | 8
    bench.hart.set_line(11, True)
    assert bench.step() == [
        Trap(RAM + 4, BIT | 11, 0, HANDLER, 3, 0),
        Instruction(HANDLER, 3, 0x13, {}, ()),
    ]


def test_a_call_of_the_host():
    bench = Recorded("ecall")
    bench.hart["hosted"], bench.hart["priv"] = 1, 1
    bench.hart["pmpcfg0"], bench.hart["pmpaddr0"] = 0x1F, (1 << 54) - 1
    bench.engine.run(1)
    assert bench.engine.take() == [HostCall(RAM, 1, 9, 0x73)]


def test_what_a_device_answers():
    bench = Recorded("lui a1, 0x10000\n lw a0, 0(a1)")
    bench.engine.run(2)
    bench.engine.resume(0x41)
    assert bench.changes() == ({"a0": 0x41}, (Access(0x1000_0000, 4, 0x41, False),))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_it_is_an_engine_like_others_and_what_it_says_is_written_is_what_changes(seed):
    for each in range(seed, seed + 10):
        words = program(each)
        plain, world = World("reference", each, words), World("reference", each, words)
        world.engine = Recorder(world.hart, world.ram, world.engine.clock)
        registers = dict(zip(X + F, [*world.hart.x, *world.hart.f], strict=True))
        assert plain.run(150) == world.run(150)
        assert plain.hart.visible() == world.hart.visible()
        assert plain.ram.view == world.ram.view
        for event in world.engine.take():
            if isinstance(event, Instruction):
                registers |= {
                    name: event.written[name] for name in registers.keys() & event.written
                }
        assert list(registers.values()) == [*world.hart.x, *world.hart.f]
