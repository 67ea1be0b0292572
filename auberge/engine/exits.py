"""Why an engine came back: small frozen values, as KVM's exits are."""

from __future__ import annotations

from typing import NamedTuple


class Spent(NamedTuple):
    """Exactly the budget has been retired."""


class Stopped(NamedTuple):
    """`request_stop` was heard."""


class MmioRead(NamedTuple):
    """The guest loads `width` bytes at physical `address`, not RAM; `resume` with their value."""

    address: int
    width: int


class MmioWrite(NamedTuple):
    """The guest stores `value` at physical `address`; `resume(0)` when that is done."""

    address: int
    width: int
    value: int


class Idle(NamedTuple):
    """`wfi`, and nothing is pending; time can end it at `deadline` ticks, unless that is None."""

    deadline: int | None


class Hypercall(NamedTuple):
    """A trap bound for a machine mode the host plays; `cause` and `tval` of the hart say why."""


class Stuck(NamedTuple):
    """The hart traps at its own trap vector, over and over; nothing it does can change that."""

    pc: int
    cause: int


Exit = Spent | Stopped | MmioRead | MmioWrite | Idle | Hypercall | Stuck

# How native code says it; the last three never reach a caller of `run`.
SPENT, STOPPED, MMIO_READ, MMIO_WRITE, IDLE, HYPERCALL, STUCK, DEFERRED, FULL = range(9)

# The exception of an access that nothing answers (Volume II, table 3.6): of a load, of a store.
ACCESS_FAULT = {MMIO_READ: 5, MMIO_WRITE: 7}
