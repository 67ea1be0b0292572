"""A machine that ends while someone leaves it, and someone who leaves while it is reset."""

import pytest

from auberge.machine.outcome import Paused, PoweredOff
from tests.machine.fakes import FOREVER, MmioWrite, machine

TEST = 0x10_0000
OFF, FAIL_3, RESET = 0x5555, 3 << 16 | 0x3333, 0x7777


@pytest.mark.parametrize(("command", "code"), [(OFF, 0), (FAIL_3, 3)])
def test_a_power_off_beside_a_pause_is_the_next_outcome(tmp_path, command, code):
    def script(hart):
        made.pause()
        yield MmioWrite(TEST, 4, command)  # by a hart that has not heard of it yet
        yield FOREVER

    made, _ = machine(tmp_path, script)
    assert made.run(timeout=10) == Paused()
    assert made.run(timeout=10) == PoweredOff(code)
    assert made.run(timeout=10) == PoweredOff(code)


def test_a_reset_beside_a_pause_is_done_by_the_next_run(tmp_path):
    boots = []

    def script(hart):
        boots.append(hart)
        if len(boots) == 1:
            made.pause()
            yield MmioWrite(TEST, 4, RESET)
        else:
            yield MmioWrite(TEST, 4, OFF)
        yield FOREVER

    made, _ = machine(tmp_path, script)
    assert made.run(timeout=10) == Paused()
    assert made.run(timeout=10) == PoweredOff(0)
    assert len(boots) == 2


def test_a_pause_beside_a_reset_ends_the_run_after_it(tmp_path):
    boots = []

    def script(hart):
        boots.append(hart)
        yield MmioWrite(TEST, 4, RESET if len(boots) == 1 else OFF)
        yield FOREVER

    made, _ = machine(tmp_path, script)
    build = made._build

    def pausing():
        made.pause()
        build()

    made._build = pausing
    assert made.run(timeout=10) == Paused()
    assert made.run(timeout=10) == PoweredOff(0)


def test_a_pause_as_the_reset_comes_ends_the_run_too(tmp_path):
    boots = []

    def script(hart):
        boots.append(hart)
        yield MmioWrite(TEST, 4, RESET if len(boots) == 1 else OFF)
        yield FOREVER

    made, _ = machine(tmp_path, script)
    stop_harts = made._stop_harts

    def pausing():
        made._stop_harts = stop_harts
        made.pause()  # the reset is noted, and the harts have not been told
        stop_harts()

    made._stop_harts = pausing
    assert made.run(timeout=10) == Paused()
    assert made.run(timeout=10) == PoweredOff(0)
