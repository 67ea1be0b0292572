"""A machine of one hart, moved forward by hand: for comparing two of them in lockstep."""

from __future__ import annotations

from auberge.engine.exits import Exit, Idle, Spent, Stuck
from auberge.machine.machine import Machine
from auberge.machine.outcome import Outcome, Reset


class Stepped:
    """Runs the machine's hart in the calling thread, an exact number of instructions at a time.

    The machine counts instructions as its clock (`icount`), so that the same steps always give the
    same state; devices and SBI calls are served between engine runs, as ever.
    """

    def __init__(self, machine: Machine) -> None:
        if not machine.configuration.icount or machine.configuration.cpus != 1:
            raise ValueError(
                "only a machine of one hart whose clock is its instructions repeats itself"
            )
        self.machine = machine
        self.vcpu = machine.vcpus[0]
        self.hart, self.ram = self.vcpu.hart, machine.ram

    @property
    def outcome(self) -> Outcome | Reset | None:
        """How the machine ended, if it did."""
        return self.machine.ended

    def run(self, budget: int) -> Exit:
        """Retire exactly `budget` instructions, unless the machine ends or sleeps for ever."""
        end = self.hart["spent"] + budget
        while self.hart["spent"] < end and self.outcome is None:
            out = self.vcpu.step(self.machine, end - self.hart["spent"])
            if isinstance(out, Stuck) or (isinstance(out, Idle) and out.deadline is None):
                return out
        return Spent()
