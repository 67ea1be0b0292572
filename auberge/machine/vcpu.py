"""A virtual CPU: one hart, the engine that runs it, and the host thread that both belong to."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from auberge.engine.choose import Engine
from auberge.engine.clock import FREQUENCY, Clock, InstructionClock
from auberge.engine.exits import (
    Breakpoint,
    Exit,
    Hypercall,
    Idle,
    MmioRead,
    MmioWrite,
    Spent,
    Stopped,
    Stuck,
    Watchpoint,
)
from auberge.machine.bell import Bell
from auberge.machine.bus import Bus
from auberge.machine.device import Line
from auberge.machine.pace import Pace

# SBI, chapter 9, table 22: the states of a hart that it can be seen in
STARTED, STOPPED, SUSPENDED = 0, 1, 4

A_WHILE = 1 << 40
"""Instructions: a hart that has no other limit comes back when something happens."""

A_TURN = 1 << 17
"""Instructions, a third of a millisecond: a hart that shares a processor with others lets them on.

Left to the host it would keep it ten times as long, and the lock that it spins for may be held, or
be due (Linux hands its locks on in the order of asking), by one of those.
"""

SSIP, STIP, SEIP = 1 << 1, 1 << 5, 1 << 9


class Home(Protocol):
    """What a virtual CPU needs of the machine that it is in."""

    @property
    def stopping(self) -> bool: ...
    @property
    def lock(self) -> AbstractContextManager[object]:
        """Held while a device or another hart's state is used."""
        ...

    @property
    def bus(self) -> Bus: ...
    def hypercall(self, vcpu: "Vcpu") -> None: ...
    def fault(self, message: str) -> None: ...
    def broke(self, vcpu: "Vcpu", watch: Watchpoint | None) -> None: ...


