"""A machine runs its harts until something ends that, and says what. The guests are scripts."""

import signal
import threading

import pytest

from auberge.engine.exits import Hypercall, Idle, MmioRead, MmioWrite, Spent, Stuck
from auberge.machine.outcome import Faulted, Paused, PoweredOff, Printed, TimedOut
from auberge.machine.until import Literal
from auberge.machine.vcpu import A_TURN, A_WHILE
from auberge.refusal import Refusal
from tests.machine.fakes import FOREVER, machine, printing

UART, TEST, PLIC, RTC = 0x1000_0000, 0x10_0000, 0x0C00_0000, 0x10_1000
pytestmark = pytest.mark.timeout(20)
OFF = MmioWrite(TEST, 4, 0x5555)


def test_a_kernel_starts_with_what_boot_rst_says(tmp_path):
    made, _ = machine(tmp_path, printing(b""), printing(b""))
    tree = made.vcpus[0].hart.x[11]
    # all but its size, which has room for more
    assert made.ram.read(tree + 8, len(made.device_tree) - 8) == made.device_tree[8:]
    for hartid, vcpu in enumerate(made.vcpus):
        assert (vcpu.hart["pc"], vcpu.hart["priv"], vcpu.hart["hosted"]) == (0x8020_0000, 1, 1)
        assert (vcpu.hart.x[10], vcpu.hart.x[11]) == (hartid, tree)


@pytest.mark.parametrize("value, code", [(0x5555, 0), (0x3333 | 7 << 16, 7)])
def test_power_off(tmp_path, value, code):
    made, kind = machine(tmp_path, printing(b"bye\n", [MmioWrite(TEST, 4, value), FOREVER]))
    assert made.run() == PoweredOff(code)
    assert made.printed == b"bye\n"
    assert kind.engines[0].answers == [0] * 5
    assert made.run() == PoweredOff(code)  # it stays off
    assert kind.engines[0].runs == 5


def test_reads_are_answered_and_nothing_is_a_bus_error(tmp_path):
    def script(hart):
        assert (yield MmioRead(UART + 5, 1)) == 0x60
        assert (yield MmioRead(UART, 8)) is None
        assert (yield MmioRead(0x4000_0000, 4)) is None
        assert (yield MmioWrite(0x4000_0000, 4, 1)) is None
        yield Spent()
        yield OFF

    made, _ = machine(tmp_path, script)
    assert made.run() == PoweredOff(0)


def test_a_guest_that_traps_for_ever(tmp_path):
    made, _ = machine(tmp_path, printing(b"", [Stuck(0x8020_0004, 2)]))
    message = "hart 0: traps for ever at 0x80200004 (cause 2), which is its own trap handler"
    assert made.run() == Faulted(message)


def test_until_and_what_follows(tmp_path):
    made, _ = machine(tmp_path, printing(b"login: and", printing(b" more", [OFF])(None)))
    assert made.run(until=b"login:") == Printed("login:")
    assert made.printed == b"login:"  # it stops at the very character
    assert made.run(until=b"no such text") == PoweredOff(0)
    assert made.printed == b"login: and more"


def test_until_something_printed_before(tmp_path):
    made, _ = machine(tmp_path, printing(b"one two ", [FOREVER]))
    assert made.run(until=b"two") == Printed("two")
    assert made.run(until=b"one", position=0) == Printed("one")


def test_a_timeout(tmp_path):
    made, _ = machine(tmp_path, printing(b"x", [FOREVER]))
    assert made.run(timeout=0.01) == TimedOut()
    assert made.printed == b"x"
    assert made.run(timeout=0.01) == TimedOut()


def test_a_pause_from_another_thread(tmp_path):
    made, _ = machine(tmp_path, printing(b"x", [Spent(), OFF]))
    made.console.watch(Literal(b"x"), 0, lambda text: made.pause())
    assert made.run() == Paused()
    made.pause()  # nothing runs: nothing happens
    assert made.run() == PoweredOff(0)


