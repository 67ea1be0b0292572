"""Threads of a run end with it, whatever goes wrong in one of them, and no failure is lost."""

import threading
import time

import pytest

from auberge.engine.clock import InstructionClock
from auberge.engine.exits import Hypercall, Idle, MmioWrite, Spent
from auberge.machine.outcome import Faulted, Paused, PoweredOff, TimedOut
from auberge.machine.pace import InstructionAlarm
from auberge.refusal import Refusal
from tests.machine.fakes import FOREVER, machine, printing

TEST = 0x10_0000
OFF, RESET = MmioWrite(TEST, 4, 0x5555), MmioWrite(TEST, 4, 0x7777)
pytestmark = pytest.mark.timeout(20)


def threads():
    return [each.name for each in threading.enumerate() if each.name.startswith("hart ")]


def ecall(hart, extension, function, *arguments):
    hart.x[17], hart.x[16], hart["cause"] = extension, function, 9
    for n, value in enumerate(arguments):
        hart.x[10 + n] = value
    return Hypercall()


def started(made):
    """All harts run from the first: nobody has to start them."""
    for vcpu in made.vcpus:
        vcpu.status = 0
    return made


def test_a_fence_does_not_wait_for_a_hart_that_fails_meanwhile(tmp_path):
    """Its engine raises while it is asked to flush, and will never say that it has."""
    running = threading.Event()

    def asks(hart):
        running.wait()
        yield ecall(hart, 0x52464E43, 1, 0b10, 0, 0, 0)
        yield FOREVER

    def fails(hart):
        running.set()
        while not hart["request_sfence"]:
            time.sleep(0)
        raise ZeroDivisionError("a bug")
        yield

    made = started(machine(tmp_path, asks, fails)[0])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        made.run()
    assert threads() == []


def test_of_several_failures_none_is_lost(tmp_path):
    both = threading.Barrier(2)

    def fails_first(hart):
        both.wait()
        raise ZeroDivisionError("one")
        yield

    def fails_too(hart):
        both.wait()
        while made._failure is None:
            time.sleep(0)
        raise KeyError("two")
        yield

    made = started(machine(tmp_path, fails_first, fails_too)[0])
    with pytest.raises(ZeroDivisionError) as failure:
        made.run()
    assert failure.value.__notes__ == ["and then, in hart 1: KeyError('two')"]
    assert threads() == []


def test_a_failure_beside_one_of_the_caller_is_not_lost(tmp_path):
    may_fail = threading.Event()

    def fails(hart):
        yield MmioWrite(0x1000_0000, 1, ord("x"))  # flushed by the caller's thread
        may_fail.wait()
        raise ZeroDivisionError("a bug")

    def sink_of_caller(data):
        may_fail.set()
        while made._failure is None:
            time.sleep(0)
        raise ValueError("nobody reads")

    made, _ = machine(tmp_path, fails, sink=sink_of_caller)
    with pytest.raises(ZeroDivisionError) as failure:
        made.run()
    assert failure.value.__notes__ == ["and then, in MainThread: ValueError('nobody reads')"]


def test_a_host_without_threads_is_refused_and_none_is_left(tmp_path, monkeypatch):
    start = threading.Thread.start

    def refusing(thread):
        if thread.name == "hart 1":
            raise RuntimeError("can't start new thread")  # as CPython does
        start(thread)

    made, _ = machine(tmp_path, printing(b"", [FOREVER, OFF]), printing(b""))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refusing)
        with pytest.raises(Refusal) as refusal:
            made.run()
    assert str(refusal.value) == (
        "hart 1: the host has no thread to give (ulimit -u, pids.max of the cgroup);"
        " end something, or give the guest fewer --cpus"
    )
    assert threads() == []
    assert made.run(timeout=10) == PoweredOff(0)


def test_an_interrupt_while_threads_are_waited_for_leaves_none_to_the_next_run(
    tmp_path, monkeypatch
):
    """Ctrl-C again, while the first one is being obeyed: two threads must never run one hart."""
    inside, most = [0], [0]
    leave = threading.Event()

    def script(hart):
        for _ in range(3):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            leave.wait()
            inside[0] -= 1
            yield Spent()
        yield OFF

    made, _ = machine(tmp_path, script)
    join = threading.Thread.join

    def interrupted(thread):
        monkeypatch.setattr(threading.Thread, "join", join)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run(timeout=0.01)
    assert threads() == ["hart 0"]
    threading.Timer(0.05, leave.set).start()
    assert made.run(timeout=10) == PoweredOff(0)
    assert (most, threads()) == ([1], [])


