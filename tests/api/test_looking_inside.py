"""Harts and memory as Python sees them: read, written, and refused while the machine runs."""

import threading

import pytest

import auberge
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.engine.eager import ENGINES
from tests.machine.debug.client import Running
from tests.machine.debug.guest import AT, BUILT, machine
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(200)
FUNCTION, DATA, STORE = (AT[name] for name in ("function", "data", "store"))
WORD = (1 << 64) - 1
END = BASE + (4 << 20)
RUNS = "the machine runs; look at it in `with machine.stopped():`"


@pytest.fixture(params=ENGINES)
def guest(tmp_path, request):
    with machine(tmp_path, engine=request.param) as made:
        yield made


def test_registers_by_number_and_by_name(guest):
    (hart,) = guest.harts
    assert (hart.hartid, hart.pc, hart.privilege, hart.state) == (0, BASE, "M", "started")
    hart.x[10], hart["a1"], hart["ft0"] = 7, 8, WORD
    assert (hart["a0"], hart.x[11], hart["ft0"]) == (7, 8, WORD)
    hart.x[0] = 5
    hart.x[12] = -1  # cut to 64 bits
    hart["a3"] = 1 << 64
    assert [hart.x[n] for n in (0, 12, 13)] == [0, WORD, 0]
    hart.pc = FUNCTION | 1
    assert hart["pc"] == FUNCTION


def test_csrs_as_machine_mode_writes_them(guest):
    (hart,) = guest.harts
    hart["mstatus"] = WORD
    assert hart["mstatus"] == 0x8000000A007E79AA
    assert hart["mhartid"] == 0
    hart.privilege = "S"
    assert (hart.privilege, hart["priv"]) == ("S", 1)


def test_what_is_no_register(guest):
    (hart,) = guest.harts
    with pytest.raises(KeyError):
        hart["a9"]
    with pytest.raises(IndexError) as error:
        hart.x[32]
    assert str(error.value) == "there is no register 32"
    with pytest.raises(ValueError) as error:
        hart["mhartid"] = 3
    assert str(error.value) == "mhartid cannot be written with 0x3"
    with pytest.raises(ValueError) as error:
        hart.privilege = "H"
    assert str(error.value) == "'H' is no privilege mode; it is one of M, S, U"


def test_physical_memory(guest):
    memory = guest.memory
    assert memory.read(BASE, len(BUILT.code)) == BUILT.code
    memory.write(DATA, b"12345678")
    assert memory.read(DATA, 8) == b"12345678"
    for address, size in ((BASE - 1, 1), (END - 4, 8), (0x1000_0000, 1), (-1, 1), (BASE, 1 << 70)):
        with pytest.raises(auberge.Unmapped) as error:
            memory.read(address, size)
        assert str(error.value) == f"{address:#x}: no RAM is there"
        assert error.value.address == address
    with pytest.raises(auberge.Unmapped):
        memory.write(END - 4, b"12345678")
    assert memory.read(END - 4, 4) == bytes(4)


def paged(guest):
    """Three pages at 1 GiB, to the first of RAM, nowhere, and the last; the hart is in S."""
    memory, (hart,) = guest.memory, guest.harts
    root = BASE + (1 << 20)
    for at, value in (
        (root + 8, (root + 4096) >> 2 | 1),
        (root + 4096, (root + 8192) >> 2 | 1),
        (root + 8192, BASE >> 2 | 0xCF),
        (root + 8192 + 16, (END - 4096) >> 2 | 0xCF),
    ):
        memory.write(at, value.to_bytes(8, "little"))
    hart["satp"], hart.privilege = 8 << 60 | root >> 12, "S"
    return hart


def test_virtual_memory(guest):
    hart = paged(guest)
    assert hart.read(1 << 30, len(BUILT.code)) == BUILT.code
    hart.write((1 << 30) + 0x2FFE, b"zz")
    assert guest.memory.read(END - 2, 2) == b"zz"
    for address, size, where in (
        ((1 << 30) + 4095, 2, (1 << 30) + 4096),
        (BASE, 1, BASE),
        (1 << 60, 1, 1 << 60),
        (WORD, 2, WORD),
        (-1, 1, -1),
    ):
        with pytest.raises(auberge.Unmapped) as error:
            hart.read(address, size)
        assert error.value.address == where
    with pytest.raises(auberge.Unmapped):
        hart.write((1 << 30) + 4094, b"none")
    assert guest.memory.read(BASE + 4094, 2) == bytes(2)


def test_strings(guest):
    hart = paged(guest)
    guest.memory.write(END - 6, b"hi\0all")
    top = (1 << 30) + 0x3000
    assert hart.string(top - 6) == b"hi"
    assert hart.string(top - 3, most=2) == b"al"
    with pytest.raises(auberge.Unmapped) as error:
        hart.string(top - 3)
    assert error.value.address == top


def test_translations(guest):
    hart = paged(guest)
    found = hart.translate((1 << 30) + 5)
    assert (found.mode, found.gpa, len(found.levels)) == ("Sv39", BASE + 5, 3)
    assert found.hva is not None
    assert hart.translate(0).fault.name == "load page fault"
    for address in (-1, 1 << 64):
        with pytest.raises(ValueError) as error:
            hart.translate(address)
        assert str(error.value) == f"{address:#x} is not a 64-bit address"


