"""The reference engine as a witness: it notes each instruction, access and trap of its hart."""

from collections.abc import Callable
from typing import NamedTuple

from auberge.bits.bits import Bits
from auberge.engine.clock import Clock
from auberge.engine.reference import Reference
from auberge.engine.state import HartState
from auberge.isa.riscv.names import F, X
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.debug.causes import INTERRUPT
from auberge.machine.debug.registers import BY_NAME
from auberge.memory.ram import Ram


class Access(NamedTuple):
    """`size` bytes at virtual `address`; `value` was loaded from there, or stored."""

    address: int
    size: int
    value: int
    stored: bool


class Instruction(NamedTuple):
    """An instruction that retired in mode `priv`: what it wrote, by name, and its accesses."""

    pc: int
    priv: int
    word: int
    written: dict[str, int]
    accesses: tuple[Access, ...]


class Trap(NamedTuple):
    """A trap that the hart took at `pc`, to its handler at `handler` in mode `priv`.

    That of an interrupt comes before the instruction at `pc`; an exception is that of `word`, which
    has not been executed, or is 0 where it could not be fetched.
    """

    pc: int
    cause: int
    tval: int
    handler: int
    priv: int
    word: int


class HostCall(NamedTuple):
    """A trap to a machine mode that the host plays: `pc` is where, `word` what."""

    pc: int
    priv: int
    cause: int
    word: int


Event = Instruction | Trap | HostCall


SHOWN = [name for name in BY_NAME if name not in ("mcycle", "minstret", "mhartid")]
"""CSRs whose changes are noted; the counters' change with each instruction."""


class Recorder(Reference):
    """An engine whose `take` says what happened since the last time."""

    def __init__(self, hart: HartState, ram: Ram, clock: Clock) -> None:
        super().__init__(rv64, hart, ram, clock)
        self._events: list[Event] = []
        self._accesses: list[Access] = []
        self._written: dict[str, int] = {}
        self._places: list[tuple[int, int, int]] = []  # of atomic accesses: place, size, va
        offset = hart.layout.offset
        self._csrs = [(name, offset[name] // 8) for name in SHOWN if name in offset]

    def take(self) -> list[Event]:
        """What happened since the last time."""
        events, self._events = self._events, []
        return events

    # -- what the engine does, noted ------------------------------------------------------------

    def attempt(self, text: Callable[[], None]) -> str:
        hart = self.hart
        pc, priv = hart["pc"], hart["priv"]
        self._accesses, self._places, self._written = [], [], {}
        before = [hart.words[at] for _, at in self._csrs]
        out = super().attempt(text)
        if out == "trapped":
            cause = hart["cause"]
            word = 0 if cause & INTERRUPT else self.fetched
            self._events.append(Trap(pc, cause, hart["tval"], hart["pc"], hart["priv"], word))
        elif out == "left":
            self._events.append(HostCall(pc, priv, hart["cause"], self.fetched))
        elif text == self.fetch_and_execute:
            for (name, at), old in zip(self._csrs, before, strict=True):
                if hart.words[at] != old:
                    self._written[name] = int(BY_NAME[name].value(self))
            accesses = tuple(self._accesses)
            self._events.append(Instruction(pc, priv, self.fetched, self._written, accesses))
        return out

    def fetch_and_execute(self) -> None:
        self.fetched = 0
        super().fetch_and_execute()

    def commit(self) -> None:
        for (file, i), value in self.registers.items():
            if file == "f" or i:
                self._written[(X if file == "x" else F)[i]] = value
        super().commit()

    # -- accesses -------------------------------------------------------------------------------

    def load(self, va: Bits, size: int) -> Bits:
        value = super().load(va, size)
        if self.live:
            self._accesses.append(Access(int(va), size, int(value), stored=False))
        return value

    def store(self, va: Bits, size: int, v: Bits) -> None:
        super().store(va, size, v)
        if self.live:
            self._accesses.append(Access(int(va), size, int(v), stored=True))

    def place(self, va: Bits, size: int, access: str) -> Bits:
        place = super().place(va, size, access)
        if self.live:
            self._places.append((int(place), size, int(va)))
        return place

    def peek(self, place: Bits, size: int) -> Bits:
        value = super().peek(place, size)
        self._note(int(place), size, int(value), stored=False)
        return value

    def poke(self, place: Bits, size: int, v: Bits) -> None:
        super().poke(place, size, v)
        self._note(int(place), size, int(v), stored=True)

    def swap(self, place: Bits, size: int, old: Bits, new: Bits) -> Bits:
        count = len(self._accesses)
        same = super().swap(place, size, old, new)
        # A store-conditional stores, or does nothing: what it compares with is no load.
        self._accesses[count:] = [each for each in self._accesses[count:] if each.stored]
        return same

    def _note(self, at: int, size: int, value: int, stored: bool) -> None:
        """What is done to a place that an instruction asked for; walks ask for none."""
        if self.live:
            for place, length, va in self._places:
                if place <= at < place + length:
                    self._accesses.append(Access(va + at - place, size, value, stored))
