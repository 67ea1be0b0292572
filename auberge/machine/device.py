"""What a device is to a board: registers at offsets, an interrupt line, a memory to reach.

A device knows neither its address nor its board, engine or wall clock; those are handed in. Its
state is one NamedTuple, and constructing it from a state is restoring it.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

Line = Callable[[bool], None]
"""A level-triggered interrupt line, called with its level; the same level again changes nothing."""

Property = int | str | bytes | bool | tuple[int, ...] | tuple[str, ...]
"""A value in a device-tree node: an int is one cell, a tuple of ints several, True is empty."""


class Memory(Protocol):
    """The guest's memory as a device reaches it: `size` bytes from `base`, in place."""

    @property
    def base(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def view(self) -> memoryview: ...


class Device(Protocol):
    """Registers that a bus reads and writes.

    The bus guarantees 0 <= offset, offset + width <= size, width in `widths` and offset a multiple
    of width, and that written values fit the width; a device answers every such access and never
    raises. Calls come one at a time, though not always from the same host thread.
    """

    @property
    def size(self) -> int: ...
    @property
    def widths(self) -> frozenset[int]: ...
    @property
    def compatible(self) -> str | tuple[str, ...]: ...
    @property
    def state(self) -> tuple[object, ...]:
        """All that it remembers, as a NamedTuple; its constructor takes it to go on from here."""
        ...

    def properties(self) -> Mapping[str, Property]:
        """What the device-tree node needs beyond `compatible`, `reg` and `interrupts`."""
        ...

    def read(self, offset: int, width: int) -> int: ...
    def write(self, offset: int, width: int, value: int) -> None: ...