def test_closing_waits_for_what_an_interrupt_left(tmp_path, monkeypatch):
    """Native code has the RAM's address, which is taken back."""
    leave = threading.Event()

    def script(hart):
        leave.wait()
        assert made.ram.read(made.ram.base, 1)  # raises if it is gone
        yield FOREVER

    made, _ = machine(tmp_path, script)
    join = threading.Thread.join

    def interrupted(thread):
        monkeypatch.setattr(threading.Thread, "join", join)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run(timeout=0.01)
    threading.Timer(0.05, leave.set).start()
    made.close()
    assert made._failure is None and threads() == []


def test_guest_time_does_not_go_back_after_such_an_interrupt(tmp_path, monkeypatch):
    times = []

    def script(hart):
        clock = made.vcpus[0].clock
        while True:
            times.append(clock.ticks())
            yield Idle(clock.ticks() + 10_000)

    made, _ = machine(tmp_path, script)
    join = threading.Thread.join

    def interrupted(thread):
        monkeypatch.setattr(threading.Thread, "join", join)
        raise KeyboardInterrupt

    assert made.run(timeout=0.02) == TimedOut()
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run(timeout=0.02)
    assert made.run(timeout=0.02) == TimedOut()
    assert times == sorted(times)


def test_a_thread_that_begins_after_the_run_touches_nothing(tmp_path, monkeypatch):
    """`Thread.start` was interrupted, and the host's scheduler took its time."""
    late = []

    def interrupted(thread):
        late.append(thread)
        raise KeyboardInterrupt

    ran = []

    def script(hart):
        ran.append(threading.current_thread())
        yield OFF

    made, _ = machine(tmp_path, script)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.run()
    made.stopping = False  # as in a next run
    late[0].start()
    late[0].join()
    assert ran == []
    assert made.run() == PoweredOff(0)


def test_a_machine_that_could_not_be_built_again_is_off(tmp_path):
    def script(hart):
        (tmp_path / "Image").unlink()
        yield RESET
        yield FOREVER

    made, kind = machine(tmp_path, script)
    with pytest.raises(Refusal) as refusal:
        made.run()
    assert made.run() == Faulted(f"reset: {refusal.value}")
    assert len(kind.engines) == 1


def test_closing_ends_the_runs_of_a_thread_that_runs_again_and_again(tmp_path):
    made, _ = machine(tmp_path, printing(b"", [FOREVER] * 1000))
    outcomes = []

    def runner():
        while outcomes[-1:] != [PoweredOff(0)]:
            outcomes.append(made.run())

    thread = threading.Thread(target=runner)
    thread.start()
    while not made._running.locked():
        time.sleep(0)
    made.close()
    thread.join(10)
    assert outcomes[-1] == PoweredOff(0) and set(outcomes[:-1]) <= {Paused()}


def test_the_size_of_the_window_waits_for_nobody(tmp_path):
    """Who prints more than is read holds the lock, until a signal comes to the resizing thread."""
    made, _ = machine(tmp_path, printing(b""))
    with made.lock:
        resizes = threading.Thread(target=made.resize, args=(100, 30), daemon=True)
        resizes.start()
        resizes.join(5)
        assert not resizes.is_alive()


def test_the_size_of_the_window_survives_a_reset(tmp_path):
    boots = []

    def script(hart):
        boots.append((made.board.console.state.cols, made.board.console.state.rows))
        yield RESET if len(boots) == 1 else OFF

    made, _ = machine(tmp_path, script)
    made.resize(100, 30)
    assert made.run() == PoweredOff(0)
    assert boots == [(100, 30)] * 2


@pytest.mark.parametrize("size", [1, (1 << 16) + 1], ids=["caller", "hart"])
def test_who_is_called_by_a_run_cannot_wait_for_its_harts(tmp_path, size):
    """The sink is called by the thread of `run`, or by a hart's: it is told, and does not hang."""
    told = []

    def sink(data):
        try:
            with made.visit():
                told.append("inside")
        except RuntimeError as error:
            told.append(str(error))

    made, _ = machine(tmp_path, printing(bytes(size), [FOREVER]), sink=sink)
    assert made.run(timeout=0.5) == TimedOut()
    assert set(told) == {
        "what a running machine calls cannot look at it: it would wait for itself;"
        " look from another thread, from a hook, or after the run"
    }


def test_with_icount_the_alarm_rings_under_the_lock():
    """Its interrupt goes through the PLIC, as does that of what another thread delivers."""
    lock, held = threading.Lock(), []

    class Due:
        def deadline(self):
            return 1

        def tick(self):
            held.append(lock.locked())

    pace = InstructionAlarm(InstructionClock(), lambda: 2, Due(), lock)
    pace.look()
    pace.wake(None)
    assert held == [True, True] and not lock.locked()