def test_a_reset_boots_again(tmp_path):
    boots = []

    def script(hart):
        boots.append(hart["pc"])
        yield from printing(b"boot ")(hart)
        yield MmioWrite(TEST, 4, 0x7777 if len(boots) < 3 else 0x5555)

    made, kind = machine(tmp_path, script)
    assert made.run() == PoweredOff(0)
    assert made.printed == b"boot boot boot "
    assert boots == [0x8020_0000] * 3
    assert made.statistics().instructions == sum(engine.runs for engine in kind.engines)


def test_a_kernel_gone_at_a_reset_is_refused(tmp_path):
    def script(hart):
        (tmp_path / "Image").unlink()
        yield MmioWrite(TEST, 4, 0x7777)

    made, _ = machine(tmp_path, script)
    with pytest.raises(Refusal) as refusal:
        made.run()
    assert str(refusal.value) == f"{tmp_path}/Image: no such file or directory; check the path"


def test_an_error_of_ours_reaches_the_caller(tmp_path):
    def script(hart):
        raise ZeroDivisionError("a bug")
        yield

    made, _ = machine(tmp_path, script, printing(b"", [FOREVER]))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        made.run()


def test_one_thread_at_a_time(tmp_path):
    made, _ = machine(tmp_path, printing(b"x", [FOREVER]))
    complaints = []

    def second():
        try:
            made.run()
        except RuntimeError as error:
            complaints.append(str(error))
        made.pause()

    other = threading.Thread(target=second)
    made.console.watch(Literal(b"x"), 0, lambda text: other.start())
    assert made.run() == Paused()
    other.join()
    assert complaints == ["the machine is running already, in another thread"]


