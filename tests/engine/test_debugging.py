"""Breakpoints and watchpoints of engines: what they stop, where, and that nothing else changes."""

import pytest

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import LOADS, STORES, Breakpoint, MmioRead, Spent, Watch, Watchpoint
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram
from tests.engine.board import ENGINES
from tests.engine.world import CODE, World, program

RAM, DATA = 0x8000_0000, 0x8001_0000
pytestmark = pytest.mark.parametrize("engine", ENGINES)
A0, A1 = 10, 11


class Program:
    """Assembly at the start of RAM, in machine mode; a1 is the address of data."""

    def __init__(self, engine, text, at=RAM):
        kind, self.ram = choose(engine), Ram(RAM, 1 << 20)
        self.hart = kind.hart(0)
        self.ram.write(at, assemble(rv64, text, at))
        self.hart["pc"], self.hart.x[A1] = at, DATA
        self.engine = kind.engine(self.hart, self.ram, ManualClock())

    @property
    def pc(self):
        return self.hart["pc"]


LOOP = "loop: addi a0, a0, 1\n addi a2, a2, 1\n j loop"


def test_it_stops_before_the_instruction_each_time(engine):
    program = Program(engine, LOOP)
    assert program.engine.run(31) == Spent()  # decoded long before
    program.engine.debug([RAM + 4], [])
    for count in range(3):
        assert program.engine.run(1 << 20) == Breakpoint()
        assert (program.pc, program.hart.x[A0], program.hart.x[12]) == (
            RAM + 4,
            11 + count,
            10 + count,
        )
        program.engine.debug([], [])
        assert program.engine.run(1) == Spent()
        program.engine.debug([RAM + 4], [])
    program.engine.debug([], [])
    assert program.engine.run(300) == Spent()


def test_a_breakpoint_here_stops_at_once(engine):
    program = Program(engine, LOOP)
    program.engine.debug([RAM], [])
    for _ in range(3):
        assert program.engine.run(1 << 20) == Breakpoint()
        assert (program.pc, program.hart["spent"]) == (RAM, 0)


def test_many_breakpoints(engine):
    program = Program(engine, "\n".join(["addi a0, a0, 1"] * 1000))
    program.engine.debug(range(RAM, RAM + 4000, 40), [])
    for n in range(100):
        assert program.engine.run(1 << 20) == Breakpoint()
        assert program.pc == RAM + 40 * n
        program.hart["pc"] += 4  # this one is not done


@pytest.mark.parametrize("text", [
    "addi a0, a0, 3", "c.addi a0, 3", "lw a0, 0(a1)", "sd a1, 8(a1)", "bnez a1, out\nnop\nout:",
    "jal a0, out\nnop\nout:", "auipc a0, 5", "la a2, out\njr a2\nout: nop", "ecall", ".word 0",
    "amoadd.w a0, a1, (a1)", "csrr a0, mhartid", "c.j out\nc.nop\nout:", "fmv.d.x fa0, a1",
])  # fmt: skip
@pytest.mark.parametrize("at", [RAM + 0x40, RAM + 4094, RAM + 4092])
def test_what_is_as_far_into_its_page_does_what_it_does(engine, text, at):
    """A breakpoint in another page: nothing may stop, and nothing differ."""
    states = []
    for breakpoints in ([], [at + 0x5000, at + 0x5002, at + 0x5004, at + 0x5006]):
        program = Program(engine, text + "\nnop\nnop\nnop\nnop", at)
        program.hart["mstatus"] |= 1 << 13
        program.hart["mtvec"] = RAM + 0x8000
        program.ram.write(RAM + 0x8000, assemble(rv64, "nop") * 8)
        program.engine.debug(breakpoints, [])
        assert program.engine.run(4) == Spent()
        states.append((program.hart.visible(), program.ram.read(RAM, 1 << 20)))
    assert states[0] == states[1]


def test_a_loop_as_far_into_its_page(engine):
    program = Program(engine, LOOP)
    program.engine.debug([RAM + 0x3000, RAM + 0x3004, RAM + 0x3008], [])
    assert program.engine.run(3000) == Spent()
    assert program.hart.x[A0] == 1000


def test_a_breakpoint_is_at_a_virtual_address(engine):
    """One page of code at two addresses: each has breakpoints of its own."""
    program = Program(engine, LOOP)
    root = RAM + 0x4000
    for gigabyte in (1, 2):
        program.ram.write(root + 8 * gigabyte, (RAM >> 2 | 0xCF).to_bytes(8, "little"))
    hart = program.hart
    hart["satp"], hart["priv"] = 8 << 60 | root >> 12, 1
    hart["pmpcfg0"], hart["pmpaddr0"] = 0x1F, (1 << 54) - 1
    program.engine.debug([0x8000_0004], [])
    hart["pc"] = 0x4000_0000
    assert program.engine.run(30) == Spent()
    hart["pc"] = 0x8000_0000
    assert program.engine.run(30) == Breakpoint()
    assert (program.pc, hart.x[A0]) == (0x8000_0004, 11)
    hart["pc"] = 0x4000_0000
    assert program.engine.run(30) == Spent()


