"""Each SBI call, at the registers: what goes into a0 to a7, and what comes back in a0 and a1."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.engine.clock import ManualClock
from auberge.machine import sbi
from auberge.machine.outcome import Faulted, PoweredOff, Reset
from auberge.machine.sbi import Sbi
from auberge.machine.vcpu import STARTED, STOPPED, SUSPENDED, Vcpu
from auberge.memory.ram import Ram
from tests.machine.fakes import FakeKind, printing

BASE, SIZE, PC = 0x8000_0000, 1 << 20, 0x8020_0000
WORD = (1 << 64) - 1
OK, NOT_SUPPORTED, INVALID_PARAM, INVALID_ADDRESS, ALREADY_AVAILABLE = 0, -2, -3, -5, -6


class World:
    """An SBI with harts that no thread runs, a console made of lists, and RAM."""

    def __init__(self, harts=3):
        self.ram = Ram(BASE, SIZE)
        self.clock = ManualClock()
        kind = FakeKind(*[printing(b"")] * harts)
        self.vcpus = []
        for hartid in range(harts):
            engine = kind.engine(kind.hart(hartid), self.ram, self.clock)
            status = STOPPED if hartid else STARTED
            self.vcpus.append(Vcpu(hartid, engine, self.clock, status))
        self.printed, self.typed, self.ended = bytearray(), bytearray(), []
        self.sbi = Sbi(
            self.vcpus,
            self.ram,
            threading.Lock(),
            self.printed.extend,
            self.take,
            self.ended.append,
        )

    def take(self, size):
        data = bytes(self.typed[:size])
        del self.typed[:size]
        return data

    def call(self, extension, function, *arguments, hart=0):
        """(a0, a1) after the call, as signed and unsigned; pc must have moved past the ecall."""
        state = self.vcpus[hart].hart
        for n in range(6):
            state.x[10 + n] = arguments[n] & WORD if n < len(arguments) else 0xDEAD + n
        state.x[16], state.x[17] = function & WORD, extension & WORD
        state["pc"], state["cause"] = PC, 9
        self.sbi.call(self.vcpus[hart])
        assert state["pc"] == PC + 4
        error = state.x[10]
        return error - (error >> 63 << 64), state.x[11]


@pytest.fixture
def world():
    return World()


# -- base ---------------------------------------------------------------------------------------


def test_base(world):
    assert world.call(sbi.BASE, 0) == (OK, 0x0200_0000)
    assert world.call(sbi.BASE, 1)[0] == OK
    assert world.call(sbi.BASE, 2)[0] == OK
    assert [world.call(sbi.BASE, function) for function in (4, 5, 6)] == [(OK, 0)] * 3
    assert world.call(sbi.BASE, 7)[0] == NOT_SUPPORTED


@pytest.mark.parametrize(
    "extension, there",
    [
        *((e, 1) for e in (0x10, 0x54494D45, 0x735049, 0x52464E43, 0x48534D, 0x53525354)),
        *((e, 1) for e in (0x4442434E, 0, 1, 2, 3, 8)),
        *((e, 0) for e in (4, 5, 6, 7, 9, 0x504D55, 0x535441, 0x43505043, WORD)),
    ],
)
def test_probe_extension(world, extension, there):
    assert world.call(sbi.BASE, 3, extension) == (OK, there)


@given(st.integers(0, WORD), st.integers(0, WORD), st.lists(st.integers(0, WORD), max_size=6))
def test_any_call_is_answered(extension, function, arguments):
    world = World(1)
    error, _ = world.call(extension, function, *arguments)
    if extension > 15 and extension not in world.sbi.extensions:
        assert error == NOT_SUPPORTED


@given(
    st.sampled_from([0x10, 0x735049, 0x52464E43, 0x48534D, 0x53525354, 0x4442434E, 0x54494D45]),
    st.integers(0, 8),
    st.lists(st.one_of(st.integers(0, 3), st.integers(0, WORD)), min_size=3, max_size=3),
)
def test_any_arguments_are_answered(extension, function, arguments):
    world = World(1)
    stops = extension == sbi.HSM and function == 1
    if not stops:
        assert -8 <= world.call(extension, function, *arguments)[0] <= 0


# -- timer and interrupts -----------------------------------------------------------------------


def test_set_timer(world):
    assert world.call(sbi.TIME, 0, 12345)[0] == OK
    assert world.vcpus[0].hart["stimecmp"] == 12345
    assert world.vcpus[0].hart["attention"] == 1
    assert world.call(sbi.TIME, 0, WORD)[0] == OK
    assert world.vcpus[0].hart["stimecmp"] == WORD


def posted(world):
    return [vcpu.hart["posted_ssip"] for vcpu in world.vcpus]


def test_send_ipi(world):
    world.vcpus[1].start(BASE, 0)
    world.vcpus[2].start(BASE, 0)
    assert world.call(sbi.IPI, 0, 0b11, 1) == (OK, 0)
    assert posted(world) == [0, 1, 1]
    assert world.call(sbi.IPI, 0, 0b100, WORD)[0] == OK  # base -1: all, whatever the mask
    assert posted(world) == [1, 1, 1]


def test_a_stopped_hart_is_not_interrupted(world):
    assert world.call(sbi.IPI, 0, 0, WORD)[0] == OK
    assert posted(world) == [1, 0, 0]


@pytest.mark.parametrize("mask, base", [(0b1000, 0), (1, 3), (1, WORD - 1), (WORD, 0)])
def test_harts_that_do_not_exist(world, mask, base):
    assert world.call(sbi.IPI, 0, mask, base)[0] == INVALID_PARAM
    assert world.call(sbi.RFENCE, 1, mask, base)[0] == INVALID_PARAM
    assert posted(world) == [0, 0, 0]


def test_an_empty_mask_is_no_hart(world):
    assert world.call(sbi.IPI, 0, 0, 99)[0] == OK
    assert posted(world) == [0, 0, 0]


# -- fences -------------------------------------------------------------------------------------


def test_a_hart_that_is_started_has_forgotten_what_it_knew(world):
    """Fences pass a stopped hart by, and code may have been written meanwhile."""
    assert world.call(sbi.HSM, 0, 1, BASE + 64, 5) == (OK, 0)
    assert [world.vcpus[1].hart[f"request_{what}"] for what in ("sfence", "fence_i")] == [1, 1]


@pytest.mark.parametrize("function, what", [(0, "fence_i"), (1, "sfence"), (2, "sfence")])
def test_a_remote_fence_asks_each_hart(world, function, what):
    assert world.call(sbi.RFENCE, function, 0b110, 0, 0, WORD, 7)[0] == OK
    assert [vcpu.hart["request_" + what] for vcpu in world.vcpus] == [0, 1, 1]


def test_hypervisor_fences_are_not_supported(world):
    for function in (3, 4, 5, 6):
        assert world.call(sbi.RFENCE, function, 1, 0)[0] == NOT_SUPPORTED


def test_a_fence_waits_for_a_hart_that_runs(world):
    """It returns when that hart says that it flushed, and not before."""
    target = world.vcpus[1]
    target.inside = True
    asked = threading.Thread(target=world.call, args=(sbi.RFENCE, 1, 0b10, 0))
    asked.start()
    while not target.hart["request_sfence"]:
        time.sleep(0)
    assert asked.is_alive()
    target.hart["request_sfence"] = 0
    asked.join(10)
    assert not asked.is_alive()


def test_a_fence_does_not_wait_for_a_hart_that_left_meanwhile(world):
    target = world.vcpus[1]
    target.inside = True
    asked = threading.Thread(target=world.call, args=(sbi.RFENCE, 1, 0b10, 0))
    asked.start()
    while not target.hart["request_sfence"]:
        time.sleep(0)
    target.inside = False
    asked.join(10)
    assert not asked.is_alive()


def test_two_harts_that_fence_each_other_do_not_wait_for_ever(world):
    world.vcpus[1].start(BASE, 0)

    def many(hart):
        for _ in range(300):
            world.vcpus[hart].inside = False  # as `run` returned with the call
            world.call(sbi.RFENCE, 1, 0, WORD, hart=hart)
            world.vcpus[hart].inside = True
            world.vcpus[hart].hart["request_sfence"] = 0
        world.vcpus[hart].inside = False

    threads = [threading.Thread(target=many, args=(hart,)) for hart in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


# -- hart state ---------------------------------------------------------------------------------


def test_hart_start(world):
    target = world.vcpus[1].hart
    target["satp"], target["mstatus"] = 8 << 60, target["mstatus"] | 2
    assert world.call(sbi.HSM, 0, 1, BASE + 0x100, 0x1234)[0] == OK
    assert (target["pc"], target["priv"], target["satp"]) == (BASE + 0x100, 1, 0)
    assert (target.x[10], target.x[11], target["mstatus"] & 2) == (1, 0x1234, 0)
    assert world.call(sbi.HSM, 2, 1) == (OK, STARTED)
    assert world.call(sbi.HSM, 0, 1, BASE, 0)[0] == ALREADY_AVAILABLE
    assert world.call(sbi.HSM, 0, 0, BASE, 0)[0] == ALREADY_AVAILABLE


@pytest.mark.parametrize("address", [0, BASE - 2, BASE + 1, BASE + SIZE, WORD - 1])
def test_hart_start_at_no_place(world, address):
    assert world.call(sbi.HSM, 0, 1, address, 0)[0] == INVALID_ADDRESS
    assert world.call(sbi.HSM, 2, 1) == (OK, STOPPED)


def test_harts_that_there_are_not(world):
    for hartid in (3, WORD):
        assert world.call(sbi.HSM, 0, hartid, BASE, 0)[0] == INVALID_PARAM
        assert world.call(sbi.HSM, 2, hartid)[0] == INVALID_PARAM


def test_hart_stop_leaves_the_registers_alone(world):
    """Another hart may start it at once: nothing may be written after it counts as stopped."""
    error, value = world.call(sbi.HSM, 1, 1, 2)
    assert (error, value) == (1, 2)
    assert world.call(sbi.HSM, 2, 0, hart=1) == (OK, STOPPED)


def test_suspend(world):
    assert world.call(sbi.HSM, 3, 0, 0, 0)[0] == OK
    assert world.vcpus[0].status == SUSPENDED
    assert world.vcpus[0].resume_at is None


def test_suspend_non_retentive(world):
    assert world.call(sbi.HSM, 3, 0x8000_0000, BASE + 4, 99)[0] == OK
    assert world.vcpus[0].resume_at == (BASE + 4, 99)
    world.vcpus[0].status = STARTED
    assert world.call(sbi.HSM, 3, 0x8000_0000, 3, 99)[0] == INVALID_ADDRESS


@pytest.mark.parametrize(
    "kind, error",
    [(1, INVALID_PARAM), (0x8000_0001, INVALID_PARAM), (0x1000_0000, NOT_SUPPORTED)],
)
def test_suspend_of_another_kind(world, kind, error):
    assert world.call(sbi.HSM, 3, kind, BASE, 0)[0] == error
    assert world.vcpus[0].status == STARTED


# -- reset --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, reason, outcome",
    [(0, 0, PoweredOff(0)), (0, 1, PoweredOff(1)), (1, 0, Reset()), (2, 0, Reset())],
)
def test_system_reset(world, kind, reason, outcome):
    world.call(sbi.SRST, 0, kind, reason)
    assert world.ended == [outcome]


@pytest.mark.parametrize(
    "kind, reason, error",
    [
        (3, 0, INVALID_PARAM),
        (0, 2, INVALID_PARAM),
        (0xF000_0000, 0, NOT_SUPPORTED),
        (0, 0xE000_0000, NOT_SUPPORTED),
    ],
)
def test_a_reset_of_another_kind(world, kind, reason, error):
    assert world.call(sbi.SRST, 0, kind, reason)[0] == error
    assert world.ended == []


# -- the console --------------------------------------------------------------------------------


def test_console_write(world):
    world.ram.write(BASE + 10, b"hello")
    assert world.call(sbi.DBCN, 0, 5, BASE + 10, 0) == (OK, 5)
    assert world.call(sbi.DBCN, 2, 0x121) == (OK, 0)
    assert world.call(sbi.DBCN, 0, 0, 0, 0) == (OK, 0)
    assert world.printed == b"hello!"


def test_a_long_write_is_taken_in_parts(world):
    assert world.call(sbi.DBCN, 0, SIZE, BASE, 0) == (OK, sbi.LONGEST_WRITE)
    assert len(world.printed) == sbi.LONGEST_WRITE


def test_console_read(world):
    world.typed += b"keys"
    assert world.call(sbi.DBCN, 1, 3, BASE + SIZE - 3, 0) == (OK, 3)
    assert world.ram.read(BASE + SIZE - 4, 4) == b"\0key"
    assert world.call(sbi.DBCN, 1, 3, BASE, 0) == (OK, 1)
    assert world.call(sbi.DBCN, 1, 3, BASE, 0) == (OK, 0)


@pytest.mark.parametrize("function", [0, 1])
@pytest.mark.parametrize(
    "size, low, high",
    [
        (1, 0, 0),
        (1, BASE - 1, 0),
        (2, BASE + SIZE - 1, 0),
        (1, BASE, 1),
        (WORD, BASE, 0),
        (16, WORD - 7, 0),
        (WORD, 1, WORD),
    ],
)
def test_hostile_addresses(world, function, size, low, high):
    world.typed += b"x"
    assert world.call(sbi.DBCN, function, size, low, high)[0] == INVALID_PARAM
    assert world.printed == b"" and world.typed == b"x"


# -- legacy -------------------------------------------------------------------------------------


def test_legacy_calls_change_a0_alone(world):
    world.typed += b"k"
    for extension, a0, answer in ((1, 0x141, 0), (2, 7, ord("k")), (2, 7, -1), (0, 55, 0)):
        assert world.call(extension, 99, a0, 0x5A5A) == (answer, 0x5A5A)
    assert world.printed == b"A"
    assert world.vcpus[0].hart["stimecmp"] == 55


def test_legacy_clear_ipi(world):
    world.vcpus[0].post_ssip()
    assert world.call(3, 0, 7, 8) == (1, 8)
    assert posted(world) == [0, 0, 0]
    assert world.call(3, 0, 7, 8) == (0, 8)


def test_legacy_clear_ipi_takes_none_away_that_comes_just_then(world):
    class Racing:
        """A hart to which another one posts right after each look."""

        def __init__(self, hart):
            self.hart, self.x = hart, hart.x

        def __getitem__(self, name):
            value = self.hart[name]
            if name == "posted_ssip":
                self.hart.post_ssip()
            return value

        def __setitem__(self, name, value):
            self.hart[name] = value

    hart = world.vcpus[0].hart
    world.vcpus[0].hart = Racing(hart)
    assert world.call(3, 0, 7, 8) == (0, 8)
    assert hart["posted_ssip"] == 1


def test_legacy_shutdown(world):
    world.call(8, 0)
    assert world.ended == [PoweredOff(0)]


def test_legacy_calls_with_a_virtual_address_are_not_served(world):
    for extension in (4, 5, 6, 7, 9, 15):
        assert world.call(extension, 0, 7, 8) == (NOT_SUPPORTED, 8)


# -- what is no call ----------------------------------------------------------------------------


def test_another_trap_for_machine_mode_is_the_end(world):
    hart = world.vcpus[2].hart
    hart["pc"], hart["cause"] = 0x8020_1234, 11
    world.sbi.call(world.vcpus[2])
    message = (
        "hart 2: at 0x80201234 a trap of cause 0xb for machine mode,"
        " which a guest in S-mode does not have"
    )
    assert world.ended == [Faulted(message)]
    assert hart["pc"] == 0x8020_1234
