"""The CLINT: MSIP, mtimecmp and mtime, by words and double words."""

import pytest

from auberge.machine.devices.clint import NEVER, Clint, ClintState

MTIMECMP, MTIME = 0x4000, 0xBFF8


class Pins:
    """Two harts' inputs, as last driven."""

    def __init__(self):
        self.msip, self.deadline = {}, {}

    def set_msip(self, hart, level):
        self.msip[hart] = level

    def set_mtimecmp(self, hart, value):
        self.deadline[hart] = value


class Bench:
    """A CLINT for two harts and a clock set by hand."""

    def __init__(self, now=1000, **state):
        self.pins, self.now = Pins(), now
        self.clint = Clint(self.pins, lambda: self.now, 2, **state)
        self.read, self.write = self.clint.read, self.clint.write


@pytest.fixture
def bench():
    return Bench()


def test_at_reset_nothing_is_due(bench):
    assert bench.pins.msip == {0: False, 1: False}
    assert bench.pins.deadline == {0: NEVER, 1: NEVER}


def test_msip_drives_its_hart(bench):
    bench.write(4, 4, 0xFFFF_FFFF)
    assert bench.pins.msip == {0: False, 1: True}
    assert (bench.read(0, 4), bench.read(4, 4)) == (0, 1)
    bench.write(4, 4, 0xFFFF_FFFE)
    assert bench.pins.msip == {0: False, 1: False}


def test_msip_of_two_harts_in_one_access(bench):
    bench.write(0, 8, 1 << 32 | 1)
    assert bench.pins.msip == {0: True, 1: True}
    assert bench.read(0, 8) == 1 << 32 | 1


def test_mtimecmp_whole_and_by_halves(bench):
    bench.write(MTIMECMP + 8, 8, 0x1122_3344_5566_7788)
    assert bench.pins.deadline == {0: NEVER, 1: 0x1122_3344_5566_7788}
    assert bench.read(MTIMECMP + 8, 4) == 0x5566_7788
    assert bench.read(MTIMECMP + 12, 4) == 0x1122_3344
    bench.write(MTIMECMP + 8, 4, 1)
    bench.write(MTIMECMP + 12, 4, 2)
    assert bench.pins.deadline[1] == 2 << 32 | 1


def test_mtime_is_the_clock(bench):
    assert bench.read(MTIME, 8) == 1000
    bench.now = 0x5_0000_0007
    assert (bench.read(MTIME, 4), bench.read(MTIME + 4, 4)) == (7, 5)


def test_writing_mtime_moves_the_deadlines(bench):
    bench.write(MTIMECMP, 8, 5000)
    bench.write(MTIME, 8, 4000)
    assert bench.read(MTIME, 8) == 4000
    assert bench.pins.deadline[0] == 2000
    assert bench.read(MTIMECMP, 8) == 5000
    bench.now += 10
    assert bench.read(MTIME, 8) == 4010


def test_a_deadline_beyond_the_clocks_range_is_clamped(bench):
    bench.write(MTIME, 8, 0)  # behind the clock by 1000
    assert bench.pins.deadline[0] == NEVER
    bench.write(MTIME, 8, 1 << 40)
    bench.write(MTIMECMP, 8, 5)
    assert bench.pins.deadline[0] == 0


@pytest.mark.parametrize("offset", [8, 0x3FF8, 0x4010, 0xBFF0, 0xC000, 0xFFF8])
def test_what_is_not_there_reads_zero(bench, offset):
    before = bench.clint.state
    bench.write(offset, 8, NEVER)
    assert bench.read(offset, 8) == 0
    assert bench.clint.state == before


def test_a_restored_clint_drives_its_pins_again(bench):
    bench.write(4, 4, 1)
    bench.write(MTIMECMP, 8, 7000)
    bench.write(MTIME, 8, 3000)
    again = Bench(state=bench.clint.state)
    assert again.pins.msip == bench.pins.msip
    assert again.pins.deadline == bench.pins.deadline
    assert again.clint.state == ClintState(2000, (False, True), (7000, NEVER))
