"""Locks are taken in one order by all threads: none can wait for one that waits for it.

Every lock that the machine's room makes is replaced by one that notes which others its thread holds
as it is taken; then a Linux on several harts is made to use all that has locks.
"""

import _thread
import base64
import linecache
import os
import re
import sys
import threading

import pytest

import auberge
from auberge.image import build
from tests.machine.debug.client import Client, Running

# docs/design.md, "Harts": who holds one may take those below it.
ORDER = (
    "machine._running",  # who runs the machine, or has its time going on
    "visits._turn",  # who looks at it in between
    "visits._changed",
    "debugger._changed",
    "hooks._one",
    "machine.lock",  # of devices
    "console._typing",
    "user._making",
    "console._flushing",
    "machine._ending",
)

ROOM = os.path.dirname(os.path.abspath(auberge.__file__)) + "/machine/"
NOT_OURS = {
    "bell._lock",  # a semaphore: never held by anyone
    "ram.turn",
}


class Noted:
    """A lock that says what its thread holds already when it takes it."""

    held = threading.local()

    def __init__(self, name, pairs):
        self._lock, self._name, self._pairs = _thread.allocate_lock(), name, pairs

    def acquire(self, blocking=True, timeout=-1):
        mine = self.held.__dict__.setdefault("names", [])
        if blocking:  # who does not wait cannot wait for ever
            self._pairs.update((other, self._name) for other in mine)
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            mine.append(self._name)
        return taken

    def release(self):
        self.held.names.remove(self._name)
        self._lock.release()

    def locked(self):
        return self._lock.locked()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()


@pytest.fixture
def pairs(monkeypatch):
    """Pairs of locks of which the second was taken while the first was held, from now on."""
    found = set()

    def named(frame):
        file, line = frame.f_code.co_filename, frame.f_lineno
        match = re.search(r"self\.(\w+)\b.* = threading\.", linecache.getline(file, line))
        if not file.startswith(ROOM) or match is None:
            return None
        name = f"{os.path.basename(file).removesuffix('.py')}.{match[1]}"
        return None if name in NOT_OURS else name

    def lock():
        name = named(sys._getframe(1))
        return _thread.allocate_lock() if name is None else Noted(name, found)

    condition = threading.Condition

    def noted_condition(lock=None):
        name = named(sys._getframe(1))
        return condition(lock if name is None else Noted(name, found))

    monkeypatch.setattr(threading, "Lock", lock)
    monkeypatch.setattr(threading, "Condition", noted_condition)
    return found


@pytest.mark.slow
@pytest.mark.timeout(200, method="thread")
def test_all_threads_take_locks_in_the_same_order(pairs):
    try:
        tiny = build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))
    command = "read line; ping -c 1 10.0.2.2 | tail -2; seq 1 5000"
    word = base64.b64encode(command.encode()).decode()
    append = f"console=ttyS0 auberge.run={word}"
    printed = []
    with auberge.Machine.virt(
        tiny.kernel, tiny.initrd, append, cpus=3, net="user", console=printed.append
    ) as machine:
        address = machine.gdb("0")
        running = Running(machine, timeout=150)
        over = threading.Event()

        def from_elsewhere():
            columns = 80
            while not over.is_set():
                columns += 1
                machine.resize(columns, 24)
                machine.console.send("line\n")
                with machine.stopped():
                    machine.harts[0].x[10]
                over.wait(0.02)

        for _ in range(3):
            with Client(address) as client:
                client.ask(b"?")
                client.ask(b"g")
                client.ask(b"vCont;s:1")
                client.ask(b"D")
        other = threading.Thread(target=from_elsewhere)
        other.start()
        running.thread.join(150)
        over.set()
        other.join()
        assert running.outcome == auberge.PoweredOff(0)
        assert b"\n5000\r\n" in b"".join(printed)
    assert {"machine.lock", "machine._ending"} <= {name for pair in pairs for name in pair}
    place = {name: at for at, name in enumerate(ORDER)}
    assert {pair for pair in pairs if place[pair[0]] >= place[pair[1]]} == set()
