"""Each instruction of one hart, told as it happens, from an address or after a number of others."""

import time
from collections.abc import Callable

from auberge.machine.debug.recorder import Event, Recorder, Trap
from auberge.machine.machine import Machine
from auberge.machine.outcome import Broke, Outcome, Paused
from auberge.machine.pace import Pace, Paces
from auberge.machine.vcpu import Vcpu

AT_ONCE = 1000
"""Instructions that are told together."""

Tell = Callable[[Vcpu, Event], None]


def trace(
    machine: Machine,
    begin: Callable[[Vcpu], None],
    tell: Tell,
    instructions: int,
    hartid: int | None = None,
    start: int | None = None,
    skip: int = 0,
    timeout: float | None = None,
) -> Outcome:
    """Run `machine`, and `tell` each event of one hart until it has executed `instructions`.

    `begin` is called before the first of them, if it comes to that.
    They begin when that hart, or with None the first of any, comes to virtual address `start`, and
    `skip` instructions of it later. Says `Paused`, or how the machine ended before.
    """
    run = _within(machine, timeout)
    vcpu = _approach(machine, run, hartid, start, skip)
    if not isinstance(vcpu, Vcpu):
        return vcpu
    begin(vcpu)
    recorder = Recorder(vcpu.hart, machine.ram, vcpu.clock)
    witness = _Witness(vcpu, recorder, instructions, tell, lambda: machine.end(Paused()))
    vcpu.engine = recorder
    vcpu.pace = _slower(vcpu, witness)
    outcome = run()
    with machine.visit():  # which completes the access by which a guest switches off
        witness.look()
    return outcome


def run_on(
    machine: Machine,
    begin: Callable[[Vcpu], None],
    instructions: int,
    hartid: int | None = None,
    start: int | None = None,
    skip: int = 0,
    timeout: float | None = None,
) -> Outcome:
    """As `trace`, at full speed and without telling: stop where that would have ended."""
    run = _within(machine, timeout)
    vcpu = _approach(machine, run, hartid, start, skip)
    if not isinstance(vcpu, Vcpu):
        return vcpu
    begin(vcpu)
    vcpu.pace = _slower(vcpu, _Count(vcpu, instructions, lambda: machine.end(Paused())))
    return run()


def _within(machine: Machine, timeout: float | None) -> Callable[[], Outcome]:
    """What runs the machine on, until so many seconds from now."""
    deadline = None if timeout is None else time.monotonic() + timeout

    def run() -> Outcome:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return machine.run(None, left, through_resets=False)

    return run


def _approach(
    machine: Machine,
    run: Callable[[], Outcome],
    hartid: int | None,
    start: int | None,
    skip: int,
) -> Vcpu | Outcome:
    """Run to where a trace begins: the hart that is there, or how the machine ended before."""
    vcpu = machine.vcpus[hartid or 0]
    if start is not None:
        machine.debug([start], [])
        outcome = run()
        while isinstance(outcome, Broke) and hartid not in (None, outcome.hartid):
            machine.vcpus[outcome.hartid].hart.pass_breakpoint()
            outcome = run()
        machine.debug([], [])
        if not isinstance(outcome, Broke):
            return outcome
        vcpu = machine.vcpus[outcome.hartid]
    if skip:
        board = vcpu.pace
        vcpu.pace = _slower(vcpu, _Count(vcpu, skip, lambda: machine.end(Paused())))
        outcome = run()
        vcpu.pace = board
        if not isinstance(outcome, Paused):
            return outcome
    return vcpu


def _slower(vcpu: Vcpu, pace: Pace) -> Pace:
    """The board's own pace, if there is one, and this."""
    return Paces([pace, *([] if vcpu.pace is None else [vcpu.pace])])


class _Count:
    """Ends the run, exactly, when a hart has executed so many instructions more."""

    def __init__(self, vcpu: Vcpu, instructions: int, end: Callable[[], None]) -> None:
        self._hart, self._last, self._end = vcpu.hart, vcpu.hart["spent"] + instructions, end

    def budget(self) -> int:
        return max(1, self._last - self._hart["spent"])

    def look(self) -> None:
        if self._hart["spent"] >= self._last:
            self._end()

    def wake(self, deadline: int | None) -> int | None:
        return deadline


class _Witness:
    """Tells each event, until there were so many instructions."""

    def __init__(
        self,
        vcpu: Vcpu,
        recorder: Recorder,
        instructions: int,
        tell: Tell,
        end: Callable[[], None],
    ) -> None:
        self._vcpu, self._recorder, self._tell, self._end = vcpu, recorder, tell, end
        self._left = instructions

    def budget(self) -> int:
        # No more than are to be told, and no fewer: the engine remembers page walks for one run.
        return max(1, min(self._left, AT_ONCE))

    def look(self) -> None:
        for event in self._recorder.take():
            if self._left:
                self._left -= not isinstance(event, Trap)
                self._tell(self._vcpu, event)
        if not self._left:
            self._end()

    def wake(self, deadline: int | None) -> int | None:
        return deadline
