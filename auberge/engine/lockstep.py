"""Two engines, or two machines, step by step: where do they first differ?"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple, Protocol

from auberge.engine.exits import Exit, Spent
from auberge.engine.state import HartState
from auberge.memory.ram import OutOfRange, Ram


class Subject(Protocol):
    """What can be compared: it runs, and shows its state."""

    hart: HartState
    ram: Ram

    def run(self, budget: int) -> Exit:
        """Retire exactly `budget` instructions, if nothing else ends it."""


class Difference(NamedTuple):
    """The first instruction after which two subjects are not the same."""

    instructions: int
    """How many went well before it."""
    pc: int
    word: int
    """What is at pc, as far as it could be read without translation; else 0."""
    values: dict[str, tuple[object, object]]
    """What differs, by name: the one's and the other's."""


def _memory_differs(one: Ram, two: Ram) -> dict[str, tuple[object, object]]:
    if one.size == two.size:
        memcmp = ctypes.CDLL(None).memcmp
        memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        if not memcmp(one.address, two.address, one.size):
            return {}
    for at in range(0, min(one.size, two.size), 8):
        a, b = bytes(one.view[at : at + 8]), bytes(two.view[at : at + 8])
        if a != b:
            name = f"memory at {one.base + at:#x}"
            return {name: (int.from_bytes(a, "little"), int.from_bytes(b, "little"))}
    return {"memory": (one.size, two.size)}


def compare(one: Subject, two: Subject) -> dict[str, tuple[object, object]]:
    """What differs between two subjects now, architecturally; nothing is an empty dict."""
    a, b = one.hart.visible(), two.hart.visible()
    differs: dict[str, tuple[object, object]] = {k: (a[k], b[k]) for k in a if a[k] != b[k]}
    return differs | _memory_differs(one.ram, two.ram)


def first_difference(
    one: Callable[[], Subject], two: Callable[[], Subject], budget: int, stride: int = 256
) -> Difference | None:
    """Run both for `budget` instructions, or until both stop for one reason; None if all agrees.

    `one` and `two` make the subjects anew, always the same: once a stride has gone wrong, it is run
    again from the start, half as far each time.
    """
    went_well = 0
    while went_well < budget:
        a, b = one(), two()
        if went_well:
            a.run(went_well)
            b.run(went_well)
        here, stopped = went_well, False
        wrong: dict[str, tuple[object, object]] = {}
        pc = 0
        while here < budget and not wrong and not stopped:
            went_well = here
            pc = a.hart["pc"]
            n = min(stride, budget - here)
            out_a, out_b = a.run(n), b.run(n)
            wrong = compare(a, b)
            if out_a != out_b:
                wrong["exit"] = out_a, out_b
            stopped = not isinstance(out_a, Spent)
            here += n
        if not wrong:
            return None
        if stride == 1:
            return Difference(went_well, pc, _word_at(a, pc), wrong)
        stride = max(1, stride // 16)
    return None


def _word_at(subject: Subject, pc: int) -> int:
    """What stands at `pc`, if addresses are what they seem."""
    try:
        return int.from_bytes(subject.ram.read(pc, 4), "little")
    except OutOfRange:
        return 0
