"""Programs that the agent of a machine runs for us: asked for, told of, ended (cell_agent.py).

Nothing that the guest says is believed beyond its form: a report of a job that there is none of, or
of one that has ended, is ignored; statuses are taken modulo 256.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from auberge.container.processes import SIGKILL
from auberge.image.cell_agent import (
    DIRECTORY,
    EXECUTION,
    EXITED,
    FAILED,
    FIRST,
    HANG_UP,
    HEADER,
    IDENTITY,
    LARGEST_REQUEST,
    MOST_JOBS,
    PORTS,
    READY,
    REPORT,
    RESIZE,
    RUN,
    SIGNAL,
    STARTED,
    TERMINAL,
    VERSION,
    WALLS,
    Program,
    request,
)
from auberge.machine.virtio.ports import MOST_PORTS, Port
from auberge.monitor.guest import NOT_EXECUTABLE, NOT_FOUND, NotStarted
from auberge.monitor.machine_streams import Drain, Flow, Inward, Outward, Streams
from auberge.refusal import Refusal

KILLED = 128 + SIGKILL
"""The status of what ended with its machine, as by SIGKILL."""

LINGERING = 0.2
"""Seconds that the end of a program waits for streams that something it left holds open."""

_ENOENT, _ENOTDIR = 2, 20


class Outcome(NamedTuple):
    """What became of the start of a program: its number, or what failed and the errno."""

    pid: int = 0
    stage: int = 0
    errno: int = 0


class Job:
    """A program that was asked for; the lock of its `Jobs` guards it."""

    def __init__(self, jobs: "Jobs", number: int, ports: Sequence[Port], flags: int) -> None:
        self._jobs = jobs
        self.number = number
        self.ports = ports
        self.flags = flags
        self.outcome: Outcome | None = None
        self.status: int | None = None
        """0 to 255, once it has ended."""
        self.flows: list[Flow] = []
        self.open = 0
        """How many of its flows from the guest go on."""

    @property
    def pid(self) -> int:
        """Its number in the machine."""
        return self.outcome.pid if self.outcome is not None else 0

    @property
    def inputs(self) -> list[Flow]:
        """Its flows that only lead into the guest: a terminal's is not among them."""
        return [flow for flow in self.flows if not flow.writes and not self.flags & TERMINAL]

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status, once all that it wrote has been passed on; None if it still runs."""
        return self._jobs.wait(self, timeout)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.status is None:
            self._jobs.send(request(SIGNAL, self.number, number))

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""
        if self.status is None and self.flags & TERMINAL:
            self._jobs.send(request(RESIZE, self.number, window(rows, columns)))


def window(rows: int, columns: int) -> int:
    """A size as the agent is told."""
    return min(max(rows, 0), 0xFFFF) | min(max(columns, 0), 0xFFFF) << 16


class Jobs:
    """All programs of a machine; for any thread. `lock` is the machine's device lock."""

    def __init__(self, streams: Streams, lock: AbstractContextManager[object]) -> None:
        self._streams = streams
        self._lock = lock
        self._changed = threading.Condition()
        self._jobs: dict[int, Job] = {}
        self._free = list(range(1, MOST_PORTS))
        self._leaving: list[Job] = []  # waited for, whose ports the guest may still have open
        self._heard = b""
        self._unsent = b""
        self.is_ready = False
        """Whether the agent is there."""
        self.is_over = False
        """Whether the machine is off."""
        self._control = streams.ports.ports[0]
        with lock:
            for port in streams.ports.ports[:4]:  # the first program will need them
                port.add()
            self._control.open()
        streams.watch(self._look)
        streams.add(Drain(self._control, self._hear, lambda gone: None))

    # -- the conversation -----------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Have a request sent; from any thread that has neither lock."""
        with self._lock:
            self._unsent += message
            self._look()

    def _look(self) -> None:
        """Send what was not sent yet; under the device lock."""
        if self._unsent:
            self._unsent = self._unsent[self._control.give(self._unsent) :]
        with self._changed:
            self._changed.notify_all()

    def _hear(self, data: bytes) -> bool:
        self._heard += data
        while len(self._heard) >= REPORT.size:
            kind, number, value, _ = REPORT.unpack_from(self._heard)
            self._heard = self._heard[REPORT.size :]
            with self._changed:
                self._report(kind, number, value)
                self._changed.notify_all()
        return True

    def _report(self, kind: int, number: int, value: int) -> None:
        if kind == READY:
            self.is_ready = value == VERSION
            return
        job = self._jobs.get(number)
        if job is None or job.status is not None:
            return
        if kind == STARTED and job.outcome is None:
            job.outcome = Outcome(pid=value)
        elif kind == FAILED and job.outcome is None:
            job.outcome = Outcome(stage=value >> 16 & 0xFFFF, errno=value & 0xFFFF)
            if job.outcome.stage == PORTS:
                self._end(job, NOT_FOUND)
        elif kind == EXITED:
            signal = value & 0x7F
            self._end(job, (128 + signal if signal else value >> 8) & 0xFF)

    def _end(self, job: Job, status: int) -> None:
        job.status = status
        job.outcome = job.outcome or Outcome()
        for flow in job.inputs:
            flow.dropped = True  # nobody will read it

    # -- programs -------------------------------------------------------------------------------

    def run(
        self,
        program: Program,
        streams: Sequence[int],
        hear: Callable[[bytes], bool] | None = None,
        timeout: float = 60.0,
    ) -> Job:
        """Start a program; its streams are these descriptors, which stay the caller's.

        On a terminal there is one, for both directions. With `hear`, that is given what the program
        writes, and there are none. Raises NotStarted, or Refusal.
        """
        deadline = time.monotonic() + timeout
        if len(program.body()) + HEADER.size > LARGEST_REQUEST:
            raise NotStarted(f"{_name(program)}: its arguments are too long", NOT_EXECUTABLE)
        job = self._new(program.flags, deadline)
        body = program._replace(port=job.ports[0].number).body()
        with self._lock:
            for port in job.ports:
                port.open()
            self._connect(job, streams, hear)
        for flow in job.flows:
            if flow not in job.inputs:
                self._streams.add(flow)
        self.send(request(RUN, job.number, body=body))
        try:
            with self._changed:
                self._await(lambda: job.outcome is not None, deadline, _name(program))
        except Refusal:
            self._abandon(job)
            raise
        # not before: the agent waits until the guest has seen that all its ports are open
        if hear is not None:
            with self._lock:
                job.ports[0].shut()
        for flow in job.inputs:
            self._streams.add(flow)
        outcome = job.outcome
        if outcome is None or (outcome.pid == 0 and outcome.stage == 0):
            raise Refusal(f"{_name(program)}: the machine ended before it could start; try again")
        if outcome.stage:
            job.wait(1.0)
            raise _not_started(program, outcome)
        return job

    def _abandon(self, job: Job) -> None:
        """Nobody waits for it any more: it is to end, its descriptors are given back, and its
        number and ports once the guest says that it has ended."""
        for flow in job.flows:
            flow.dropped = True
        for flow in job.inputs:
            flow.close()  # the streams have not got it
        self._streams.look()
        self.send(request(SIGNAL, job.number, SIGKILL))
        with self._changed:
            job.open = 0
            self._forget(job)

    def _new(self, flags: int, deadline: float) -> Job:
        """A job with ports that the guest is ready to open."""
        wanted = 1 if flags & TERMINAL else 3
        with self._changed:
            soon = min(deadline, time.monotonic() + 1.0)
            while (found := self._room(flags, wanted)) is None:
                self._leave()
                if not self._leaving or time.monotonic() >= soon:
                    raise Refusal(
                        "exec: too many programs run in this machine; wait for one to end"
                    )
                self._changed.wait(0.01)
            number, ports = found
            for port in ports:
                self._free.remove(port.number)
            job = self._jobs[number] = Job(self, number, ports, flags)
        with self._lock:
            for port in ports:
                port.add()
        with self._changed:
            ready = lambda: self.is_ready and all(port.ready for port in ports)  # noqa: E731
            try:
                self._await(ready, deadline, "machine")
            except Refusal:  # the guest has heard nothing of it
                self._give_back(job)
                raise
        return job

    def _room(self, flags: int, wanted: int) -> tuple[int, list[Port]] | None:
        """A number and ports for one more program, if there are any."""
        # job 0 is the first process; what sets the guest up has the last
        others = range(MOST_JOBS - 1, 0, -1)
        number = 0 if flags & FIRST else next((n for n in others if n not in self._jobs), -1)
        first = _consecutive(self._free, wanted)
        if number < 0 or first is None:
            return None
        return number, self._streams.ports.ports[first : first + wanted]

    def _connect(
        self, job: Job, streams: Sequence[int], hear: Callable[[bytes], bool] | None
    ) -> None:
        over = [lambda gone, number=n: self._over(job, number, gone) for n in range(3)]
        if hear is not None:
            job.flows = [Drain(port, hear, over[n]) for n, port in enumerate(job.ports) if n]
        elif job.flags & TERMINAL:
            port = job.ports[0]
            job.flows = [Inward(port, streams[0], over[0]), Outward(port, streams[0], over[1])]
        else:
            inward = Inward(job.ports[0], streams[0], over[0])
            outwards = [Outward(job.ports[n], streams[n], over[n]) for n in (1, 2)]
            job.flows = [inward, *outwards]
        job.open = sum(1 for flow in job.flows if flow.writes)

    def _over(self, job: Job, number: int, gone: bool) -> None:
        """A stream is over: the guest's side, or the host's, is gone."""
        if gone and number and not job.flags & TERMINAL:
            # the program is to find that nobody reads; what it has written is nobody's
            port = job.ports[number]
            self._streams.add(Drain(port, lambda data: True, lambda _: self._closed(job)))
            self.send(request(HANG_UP, job.number, number))
        elif number:
            self._closed(job)

    def _closed(self, job: Job) -> None:
        with self._changed:
            job.open -= 1
            self._changed.notify_all()

    def wait(self, job: Job, timeout: float | None) -> int | None:
        """See Job."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while job.status is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            # the first one's end is that of everything in its namespace
            patience = None if job.flags & FIRST else time.monotonic() + LINGERING
            while job.open > 0 and not self.is_over:
                left = None if patience is None else patience - time.monotonic()
                if left is not None and left <= 0:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    return None
                self._changed.wait(0.1 if left is None else min(left, 0.1))
            self._forget(job)
        return job.status

    def _forget(self, job: Job) -> None:
        """It was waited for; its number and ports may be another's once nothing of it is left."""
        if self._jobs.get(job.number) is job and job not in self._leaving:
            self._leaving.append(job)
        self._leave()

    def _leave(self) -> None:
        for job in list(self._leaving):
            there = any(port.guest_open for port in job.ports)
            if job.status is not None and job.open <= 0 and not there:
                self._leaving.remove(job)
                self._give_back(job)

    def _give_back(self, job: Job) -> None:
        del self._jobs[job.number]
        self._free = sorted({*self._free, *(port.number for port in job.ports)})

    def _await(self, condition: Callable[[], bool], deadline: float, what: str) -> None:
        while not condition():
            if self.is_over:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise Refusal(f"{what}: the guest does not answer; try again, or remove it")
            self._changed.wait(min(left, 1.0))

    def end(self) -> None:
        """The machine is off: what has not ended has now."""
        with self._changed:
            self.is_over = True
            for job in self._jobs.values():
                if job.status is None:
                    self._end(job, KILLED)
            self._changed.notify_all()


def _consecutive(numbers: Sequence[int], wanted: int) -> int | None:
    """The first of so many numbers in a row."""
    there = {*numbers}
    runs = (n for n in sorted(there) if all(n + k in there for k in range(wanted)))
    return next(runs, None)


def _name(program: Program) -> str:
    return os.fsdecode(program.args[0]) if program.args else "exec"


def _not_started(program: Program, outcome: Outcome) -> NotStarted:
    why = os.strerror(outcome.errno).lower()
    if outcome.stage == EXECUTION:
        if outcome.errno in (_ENOENT, _ENOTDIR):
            text = f"{_name(program)}: not found in the guest; give the path of a program in it"
            return NotStarted(text, NOT_FOUND)
        return NotStarted(f"{_name(program)}: cannot be executed: {why}", NOT_EXECUTABLE)
    whats = {DIRECTORY: os.fsdecode(program.cwd), IDENTITY: "user", WALLS: "its cgroup and root"}
    what = whats.get(outcome.stage, "exec")
    return NotStarted(f"{what}: {why}; the guest refuses it", NOT_EXECUTABLE)