class Vcpu:
    """A hart on a thread of its own, and what others may do to it meanwhile.

    Registers belong to the hart's own thread; `set_line`, `post_ssip`, `flush` and `stop_soon` are
    for any thread. `start` is for the one that found the hart stopped, under the machine's lock.
    """

    __slots__ = (
        "bell", "clock", "engine", "give_way", "hart", "hartid", "held", "inside", "pace",
        "resume_at", "status",
    )  # fmt: skip

    def __init__(
        self, hartid: int, engine: Engine, clock: Clock, status: int, pace: Pace | None = None
    ) -> None:
        self.hartid = hartid
        self.engine = engine
        self.hart = engine.hart
        self.clock = clock
        self.status = status
        self.pace = pace
        self.bell = Bell()
        self.held = False  # a debugger wants it to stand still
        self.inside = False  # whether it is in `engine.run`: if not, it executes no instruction
        self.resume_at: tuple[int, int] | None = None
        self.give_way: Callable[[], object] | None = None  # where harts outnumber processors

    # -- for any thread -------------------------------------------------------------------------

    def line(self, bit: int) -> Line:
        """The external interrupt input `bit` of mip."""
        set_line, ring = self.hart.set_line, self.bell.ring

        def line(level: bool) -> None:
            set_line(bit, level)
            if level:
                ring()

        return line

    def set_mtimecmp(self, value: int) -> None:
        """Move the deadline of the machine timer; the hart looks at it soon."""
        self.hart["mtimecmp"] = value
        self.hart["attention"] = 1
        self.bell.ring()

    def post_ssip(self) -> None:
        """Interrupt the hart, as another hart does."""
        self.hart.post_ssip()
        self.bell.ring()

    def stop_soon(self) -> None:
        """Have the hart's thread look around."""
        self.engine.request_stop()
        self.bell.ring()

    def flush(self, what: str) -> None:
        """Ask for a flush ("sfence" or "fence_i") of what the hart remembers."""
        self.hart.request(what)

    def flushed(self, what: str) -> bool:
        """Whether the hart can no longer use what it remembered when `flush` was called.

        A hart outside `run` cannot: it executes nothing, and serves requests first when it comes
        back. The order decides: its thread sets `inside` before it enters, the asker calls `flush`
        before it reads `inside`. So the asker sees it inside, and waits, or the hart the request.
        """
        return not self.inside or self.hart.request_served(what)

    def start(self, pc: int, opaque: int) -> None:
        """Let a stopped hart begin at physical `pc` in S-mode (SBI 9.1, table 20)."""
        self._begin(pc, opaque)
        self.status = STARTED
        self.bell.ring()

    # -- for the hart's own thread --------------------------------------------------------------

    def run(self, home: Home) -> None:
        """Run the hart until `home` is stopping."""
        pace, give_way = self.pace, self.give_way
        most = A_WHILE if give_way is None else A_TURN
        while not home.stopping:
            if self.held:
                self.bell.wait()
                continue
            if self.status != STARTED:
                self._stay_away()
                continue
            exit_ = self.step(home, most if pace is None else min(most, pace.budget()))
            if give_way is not None and isinstance(exit_, Spent):
                give_way()
            if pace is not None:
                pace.look()

    def step(self, home: Home, budget: int) -> Exit:
        """Run until the engine exits, do what the exit asks for, and say which it was."""
        exit_ = self.execute(home, budget)
        if isinstance(exit_, Idle):
            self._sleep(exit_.deadline)
        return exit_

    def execute(self, home: Home, budget: int) -> Exit:
        """The same, without sleep."""
        engine = self.engine
        self.inside = True
        try:
            exit_ = engine.run(budget)
        finally:  # else a hart that waits for `flushed` would wait for one that has failed
            self.inside = False
        if isinstance(exit_, MmioWrite):
            with home.lock:
                taken = home.bus.write(exit_.address, exit_.width, exit_.value)
            engine.resume(0 if taken else None)
        elif isinstance(exit_, MmioRead):
            with home.lock:
                value = home.bus.read(exit_.address, exit_.width)
            engine.resume(value)
        elif isinstance(exit_, Hypercall):
            home.hypercall(self)
        elif isinstance(exit_, Stuck):
            home.fault(
                f"hart {self.hartid}: traps for ever at {exit_.pc:#x}"
                f" (cause {exit_.cause}), which is its own trap handler"
            )
        elif isinstance(exit_, Breakpoint | Watchpoint):
            home.broke(self, exit_ if isinstance(exit_, Watchpoint) else None)
        return exit_

    def execute_one(self, home: Home) -> None:
        """Execute one instruction, or take its trap; a call of the host is one too."""
        spent = self.hart["spent"]
        while not home.stopping and self.hart["spent"] == spent:
            if isinstance(self.execute(home, 1), Hypercall | Idle):
                return

    def stop(self) -> None:
        """Stop this hart until another one starts it."""
        self.status = STOPPED

    def suspend(self, resume_at: tuple[int, int] | None) -> None:
        """Sleep until an interrupt is pending; then go on, or begin at (pc, opaque)."""
        self.resume_at = resume_at
        self.status = SUSPENDED

    def _begin(self, pc: int, opaque: int) -> None:
        hart = self.hart
        hart["pc"], hart["priv"], hart["satp"] = pc, 1, 0
        hart["mstatus"] &= ~2  # SIE
        hart.x[10], hart.x[11] = self.hartid, opaque
        # What it remembers is from before it stopped, since when others may have changed all that.
        hart.request("sfence")
        hart.request("fence_i")

    def _stay_away(self) -> None:
        if self.status == SUSPENDED and self._interrupted():
            if self.resume_at is not None:
                self._begin(*self.resume_at)
            self.status = STARTED
        else:
            timed = self.status == SUSPENDED and self.hart["mie"] & STIP
            self._sleep(self.hart["stimecmp"] if timed else None)

    def _interrupted(self) -> bool:
        hart = self.hart
        pending = hart["mip"] | hart["lines"] | (SSIP if hart["posted_ssip"] else 0)
        if hart["stimecmp"] <= self.clock.ticks():
            pending |= STIP
        return bool(pending & hart["mie"] & (SSIP | STIP | SEIP))

    def _sleep(self, deadline: int | None) -> None:
        if self.pace is not None:
            deadline = self.pace.wake(deadline)
        if deadline is None:
            self.bell.wait()
        elif isinstance(self.clock, InstructionClock):
            self.clock.skip_to(deadline)
        else:
            self.bell.wait((deadline - self.clock.ticks()) / FREQUENCY)


class Measured:
    """An engine that counts its exits, the time in it, and the time its thread spends between runs.

    `now_ns` is a clock in nanoseconds. Sleep, which is what follows `Idle`, counts as neither.
    """

    def __init__(self, engine: Engine, now_ns: Callable[[], int]) -> None:
        self.engine = engine
        self.hart = engine.hart
        self.resume = engine.resume
        self.request_stop = engine.request_stop
        self.statistics = engine.statistics
        self.debug = engine.debug
        self.exits: dict[str, int] = {}
        self.inside_ns = 0
        self.between_ns = 0
        self._now_ns = now_ns
        self._left_at: int | None = None

    def run(self, budget: int) -> Exit:
        """As the engine."""
        begin = self._now_ns()
        if self._left_at is not None:
            self.between_ns += begin - self._left_at
        exit_ = self.engine.run(budget)
        end = self._now_ns()
        self.inside_ns += end - begin
        self._left_at = None if isinstance(exit_, Idle | Stopped) else end
        name = type(exit_).__name__
        self.exits[name] = self.exits.get(name, 0) + 1
        return exit_