def test_a_signal_is_handled_while_the_guest_computes(tmp_path):
    made, _ = machine(tmp_path, printing(b"x", [FOREVER]))
    main = threading.get_ident()
    made.console.watch(Literal(b"x"), 0, lambda text: signal.pthread_kill(main, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            made.run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert made.run(timeout=0.01) == TimedOut()  # and it can run on


# -- sleep --------------------------------------------------------------------------------------


def test_a_sleeping_hart_is_woken_by_what_is_typed(tmp_path):
    def script(hart):
        yield MmioWrite(PLIC + 4 * 10, 4, 1)  # the UART's priority
        yield MmioWrite(PLIC + 0x2080, 4, 1 << 10)  # enabled for S of hart 0
        yield MmioWrite(UART + 1, 1, 1)  # interrupt when something is received
        yield from printing(b"?")(hart)
        while not hart["lines"]:
            yield Idle(None)
        assert hart["lines"] == 1 << 9
        assert (yield MmioRead(PLIC + 0x201004, 4)) == 10
        yield MmioWrite(UART, 1, (yield MmioRead(UART, 1)))
        yield OFF

    made, _ = machine(tmp_path, script)
    assert made.run(until=b"?") == Printed("?")
    made.console.feed(b"k")
    assert made.run() == PoweredOff(0)
    assert made.printed == b"?k"


def test_sleep_ends_at_its_deadline(tmp_path):
    def script(hart):
        clock = made.vcpus[0].clock
        deadline = clock.ticks() + 20_000
        while clock.ticks() < deadline:
            yield Idle(deadline)
        yield OFF

    made, _ = machine(tmp_path, script)
    assert made.run(timeout=10) == PoweredOff(0)


def test_time_stands_still_while_nothing_runs(tmp_path, monkeypatch):
    now, seen = [10**9], []
    monkeypatch.setattr("auberge.engine.clock.time.monotonic_ns", lambda: now[0])

    def script(hart):
        clock = made.vcpus[0].clock
        seen.append(clock.ticks())
        now[0] += 500
        yield from printing(b"x")(hart)
        seen.append(clock.ticks())
        yield OFF

    made, _ = machine(tmp_path, script)
    now[0] += 10**6
    assert made.run(until=b"x") == Printed("x")
    now[0] += 10**9
    assert made.run() == PoweredOff(0)
    assert seen == [0, 5]


def test_a_hart_that_sleeps_for_ever_can_be_paused(tmp_path):
    made, _ = machine(tmp_path, printing(b"x", [Idle(None)] * 1000))
    assert made.run(timeout=0.01) == TimedOut()


def test_with_icount_sleep_takes_no_time(tmp_path):
    times = []

    def script(hart):
        clock = made.vcpus[0].clock
        times.append(clock.ticks())
        yield Idle(10**12)  # more than a day
        times.append(clock.ticks())
        yield OFF

    made, _ = machine(tmp_path, script, icount=True)
    assert made.run(timeout=10) == PoweredOff(0)
    assert times == [0, 10**12]


def test_with_icount_the_alarm_ends_sleep(tmp_path):
    """The real-time clock's alarm comes first, and its interrupt is there when the hart wakes."""

    def script(hart):
        low = yield MmioRead(RTC, 4)
        high = yield MmioRead(RTC + 4, 4)
        alarm = (high << 32 | low) + 1_000_000
        yield MmioWrite(PLIC + 4 * 11, 4, 1)
        yield MmioWrite(PLIC + 0x2080, 4, 1 << 11)
        yield MmioWrite(RTC + 0x10, 4, 1)
        yield MmioWrite(RTC + 0x0C, 4, alarm >> 32)
        yield MmioWrite(RTC + 0x08, 4, alarm & 0xFFFF_FFFF)
        assert hart["lines"] == 0
        yield Idle(10**12)
        assert made.vcpus[0].clock.ticks() == 10_000
        assert hart["lines"] == 1 << 9
        yield OFF

    made, _ = machine(tmp_path, script, icount=True)
    assert made.run(timeout=10) == PoweredOff(0)


def test_the_alarm_rings_while_the_guest_computes(tmp_path):
    now = [10**18]

    def script(hart):
        alarm = 10**18 + 1000
        yield MmioWrite(PLIC + 4 * 11, 4, 1)
        yield MmioWrite(PLIC + 0x2080, 4, 1 << 11)
        yield MmioWrite(RTC + 0x10, 4, 1)
        yield MmioWrite(RTC + 0x0C, 4, alarm >> 32)
        yield MmioWrite(RTC + 0x08, 4, alarm & 0xFFFF_FFFF)
        now[0] += 2000
        while not hart["lines"]:
            yield Spent()
        yield OFF

    made, _ = machine(tmp_path, script, wall_ns=lambda: now[0])
    assert made.run(timeout=10) == PoweredOff(0)


@pytest.mark.parametrize("icount", [False, True])
def test_an_alarm_that_the_clock_wrapped_past_costs_nothing(tmp_path, icount):
    """It is due for ever and never rings: neither the hart nor its keeper may spin on it."""
    looks = []

    def script(hart):
        for register in (4, 0):  # the time, which wraps at once
            yield MmioWrite(RTC + register, 4, 2**32 - 1)
        yield Idle(1000)
        for register in (0x0C, 8):  # the alarm
            yield MmioWrite(RTC + register, 4, 2**32 - 1)
        yield Spent()
        if icount:
            assert made.vcpus[0].pace.budget() == 1 << 16
            yield Idle(2000)
            assert made.vcpus[0].clock.ticks() == 2000
        yield FOREVER

    def wall_ns():
        looks.append(None)
        return 10**18 + len(looks)

    made, _ = machine(tmp_path, script, wall_ns=wall_ns, icount=icount)
    assert made.run(timeout=0.1) == TimedOut()
    assert len(looks) < 200


# -- several harts ------------------------------------------------------------------------------


@pytest.mark.parametrize(("processors", "crowded"), [({0}, True), ({0, 1}, False)])
def test_harts_that_outnumber_processors_give_way(tmp_path, monkeypatch, processors, crowded):
    """At the end of a turn, not after each access to a device."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: processors)
    made, _ = machine(tmp_path, printing(b"xyz", [Spent(), Spent(), OFF]), printing(b""))
    (vcpu, _) = made.vcpus
    assert (vcpu.give_way is not None) == crowded
    turns, budgets = [], []
    if crowded:
        vcpu.give_way = lambda: turns.append(None)
    run = vcpu.engine.run
    vcpu.engine.run = lambda budget: budgets.append(budget) or run(budget)
    assert made.run() == PoweredOff(0)
    assert set(budgets) == {A_TURN if crowded else A_WHILE}
    assert len(turns) == (2 if crowded else 0)


def ecall(hart, extension, function, *arguments):
    hart.x[17], hart.x[16], hart["cause"] = extension, function, 9
    for n, value in enumerate(arguments):
        hart.x[10 + n] = value
    return Hypercall()


def test_one_hart_starts_the_other(tmp_path):
    def first(hart):
        yield ecall(hart, 0x48534D, 0, 1, 0x8020_0000, 42)
        assert hart.x[10] == 0
        yield FOREVER

    def second(hart):
        assert (hart["pc"], hart.x[10], hart.x[11]) == (0x8020_0000, 1, 42)
        yield OFF

    made, _ = machine(tmp_path, first, second)
    assert made.run(timeout=10) == PoweredOff(0)


def test_a_suspended_hart_wakes_for_an_interrupt(tmp_path):
    def first(hart):
        yield ecall(hart, 0x48534D, 0, 1, 0x8020_0000, 0)
        while made.vcpus[1].status != 4:
            yield Spent()
        yield ecall(hart, 0x735049, 0, 0b10, 0)
        yield FOREVER

    def second(hart):
        hart["mie"] = 2
        yield ecall(hart, 0x48534D, 3, 0x8000_0000, 0x8020_0100, 7)
        assert (hart["pc"], hart.x[10], hart.x[11]) == (0x8020_0100, 1, 7)
        yield OFF

    made, _ = machine(tmp_path, first, second)
    assert made.run(timeout=10) == PoweredOff(0)


def test_harts_fence_each_other_while_both_run(tmp_path):
    """Neither waits for ever: the one outside its engine needs no flush."""

    def first(hart):
        yield ecall(hart, 0x48534D, 0, 1, 0x8020_0000, 0)
        yield from both(hart)

    def both(hart):
        for _ in range(200):
            yield ecall(hart, 0x52464E43, 1, 0, 2**64 - 1)
            assert hart.x[10] == 0
        done.append(hart)
        while len(done) < 2:
            yield Spent()
        yield OFF

    done = []
    made, _ = machine(tmp_path, first, both)
    assert made.run(timeout=30) == PoweredOff(0)


# -- the console and the numbers ----------------------------------------------------------------


def test_a_line_is_one_write(tmp_path):
    writes = []
    made, _ = machine(tmp_path, printing(b"a line\n", [OFF]), sink=writes.append)
    made.run()
    assert b"".join(writes) == b"a line\n"
    assert len(writes) <= 2


def test_a_prompt_without_a_newline_is_seen(tmp_path):
    seen = threading.Event()
    made, _ = machine(tmp_path, printing(b"# ", [FOREVER]), sink=lambda data: seen.set())
    run = threading.Thread(target=made.run)
    run.start()
    assert seen.wait(10)
    made.pause()
    run.join()


def test_statistics(tmp_path):
    made, _ = machine(tmp_path, printing(b"abc", [Spent(), OFF]), measured=True)
    made.run()
    counted = made.statistics()
    assert counted.exits == {"MmioWrite": 4, "Spent": 1}
    assert counted.accesses["serial@10000000"] == 3
    assert counted.accesses["test@100000"] == 1
    assert counted.instructions == 5 and counted.tlb_misses == 2
    assert counted.native_ns > 0 and counted.python_ns > 0
    assert [line.split()[0] for line in counted.lines()][:3] == ["instructions", "MIPS", "TLB"]


def test_a_closed_machine_is_off(tmp_path):
    made, _ = machine(tmp_path, printing(b"", [FOREVER]))
    assert made.run(timeout=0.01) == TimedOut()
    made.close()
    made.close()
    assert made.run() == PoweredOff(0)
