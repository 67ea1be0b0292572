"""A guest that runs in regions hears its host: time, signals, keys, pauses and debuggers."""

import os
import random
import re
import signal
import threading
import time
from pathlib import Path

import pytest

import auberge
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from tests.cli.guests import RAM
from tests.cli.homes import FOR_EVER, HOT, ROUNDS, Home, ended, hot, warmed
from tests.cli.test_signal_storms import ENDS, HARMLESS, Boot
from tests.engine.eager import NAME as EAGER
from tests.machine.debug.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200, method="thread")]
AT = assembly(rv64, HOT.format(rounds=1), RAM).symbols
INNER, STORE = AT["inner"], AT["store"]
A1, A2 = 11, 12


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which the hot guest ran: its regions are there from the start."""
    return warmed(tmp_path_factory.mktemp("home") / "warm")


def test_time_runs_out(home: Home, tmp_path: Path) -> None:
    how = home.boot("--kernel", hot(tmp_path, FOR_EVER), "--timeout", 3)
    assert (how.status, set(how.console)) == (124, {"."})
    assert how.counted("regions from the cache") > 0


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_it(home: Home, tmp_path: Path, number: int) -> None:
    process = home.start("--kernel", hot(tmp_path, FOR_EVER), "--engine", "translator")
    assert process.stdout is not None
    for _ in range(50):
        assert os.read(process.stdout.fileno(), 1) == b"."
    process.send_signal(number)
    assert ended(process).status == 128 + number


def test_a_storm_of_signals(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one point is lost or printed twice; the last signal ends another."""
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(home.path))
    r = random.Random(1)
    boot = Boot("--kernel", hot(tmp_path), "--engine", "translator")
    while not boot.printed:
        time.sleep(0.001)
    while boot.process.poll() is None and len(boot.printed) < ROUNDS:
        boot.send(r.choice(HARMLESS))
        time.sleep(r.random() * 0.003)
    assert boot.end() == (0, b"")
    assert boot.printed == b"." * ROUNDS
    boot = Boot("--kernel", hot(tmp_path, FOR_EVER), "--engine", "translator")
    while len(boot.printed) < 100:
        boot.send(r.choice(HARMLESS))
    boot.send(signal.SIGTERM)
    assert boot.end() == (128 + signal.SIGTERM, b"")


def test_keys_that_leave(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(home.path))
    boot = Boot("--kernel", hot(tmp_path, FOR_EVER), "--engine", "translator")
    while len(boot.printed) < 50:
        time.sleep(0.001)
    os.write(boot.ours, b"\x01x")
    assert boot.end() == (0, b"")


def test_alarms_of_this_process(tmp_path: Path) -> None:
    """Python's handlers run between runs of the engine: an alarm each millisecond loses nothing."""
    heard = 0

    def hear(number: int, frame: object) -> None:
        nonlocal heard
        heard += 1

    before = signal.signal(signal.SIGALRM, hear)
    printed = bytearray()
    kernel = hot(tmp_path, 300)
    with auberge.Machine.virt(kernel, engine="translator", console=printed.extend) as machine:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            assert machine.run(timeout=100) == auberge.PoweredOff(0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert printed == b"." * 300
    assert heard > 10


def computed(kernel: str, engine: str, pauses: bool) -> tuple[int, ...]:
    """What is in its registers at the end; with pauses, there were some."""
    over, count, r = threading.Event(), 0, random.Random(2)
    with auberge.Machine.virt(kernel, engine=engine, console=lambda data: None) as machine:

        def pausing() -> None:
            while not over.wait(r.random() * 0.004):
                machine.pause()

        thread = threading.Thread(target=pausing)
        if pauses:
            thread.start()
        while (outcome := machine.run(timeout=100)) == auberge.Paused():
            count += 1
        over.set()
        if pauses:
            thread.join()
        assert outcome == auberge.PoweredOff(0)
        assert (count > 3) == pauses
        hart = machine.harts[0]
        return hart["a1"], hart["a2"], hart["a3"], hart["a4"]


@pytest.mark.parametrize("engine", ["translator", EAGER])
def test_pauses_at_random(tmp_path: Path, engine: str) -> None:
    """What it computes does not depend on how often it was paused."""
    kernel = hot(tmp_path, 300 if engine == "translator" else 30)
    assert computed(kernel, engine, True) == computed(kernel, "interpreter", False)


def registers(client: Client) -> list[int]:
    """The integer registers and pc, as GDB reads them."""
    words = bytes.fromhex(client.ask(b"g").decode())
    return [int.from_bytes(words[at : at + 8], "little") for at in range(0, 33 * 8, 8)]


def test_a_debugger_of_hot_code(home: Home, tmp_path: Path) -> None:
    """It is interrupted, stepped, stopped at breakpoints and watchpoints, and runs on."""
    words = ("--kernel", hot(tmp_path, FOR_EVER), "--engine", "translator", "--gdb", 0)
    process = home.start(*words)
    assert process.stderr is not None and process.stdout is not None
    line = process.stderr.readline()
    where = re.fullmatch(r"auberge: GDB can connect: target remote (\S+)\n", line)
    assert where, line
    seen = 0
    with Client(where[1]) as client:
        client.ask(b"?")
        for _ in range(3):
            client.send(b"c")
            seen += len(os.read(process.stdout.fileno(), 10))
            time.sleep(0.1)  # it is somewhere in a region
            client.raw(b"\x03")
            assert client.answer().startswith(b"T02")
            before = registers(client)
            for _ in range(20):  # of seven instructions each
                assert client.ask(b"s").startswith(b"T05")
                now = registers(client)
                assert before[32] != INNER or now[A1] == before[A1] + 3
                before = now
            client.ask(b"Z0,%x,4" % STORE)
            assert client.ask(b"c").startswith(b"T05")
            before = registers(client)
            for _ in range(5):
                client.ask(b"z0,%x,4" % STORE)  # as GDB does, to step over it
                assert client.ask(b"s").startswith(b"T05")
                client.ask(b"Z0,%x,4" % STORE)
                assert client.ask(b"c").startswith(b"T05")
                now = registers(client)
                assert (now[32], now[A1], now[A2]) == (
                    STORE, before[A1] + 3, before[A2] ^ before[A1] + 3,
                )  # fmt: skip
                before = now
            client.ask(b"z0,%x,4" % STORE)
            client.ask(b"Z2,%x,8" % 0x8000_1008)
            assert b"watch:80001008" in client.ask(b"c")
            client.ask(b"z2,%x,8" % 0x8000_1008)
            stored = registers(client)
            assert stored[32] == STORE  # it stands before the access
            assert client.ask(b"s").startswith(b"T05")
            memory = bytes.fromhex(client.ask(b"m80001008,8").decode())
            assert int.from_bytes(memory, "little") == stored[A2]
        client.send(b"k")
    how = ended(process)
    assert how.status == 0
    assert how.counted("regions from the cache") > 0
    assert seen > 0
