"""The Goldfish clock: time that latches, an alarm that rings once."""

import pytest

from auberge.machine.devices.goldfish_rtc import GoldfishRtc

TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH = 0x00, 0x04, 0x08, 0x0C
IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT = 0x10, 0x14, 0x18, 0x1C

NOW = 1_700_000_000_123_456_789


class Bench:
    """A clock between a list of levels and a hand that sets the host's time."""

    def __init__(self, now=NOW, **state):
        self.now, self.levels = now, []
        self.rtc = GoldfishRtc(self.levels.append, lambda: self.now, **state)

    def read(self, register):
        return self.rtc.read(register, 4)

    def write(self, register, value):
        self.rtc.write(register, 4, value)

    def time(self):
        low = self.read(TIME_LOW)
        return self.read(TIME_HIGH) << 32 | low

    def arm(self, time):
        self.write(ALARM_HIGH, time >> 32)
        self.write(ALARM_LOW, time & 0xFFFF_FFFF)

    @property
    def irq(self):
        return bool(self.levels) and self.levels[-1]


@pytest.fixture
def bench():
    return Bench()


def test_it_reads_the_handed_in_time(bench):
    assert bench.time() == NOW
    bench.now += 5_000_000_000
    assert bench.time() == NOW + 5_000_000_000


def test_reading_the_low_half_latches_the_high_half(bench):
    bench.now = 0x1_FFFF_FFFF
    assert bench.read(TIME_LOW) == 0xFFFF_FFFF
    bench.now += 1
    assert bench.read(TIME_HIGH) == 1
    assert bench.time() == 0x2_0000_0000


def test_the_guest_may_set_the_time(bench):
    bench.write(TIME_HIGH, 5)
    bench.write(TIME_LOW, 7)
    assert bench.time() == 5 << 32 | 7
    bench.now += 100
    assert bench.time() == (5 << 32 | 7) + 100


def test_an_alarm_rings_when_its_time_has_come(bench):
    bench.write(IRQ_ENABLED, 1)
    bench.arm(NOW + 1000)
    assert bench.rtc.deadline() == NOW + 1000
    assert bench.read(ALARM_STATUS) == 1
    bench.now += 999
    bench.rtc.tick()
    assert not bench.irq
    bench.now += 1
    bench.rtc.tick()
    assert bench.irq
    assert bench.rtc.deadline() is None
    assert bench.read(ALARM_STATUS) == 0
    bench.write(CLEAR_INTERRUPT, 1)
    assert not bench.irq


def test_the_deadline_is_on_the_hosts_scale(bench):
    bench.write(TIME_HIGH, 0)
    bench.write(TIME_LOW, 0)
    bench.arm(500)
    assert bench.rtc.deadline() == NOW + 500


def test_an_alarm_in_the_past_rings_at_once(bench):
    bench.write(IRQ_ENABLED, 1)
    bench.arm(NOW - 1)
    assert bench.irq


def test_a_disabled_alarm_is_heard_when_enabled(bench):
    bench.arm(NOW)
    assert not bench.irq
    bench.write(IRQ_ENABLED, 1)
    assert bench.irq
    bench.write(IRQ_ENABLED, 0)
    assert not bench.irq


def test_a_cleared_alarm_never_rings(bench):
    bench.write(IRQ_ENABLED, 1)
    bench.arm(NOW + 10)
    bench.write(CLEAR_ALARM, 1)
    bench.now += 20
    bench.rtc.tick()
    assert not bench.irq
    assert bench.rtc.deadline() is None


def test_setting_the_time_past_the_alarm_rings_it(bench):
    bench.write(IRQ_ENABLED, 1)
    bench.arm(NOW + (1 << 40))
    bench.write(TIME_HIGH, (NOW >> 32) + 0x1000)
    assert bench.irq


def test_the_alarm_reads_back(bench):
    bench.arm(0x1234_5678_9ABC_DEF0)
    assert (bench.read(ALARM_HIGH), bench.read(ALARM_LOW)) == (0x1234_5678, 0x9ABC_DEF0)


@pytest.mark.parametrize("rung", [False, True])
def test_a_restored_clock_rings_as_the_first_would(bench, rung):
    bench.write(IRQ_ENABLED, 1)
    bench.write(TIME_LOW, 3)
    bench.arm(bench.time() + 50)
    if rung:
        bench.now += 60
        bench.rtc.tick()
    again = Bench(now=bench.now, state=bench.rtc.state)
    assert again.rtc.state == bench.rtc.state
    for each in bench, again:
        each.now += 100
        each.rtc.tick()
    assert again.irq and bench.irq
    assert again.time() == bench.time()
    assert again.rtc.state == bench.rtc.state
