"""A machine that ends while someone leaves it, and someone who leaves while it is reset."""

import threading

import pytest

from auberge.machine.outcome import Paused, PoweredOff
from tests.machine.fakes import FOREVER, MmioWrite, machine, printing

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


@pytest.mark.parametrize(("command", "code"), [(OFF, 0), (FAIL_3, 3)])
def test_a_power_off_whose_last_words_nobody_takes_is_the_next_outcome(tmp_path, command, code):
    def script(hart):
        yield from printing(b"bye")(hart)
        yield MmioWrite(TEST, 4, command)
        raise AssertionError("it is off")

    def sink(data):
        if ended:
            raise BrokenPipeError

    ended = []
    made, _ = machine(tmp_path, script, sink=sink)
    halt = made._halt
    made._halt = lambda: (halt(), made.ended and ended.append(made.console.put(b"!")))
    with pytest.raises(BrokenPipeError):
        made.run(timeout=10)
    ended.clear()
    made._halt = halt
    assert made.run(timeout=10) == PoweredOff(code)


def test_a_power_off_as_someone_interrupts_twice_is_the_next_outcome(tmp_path, monkeypatch):
    def script(hart):
        made.end(PoweredOff(0))
        leave.wait()
        yield FOREVER

    leave = threading.Event()
    made, _ = machine(tmp_path, script)
    join = threading.Thread.join

    def interrupted(thread):
        monkeypatch.setattr(threading.Thread, "join", join)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run(timeout=10)
    leave.set()
    assert made.run(timeout=10) == PoweredOff(0)


def test_a_reset_beside_a_failure_is_done_by_the_next_run(tmp_path):
    boots = []

    def script(hart):
        boots.append(hart)
        if len(boots) == 1:
            yield MmioWrite(TEST, 4, RESET)
            raise ZeroDivisionError
        yield MmioWrite(TEST, 4, OFF)

    made, _ = machine(tmp_path, script)
    stop_harts = made._stop_harts
    made._stop_harts = lambda: None  # the hart has not heard of it yet
    with pytest.raises(ZeroDivisionError):
        made.run(timeout=10)
    made._stop_harts = stop_harts
    assert made.run(timeout=10) == PoweredOff(0)
    assert len(boots) == 2


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