def test_a_breakpoint_on_an_instruction_across_two_pages(engine):
    program = Program(engine, LOOP, RAM + 4094)
    program.engine.debug([RAM + 4094], [])
    assert program.engine.run(10) == Breakpoint()
    program.engine.debug([RAM + 4094 + 4096], [])
    assert program.engine.run(30) == Spent()
    assert program.hart.x[A0] == 10
    program.engine.debug([RAM + 4094], [])
    assert program.engine.run(30) == Breakpoint()


def test_a_device_answers_an_instruction_near_a_breakpoint(engine):
    program = Program(engine, "loop: lw a0, 0(a1)\n addi a2, a2, 1\n j loop")
    program.hart.x[A1] = 0x1000_0000
    program.engine.debug([RAM + 0x3000], [])
    for n in range(3):
        assert program.engine.run(1 << 20) == MmioRead(0x1000_0000, 4)
        program.engine.resume(n + 7)
        assert program.engine.run(2) == Spent()
        assert (program.hart.x[A0], program.hart.x[12]) == (n + 7, n + 1)
        assert program.engine.run(1) == Spent()


ACCESSES = [
    ("ld a0, 8(a1)", DATA + 8, 8, LOADS),
    ("lb a0, 15(a1)", DATA + 15, 1, LOADS),
    ("sw a0, 12(a1)", DATA + 12, 4, STORES),
    ("sd a0, 9(a1)", DATA + 9, 8, STORES),
    ("fld fa0, 8(a1)", DATA + 8, 8, LOADS),
    ("addi a3, a1, 8\n lr.d a0, (a3)", DATA + 8, 8, LOADS),
    ("addi a3, a1, 8\n amoadd.d a0, a0, (a3)", DATA + 8, 8, LOADS | STORES),
    ("addi a3, a1, 8\n sc.d a0, a0, (a3)", DATA + 8, 8, LOADS | STORES),
    ("cbo.zero (a1)", DATA, 64, STORES),
]


@pytest.mark.parametrize(("text", "address", "width", "kinds"), ACCESSES)
def test_accesses_that_are_watched(engine, text, address, width, kinds):
    for watched in (LOADS, STORES, LOADS | STORES):
        program = Program(engine, f"loop: {text}\n j loop")
        program.hart["mstatus"] |= 1 << 13
        assert program.engine.run(10) == Spent()  # it is in the TLB
        watches = [Watch(DATA + 15, DATA + 15, watched)]
        if address > DATA:
            watches.append(Watch(DATA, DATA + 7, 3))
        program.engine.debug([], watches)
        if kinds & watched:
            spent = program.hart["spent"]
            for _ in range(2):
                assert program.engine.run(10) == Watchpoint(address, width, kinds)
                assert program.hart["spent"] - spent <= 2
        else:
            assert program.engine.run(10) == Spent()


def test_an_access_near_what_is_watched(engine):
    program = Program(engine, "loop: ld a0, 8(a1)\n sd a0, 24(a1)\n ld a3, 0(a4)\n j loop")
    program.hart.x[14] = DATA + 4095
    program.engine.debug([], [Watch(DATA, DATA + 7, 3), Watch(DATA + 16, DATA + 23, 3)])
    assert program.engine.run(100) == Spent()
    program.engine.debug([], [Watch(DATA + 4097, DATA + 4097, LOADS)])
    assert program.engine.run(100) == Watchpoint(DATA + 4095, 8, LOADS)  # across two pages
    program.engine.debug([], [])
    assert program.engine.run(100) == Spent()


def test_a_watched_device(engine):
    program = Program(engine, "ld a0, 8(a1)\n nop")
    program.hart.x[A1] = 0x1000_0000
    program.engine.debug([], [Watch(0x1000_0008, 0x1000_0008, LOADS)])
    assert program.engine.run(1) == Watchpoint(0x1000_0008, 8, LOADS)


