"""How a run of a machine ended: small values, to be matched."""

from typing import NamedTuple

from auberge.engine.exits import Watchpoint


class PoweredOff(NamedTuple):
    """The guest switched the machine off, and says `code`: 0 is well."""

    code: int


class Faulted(NamedTuple):
    """The guest did something after which its machine cannot go on; `message` is one line on it."""

    message: str


class TimedOut(NamedTuple):
    """The time given to `run` is over; the machine is paused and may run on."""


class Paused(NamedTuple):
    """Someone called `pause`; the machine may run on."""


class Printed(NamedTuple):
    """The console printed what `run` was to wait for; the machine is paused and may run on."""

    text: str


class Reset(NamedTuple):
    """The guest asked to begin again: a run ends with it only if asked to, else it boots again."""


class Broke(NamedTuple):
    """A hart reached what a debugger had asked for, and has not executed the instruction there.

    A breakpoint at its pc, or a `watch`: the access that the instruction is about to do.
    """

    hartid: int
    watch: Watchpoint | None


class Reached(NamedTuple):
    """A hart came to the address that `run` was to wait for, and has not executed what is there."""

    hartid: int
    address: int


Ending = PoweredOff | Faulted | TimedOut | Paused | Printed | Reached | Reset
"""What users of `auberge` see."""

Outcome = Ending | Broke
KINDS = (PoweredOff, Faulted, TimedOut, Paused, Printed, Reached, Reset)
