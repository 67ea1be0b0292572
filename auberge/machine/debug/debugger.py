"""A machine that a client, in a thread of its own, stops, looks into and lets go on.

No protocol is known here. Harts run only inside `run`, in the machine's thread, and only while the
client wants it; all else the client may do only while they do not.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from auberge.engine.exits import Watch, Watchpoint
from auberge.engine.state import WATCHES, HartState
from auberge.machine.debug import registers
from auberge.machine.debug.translation import physical
from auberge.machine.machine import Machine
from auberge.machine.outcome import Broke, Faulted, Outcome, Paused, PoweredOff, TimedOut
from auberge.machine.until import Expected
from auberge.machine.vcpu import STARTED, Vcpu
from auberge.memory.ram import PAGE, OutOfRange

SYSTEM = 0x73  # the opcode of CSR instructions, calls and returns (Volume I, table 70)
MACHINE_MODE = 3


class Stopped(NamedTuple):
    """The machine stands still. `hartid` is why: it is before an instruction at a breakpoint, or
    one that does a watched access (`watch`), or after a step; or the client interrupted it."""

    hartid: int
    breakpoint: bool = False
    watch: Watchpoint | None = None
    interrupted: bool = False


class Ended(NamedTuple):
    """The machine is off."""

    outcome: Outcome


class Unmapped(Exception):
    """Memory is not there, or is not RAM: looking at a device would change it."""


class Debugger:
    """Between a machine, which is stopped at first, and a client.

    `run` belongs to the thread that runs the machine, `pause` is for any, all others are for the
    client's. `tell` is called, from any thread, when `news` has something.
    """

    def __init__(self, machine: Machine, tell: Callable[[], None]) -> None:
        self.machine = machine
        self._tell = tell
        self._changed = threading.Condition()
        self._wanted = False  # whether the client lets the machine run
        self._interrupting = False
        self._leaving = False
        self._news: Stopped | Ended | None = None
        self._over: Outcome | None = None
        self._failure: BaseException | None = None
        self._current = 0
        self._breakpoints: set[int] = set()
        self._watches: list[Watch] = []
        self._applied: tuple[frozenset[int], tuple[Watch, ...]] = frozenset(), ()

    # -- for the machine's thread ---------------------------------------------------------------

    def run(
        self,
        until: bytes | Expected | None,
        timeout: float | None,
        position: int,
        through_resets: bool = True,
    ) -> Outcome:
        """As `Machine.run`, whenever the client lets it; time passes while it does not."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            outcome = self._wait(deadline)
            if outcome is not None:
                return outcome
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            outcome = self.machine.run(until, left, position, through_resets)
            if self._failure is not None:
                raise self._failure
            if not self._stops(outcome):
                with self._changed:
                    self._leaving = False
                return outcome

    def pause(self) -> None:
        """Have `run` return soon, with `Paused`."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
        self._tell()  # see `insist`
        self.machine.pause()

    def _wait(self, deadline: float | None) -> Outcome | None:
        """Wait until the machine is to run; or say how its run ends without it."""
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                if self._over is not None:
                    return self._over
                if self._leaving:
                    self._leaving = False
                    return Paused()
                if deadline is not None and time.monotonic() >= deadline:
                    return TimedOut()
                if self._wanted:
                    return None
                self._changed.wait(None if deadline is None else deadline - time.monotonic())

    def _stops(self, outcome: Outcome) -> bool:
        """Whether the run ended for the client alone; tells it what there is to tell."""
        news: Stopped | Ended
        if isinstance(outcome, PoweredOff | Faulted):
            news = Ended(outcome)
        elif isinstance(outcome, Broke):
            news = Stopped(outcome.hartid, outcome.watch is None, outcome.watch)
        elif isinstance(outcome, Paused) and self._interrupting and not self._leaving:
            news = Stopped(self._current, interrupted=True)
        else:
            return False
        for vcpu in self.machine.vcpus:  # an access that a device has answered is not left half
            if vcpu.hart["answered"]:
                self.machine.step(vcpu.hartid)
        if self.machine.off is not None:
            news = Ended(self.machine.off)
        with self._changed:
            self._wanted = self._interrupting = False
            self._current = news.hartid if isinstance(news, Stopped) else 0
            self._news = news
            self._over = news.outcome if isinstance(news, Ended) else None
        self._tell()
        return self._over is None

    # -- for the client's thread: going on and stopping -----------------------------------------

    @property
    def running(self) -> bool:
        """Whether the client lets the machine run, and has not been told that it stopped."""
        return self._wanted

    def news(self) -> Stopped | Ended | None:
        """What happened to a machine that ran, once."""
        with self._changed:
            news, self._news = self._news, None
        return news

    def go(self, hartids: Collection[int] | None = None) -> None:
        """Let the harts run, or only these; `news` will say when they stopped."""
        self._apply()
        for vcpu in self.machine.vcpus:
            vcpu.held = hartids is not None and vcpu.hartid not in hartids
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def interrupt(self) -> None:
        """Have a running machine stop; `news` will say when it did."""
        with self._changed:
            self._interrupting = self._wanted
        self.insist()

    @property
    def insisting(self) -> bool:
        """Whether `insist` should be called again a little later."""
        return self._interrupting or self._leaving

    def insist(self) -> None:
        """Ask again for a stop that was asked for: the machine may just have been about to run."""
        if self.insisting:
            self.machine.pause()

    def step(self, hartids: Iterable[int], others: Collection[int] = ()) -> Stopped | Ended:
        """Have each of these harts execute one instruction, while the others go on for a little.

        Interrupts wait meanwhile, unless the instruction is one that has to do with them.
        """
        self._apply()
        for hartid in hartids:
            self._current = hartid
            hart = self.vcpu(hartid).hart
            enabled = hart["mie"]
            quiet = self._opcode(hartid) != SYSTEM
            if quiet:
                hart["mie"] = 0
            over = self.machine.step(hartid, others)
            if quiet:
                hart["mie"] = enabled
            if over is not None:
                with self._changed:
                    self._over = over
                    self._changed.notify_all()
                return Ended(over)
        return Stopped(self._current)

    def _opcode(self, hartid: int) -> int:
        try:
            return self.read_memory(hartid, self.vcpu(hartid).hart["pc"], 1)[0] & 0x7F
        except Unmapped:
            return 0

    def _apply(self) -> None:
        now = frozenset(self._breakpoints), tuple(self._watches)
        if now != self._applied:
            self._applied = now
            self.machine.debug(*now)

    def fail(self, failure: BaseException) -> None:
        """The client's thread cannot go on: have `run` raise why."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()
        self.machine.pause()

    # -- breakpoints ----------------------------------------------------------------------------

    def add_breakpoint(self, address: int) -> None:
        """Stop each hart before the instruction at this virtual address."""
        self._breakpoints.add(address)

    def remove_breakpoint(self, address: int) -> None:
        """No longer; it need not be there."""
        self._breakpoints.discard(address)

    def add_watch(self, watch: Watch) -> bool:
        """Stop each hart after such an access; False if too many are there already."""
        if watch not in self._watches:
            if len(self._watches) == WATCHES:
                return False
            self._watches.append(watch)
        return True

    def remove_watch(self, watch: Watch) -> None:
        """No longer; it need not be there."""
        if watch in self._watches:
            self._watches.remove(watch)

    @property
    def watches(self) -> Sequence[Watch]:
        """What is watched."""
        return self._watches

    def clear(self) -> None:
        """Neither breakpoints nor watches; takes effect when the machine goes on."""
        self._breakpoints.clear()
        self._watches.clear()

    # -- harts, registers, memory ---------------------------------------------------------------

    @property
    def harts(self) -> int:
        """How many there are."""
        return len(self.machine.vcpus)

    def vcpu(self, hartid: int) -> Vcpu:
        """The hart of that number; raises IndexError."""
        return self.machine.vcpus[hartid]

    def describe(self, hartid: int) -> str:
        """A few words on what a hart is doing."""
        vcpu = self.vcpu(hartid)
        mode = {0: "U", 1: "S", 3: "M"}[vcpu.hart["priv"]]
        return f"hart {hartid}: {'in ' + mode if vcpu.status == STARTED else 'not started'}"

    def read_register(self, hartid: int, name: str) -> int:
        """A register by name; raises KeyError if there is no such."""
        with self.machine.time_going_on():
            return registers.read(self.vcpu(hartid), self.machine.ram, name)

    def write_register(self, hartid: int, name: str, value: int) -> None:
        """Write a register by name; raises KeyError if there is no such, and ReadOnly."""
        with self.machine.time_going_on():
            registers.write(self.vcpu(hartid), self.machine.ram, name, value)

    def read_memory(self, hartid: int, address: int, size: int) -> bytes:
        """Bytes as the hart sees them, up to where nothing is; raises Unmapped if that is here.

        An address is virtual if the hart translates and there is something; else it is physical.
        """
        data = bytearray()
        for at, length in _pages(address, size):
            try:
                data += self.machine.ram.read(self._physical(hartid, at), length)
            except OutOfRange:
                break
        if size and not data:
            raise Unmapped
        return bytes(data)

    def write_memory(self, hartid: int, address: int, data: bytes) -> None:
        """Write bytes where the hart sees them, all or, raising Unmapped, none; also to code."""
        ram = self.machine.ram
        places = [(self._physical(hartid, at), n) for at, n in _pages(address, len(data))]
        if not all(0 <= at - ram.base <= ram.size - length for at, length in places):
            raise Unmapped
        done = 0
        for at, length in places:
            ram.write(at, data[done : done + length])
            done += length
        for vcpu in self.machine.vcpus:
            for what in ("fence_i", "sfence"):
                vcpu.flush(what)

    def _physical(self, hartid: int, address: int) -> int:
        hart: HartState = self.vcpu(hartid).hart
        satp = 0 if hart["priv"] == MACHINE_MODE else hart["satp"]
        found = physical(self.machine.ram, satp, address)
        return address if found is None else found


def _pages(address: int, size: int) -> list[tuple[int, int]]:
    """The parts of a range that are each in one page: (address, bytes)."""
    parts = []
    end = address + size
    while address < end:
        length = min(end, (address // PAGE + 1) * PAGE) - address
        parts.append((address, length))
        address += length
    return parts
