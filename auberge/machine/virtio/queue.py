"""The split virtqueue from the device's side, over memory that a hostile driver may change."""

from _thread import allocate_lock
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from auberge.machine.device import Memory

F_INDIRECT_DESC = 1 << 28
F_EVENT_IDX = 1 << 29

NEXT = 1
WRITE = 2
INDIRECT = 4

AVAIL_NO_INTERRUPT = 1

_DESCRIPTOR = Struct("<QIHH")  # 2.7.5: addr, len, flags, next
_ELEMENT = Struct("<II")  # 2.7.8: id, len
_U16 = Struct("<H")

# Rounds of the whole ring that one notification is served for before the driver's next register
# access.
_ROUNDS = 4


class QueueError(Exception):
    """The driver broke a rule of 2.7; the queue cannot be used until the device is reset."""


class QueueState(NamedTuple):
    """2.7: where the three parts are, how many entries they have, how far the device has come."""

    size: int = 0
    ready: bool = False
    descriptors: int = 0
    available: int = 0
    used: int = 0
    last_available: int = 0
    used_index: int = 0


class Chain(NamedTuple):
    """One request: its head, the buffers to read and those to write, in order, in guest memory."""

    head: int
    readable: list[memoryview]
    writable: list[memoryview]


class Queue:
    """A live split virtqueue: iterate to pop the available chains, `push` to return each.

    Every address is checked against guest memory when it is used, each descriptor is read once, and
    a chain has at most `longest` descriptors; anything else is a QueueError.
    """

    __slots__ = (
        "features", "cut_short", "_view", "_base", "_end", "_longest", "_size", "_mask", "_state",
        "_table", "_avail", "_used", "_last", "_used_index", "_signalled", "_fence",
    )  # fmt: skip

    def __init__(self, memory: Memory, state: QueueState, features: int, longest: int) -> None:
        size = state.size
        if size == 0 or size & (size - 1) or size > longest:
            raise QueueError(f"queue size {size} is not a power of two up to {longest}")
        if state.descriptors % 16 or state.available % 2 or state.used % 4:
            raise QueueError("a part of the queue is not aligned")
        self.features = features
        self.cut_short = False
        self._view = memory.view
        self._base = memory.base
        self._end = memory.base + memory.size
        self._longest = longest
        self._size = size
        self._mask = size - 1
        self._state = state
        self._table = self._at(state.descriptors, 16 * size)
        self._avail = self._at(state.available, 6 + 2 * size)
        self._used = self._at(state.used, 6 + 8 * size)
        self._last = state.last_available
        self._used_index = self._signalled = state.used_index
        self._fence = allocate_lock()

    @property
    def state(self) -> QueueState:
        return self._state._replace(last_available=self._last, used_index=self._used_index)

    def __iter__(self) -> Iterator[Chain]:
        """Pop chains until none is available, or `cut_short` says that the driver never stops."""
        for _ in range(_ROUNDS * self._size):
            chain = self.pop()
            if chain is None:
                return
            yield chain
        self.cut_short = True

    def waiting(self) -> int:
        """How many chains are available and not yet popped."""
        index: int = _U16.unpack_from(self._view, self._avail + 2)[0]
        count = index - self._last & 0xFFFF
        if count > self._size:
            raise QueueError(f"{count} chains are available in a ring of {self._size}")
        return count

    def pop(self) -> Chain | None:
        """The next available chain; None if there is none (the driver will notify of the next)."""
        if not self.waiting():
            if not self.features & F_EVENT_IDX:
                return None
            # 2.7.10: ask for a notification at the next chain, then look again: it may have been
            # made available before the driver could see the request.
            _U16.pack_into(self._view, self._used + 4 + 8 * self._size, self._last)
            self._barrier()
            if not self.waiting():
                return None
        slot = self._avail + 4 + 2 * (self._last & self._mask)
        head: int = _U16.unpack_from(self._view, slot)[0]
        chain = self._chain(head)
        self._last = self._last + 1 & 0xFFFF
        return chain

    def unpop(self, count: int) -> None:
        """Have the `count` chains that were popped last, and not pushed, popped again later."""
        self._last = self._last - count & 0xFFFF

    def push(self, head: int, written: int) -> None:
        """Return the chain of `head` as used, `written` bytes of its writable buffers filled."""
        slot = self._used + 4 + 8 * (self._used_index & self._mask)
        _ELEMENT.pack_into(self._view, slot, head, written)
        self._used_index = self._used_index + 1 & 0xFFFF
        _U16.pack_into(self._view, self._used + 2, self._used_index)

    def interrupt_due(self) -> bool:
        """Whether the driver wants to hear of what was pushed since this was asked last (2.7.7)."""
        old, new = self._signalled, self._used_index
        if old == new:
            return False
        self._signalled = new
        self._barrier()
        if self.features & F_EVENT_IDX:
            slot = self._avail + 4 + 2 * self._size
            event: int = _U16.unpack_from(self._view, slot)[0]
            return (new - event - 1 & 0xFFFF) < (new - old & 0xFFFF)
        flags: int = _U16.unpack_from(self._view, self._avail)[0]
        return not flags & AVAIL_NO_INTERRUPT

    def _chain(self, head: int) -> Chain:
        readable: list[memoryview] = []
        writable: list[memoryview] = []
        view, base, end = self._view, self._base, self._end
        table, entries = self._table, self._size
        index = head
        left = self._longest
        indirect = False
        while True:
            if index >= entries:
                raise QueueError(f"descriptor {index} of a table of {entries}")
            if not left:
                raise QueueError(f"a chain of more than {self._longest} descriptors")
            left -= 1
            address, length, flags, index = _DESCRIPTOR.unpack_from(view, table + 16 * index)
            if flags & INDIRECT:
                # 2.7.5.3.1: negotiated, not inside another, not with NEXT (which keeps the bound
                # simple).
                if indirect or flags & NEXT or not self.features & F_INDIRECT_DESC:
                    raise QueueError("an indirect table where none may be")
                entries, rest = divmod(length, 16)
                if rest or entries > self._longest:
                    raise QueueError(f"an indirect table of {length} bytes")
                table = self._at(address, length)
                index = 0
                indirect = True
                continue
            if address < base or address + length > end:
                raise QueueError(f"a buffer of {length} bytes at {address:#x} is not in memory")
            if flags & WRITE:
                if length:
                    writable.append(view[address - base : address - base + length])
            elif writable:
                raise QueueError("a readable descriptor after a writable one")
            elif length:
                readable.append(view[address - base : address - base + length])
            if not flags & NEXT:
                return Chain(head, readable, writable)

    def _at(self, address: int, size: int) -> int:
        """The offset in memory of `size` bytes at guest address `address`."""
        if address < self._base or address + size > self._end:
            raise QueueError(f"{size} bytes at {address:#x} are not in memory")
        return address - self._base

    def _barrier(self) -> None:
        """Make what was stored visible to the other harts before what is loaded next."""
        with self._fence:
            pass