def test_an_access_that_faults_is_none(engine):
    program = Program(engine, "ld a0, 0(a2)\n sd a0, 0(a2)\n amoadd.w a0, a0, (a2)")
    hart = program.hart
    hart["priv"], hart["satp"], hart["mtvec"] = 3, 8 << 60 | (RAM + 0x4000) >> 12, RAM + 0x8000
    hart["pmpcfg0"], hart["pmpaddr0"] = 0x1F, (1 << 54) - 1
    program.engine.debug([], [Watch(0, (1 << 64) - 1, 3)])
    for n, cause in enumerate((13, 15, 15)):
        hart["pc"] = RAM + 4 * n
        hart["mstatus"] = 1 << 17 | 1 << 11  # loads and stores as in S
        assert program.engine.run(1) == Spent()
        assert (program.pc, hart["mcause"]) == (RAM + 0x8000, cause)


def test_more_watchpoints_than_there_are(engine):
    program = Program(engine, "nop")
    with pytest.raises(ValueError) as error:
        program.engine.debug([], [Watch(0, 0, 1)] * 5)
    assert str(error.value) == "5 ranges to watch; at most 4 are possible"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 120, 10))
def test_random_programs_do_what_they_do(engine, seed):
    """Breakpoints and watches that nothing meets, but many are near, change nothing."""
    near = [CODE + (1 << 40) + 2 * n for n in range(2048)]
    for each in range(seed, seed + 10):
        words = program(each)
        states = []
        for breakpoints, watches in (([], []), (near, []), ([], [Watch(1 << 50, 1 << 51, 3)])):
            world = World(engine, each, words)
            world.engine.debug(breakpoints, watches)
            out = world.run(200)
            states.append((out, world.hart.visible(), bytes(world.ram.view)))
        assert states[0] == states[1] == states[2], each


def test_a_breakpoint_is_passed_when_that_is_asked_for(engine):
    program = Program(engine, LOOP)
    program.engine.debug([RAM + 4], [])
    for count in range(1, 100):
        assert program.engine.run(1 << 20) == Breakpoint()
        assert (program.pc, program.hart.x[A0], program.hart.x[12]) == (RAM + 4, count, count - 1)
        program.hart.pass_breakpoint()
    assert program.engine.run(1) == Spent()  # exactly the one that was passed
    assert (program.pc, program.hart.x[12]) == (RAM + 8, 99)


def test_no_interrupt_comes_before_what_is_passed(engine):
    program = Program(engine, LOOP + "\n.align 4\nhandler: j handler")
    hart = program.hart
    hart["mtvec"], hart["mstatus"] = RAM + 16, hart["mstatus"] | 8
    program.engine.debug([RAM + 4], [])
    assert program.engine.run(1 << 20) == Breakpoint()
    hart["mie"] = 1 << 11
    hart.set_line(11, True)
    hart.pass_breakpoint()
    assert program.engine.run(2) == Spent()
    assert (hart.x[12], hart["mepc"]) == (1, RAM + 8)


def test_a_pass_is_for_the_pc_where_it_was_said(engine):
    program = Program(engine, LOOP)
    program.engine.debug([RAM, RAM + 4], [])
    program.hart.pass_breakpoint()
    program.hart["pc"] = RAM + 4
    assert program.engine.run(1 << 20) == Breakpoint()
    program.hart.pass_breakpoint()
    program.engine.debug([RAM + 4], [])
    assert program.engine.run(1 << 20) == Breakpoint()  # what was said before is forgotten
    assert program.pc == RAM + 4


@pytest.mark.parametrize("at", [RAM + 0x40, RAM + 4094])
@pytest.mark.parametrize("text", [
    "fadd.d ft0, ft1, ft2, rmm", "lw a0, 0(a1)", "amoadd.w a0, a1, (a1)", "j loop",
])  # fmt: skip
def test_any_instruction_can_be_passed(engine, text, at):
    """The first is one that native code leaves to the reference; the jump comes back here."""
    program = Program(engine, f"loop: {text}\nj loop", at)
    program.hart["mstatus"] |= 1 << 13
    program.engine.debug([at], [])
    for _ in range(5):
        assert program.engine.run(1 << 20) == Breakpoint()
        assert program.pc == at
        program.hart.pass_breakpoint()
    assert program.engine.run(1) == Spent()


def test_an_access_that_was_answered_completes_at_a_breakpoint(engine):
    program = Program(engine, "loop: lw a0, 0(a1)\nj loop")
    program.hart.x[A1] = 0x1000_0000
    program.engine.debug([RAM], [])
    for n in range(3):
        assert program.engine.run(1 << 20) == Breakpoint()
        program.hart.pass_breakpoint()
        assert program.engine.run(1 << 20) == MmioRead(0x1000_0000, 4)
        program.engine.resume(n)
        if n == 1:
            program.hart.forget_translations()
    assert program.engine.run(1) == Spent()
    assert program.hart.x[A0] == 2