def test_code_that_is_written_executes(guest):
    guest.run(until=FUNCTION)
    guest.memory.write(FUNCTION, (0x13).to_bytes(4, "little"))
    (hart,) = guest.harts
    guest.run(until=FUNCTION)
    assert hart["a3"] == 0
    hart.write(FUNCTION, BUILT.code[FUNCTION - BASE :][:4])
    guest.run(until=FUNCTION)
    assert hart["a3"] == 2


def test_what_is_written_is_what_goes_on(guest):
    (hart,) = guest.harts
    hart.pc, hart["s0"] = STORE, DATA
    hart["a1"] = 99
    assert guest.run(until=FUNCTION) == auberge.Reached(0, FUNCTION)
    assert guest.memory.read(DATA + 8, 8) == (99).to_bytes(8, "little")


def test_an_access_that_a_device_has_answered_is_not_left_half(tmp_path):
    """Else what it answered would be what the next access loads, wherever the hart is sent."""
    with machine(tmp_path) as made:
        (hart,) = made.harts
        program = "lui a1, 0x10000\nloop: lbu a0, 5(a1)\naddi a2, a2, 1\nj loop"
        made.memory.write(BASE, assemble(rv64, program, BASE))
        for _ in range(50):
            assert made.run(timeout=0.001) == auberge.TimedOut()
            hart.x[0] = 0
            assert not made._machine.vcpus[0].hart["answered"]


# -- while it runs ------------------------------------------------------------------------------


def spins(guest):
    guest.memory.write(DATA + 8, bytes(8))  # it has run before; a pause is of a run that has begun
    running = Running(guest)
    while guest.memory.read(DATA + 8, 8) == bytes(8):
        pass
    return running


def test_a_machine_that_runs_is_not_touched(guest):
    (hart,) = guest.harts
    running = spins(guest)
    looks = [
        lambda: hart.pc,
        lambda: hart.x[10],
        lambda: hart["a0"],
        lambda: hart.privilege,
        lambda: hart.state,
        lambda: hart.read(BASE, 1),
        lambda: hart.translate(BASE),
        lambda: hart.write(BASE, b""),
        lambda: setattr(hart, "pc", 0),
        lambda: hart.x.__setitem__(1, 1),
        lambda: hart.__setitem__("a0", 1),
    ]
    for look in looks:
        with pytest.raises(RuntimeError) as error:
            look()
        assert str(error.value) == RUNS
    assert guest.memory.read(BASE, 4) == BUILT.code[:4]
    guest.pause()
    assert running.result() == auberge.Paused()
    assert hart.pc >= BASE


def test_it_is_looked_at_in_the_middle_of_a_run(guest):
    (hart,) = guest.harts
    running = spins(guest)
    seen = []
    for _ in range(5):
        with guest.stopped() as stopped:
            assert stopped is guest
            before = hart["instret"], hart.pc
            assert (hart["instret"], hart.pc) == before
            with guest.stopped():
                seen.append(hart["instret"])
            stored = guest.memory.read(DATA + 8, 8)
        while guest.memory.read(DATA + 8, 8) == stored:  # it goes on
            pass
    assert sorted(set(seen)) == seen
    guest.memory.write(DATA + 16, b"\1")
    assert running.result() == auberge.PoweredOff(7)


def test_visitors_come_one_by_one(guest):
    running = spins(guest)
    inside, most = [], []

    def look():
        for _ in range(20):
            with guest.stopped():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80
    guest.pause()
    assert running.result() == auberge.Paused()


def test_a_visitor_does_not_undo_a_pause_nor_an_end(guest):
    for _ in range(20):
        running = spins(guest)
        with guest.stopped():
            guest.pause()
        assert running.result() == auberge.Paused()
    running = spins(guest)
    with guest.stopped():
        guest.memory.write(DATA + 16, b"\1")
    assert running.result() == auberge.PoweredOff(7)
    with guest.stopped():
        assert guest.harts[0].pc >= BASE  # one that is off can be looked at


def test_a_visitor_cannot_run_it(guest):
    with guest.stopped():
        with pytest.raises(RuntimeError) as error:
            guest.run()
        assert str(error.value) == "who looks at a machine cannot run it meanwhile"
    assert guest.run(until=FUNCTION) == auberge.Reached(0, FUNCTION)


def test_a_machine_that_is_closed(guest):
    guest.close()
    (hart,) = guest.harts
    looks = [
        lambda: hart.pc,
        lambda: guest.memory.read(BASE, 1),
        lambda: guest.stopped().__enter__(),
    ]
    for look in looks:
        with pytest.raises(RuntimeError) as error:
            look()
        assert str(error.value) == "the machine is closed"


def test_harts_after_a_reset_are_the_new_ones(tmp_path):
    """A Hart is a number: it does not keep what a reset has thrown away."""
    text = "li a0, 0x100000\nli a1, 0x7777\nsw a1, 0(a0)\nj ."
    kernel = tmp_path / "resets"
    kernel.write_bytes(elf([(BASE, assemble(rv64, text, BASE))]))
    with auberge.Machine.virt(kernel, memory="4M", console=print) as made:
        (hart,) = made.harts
        for _ in range(3):
            assert made.run(until=auberge.Reset, timeout=60) == auberge.Reset()
            assert (hart.pc, hart["instret"]) == (BASE, 0)
