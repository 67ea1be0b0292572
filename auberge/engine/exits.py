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


class Breakpoint(NamedTuple):
    """The next instruction is at one of the addresses that `debug` was given.

    So it is in the next run too, unless `HartState.pass_breakpoint` comes before.
    """


class Watchpoint(NamedTuple):
    """The next instruction accesses what `debug` was told to watch: `width` bytes at `address`.

    `kinds` is of LOADS and STORES those that it does.
    """

    address: int
    width: int
    kinds: int


Exit = Spent | Stopped | MmioRead | MmioWrite | Idle | Hypercall | Stuck | Breakpoint | Watchpoint

LOADS, STORES = 1, 2


class Watch(NamedTuple):
    """Virtual addresses `first` to `last` to be watched for `kinds` of accesses."""

    first: int
    last: int
    kinds: int


# How native code says it; the last four never reach a caller of `run`.
(SPENT, STOPPED, MMIO_READ, MMIO_WRITE, IDLE, HYPERCALL, STUCK, BREAKPOINT, WATCHPOINT, DEFERRED,
 FULL, SAMPLED, NEW_CODE) = range(13)  # fmt: skip

# The exception of an access that nothing answers (Volume II, table 3.6): of a load, of a store.
ACCESS_FAULT = {MMIO_READ: 5, MMIO_WRITE: 7}
