"""Which engine, and harts for it: the one place that knows them all by name."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Protocol

from auberge.engine.clock import Clock
from auberge.engine.exits import Exit, Watch
from auberge.engine.state import HartState, Layout
from auberge.memory.ram import Ram
from auberge.refusal import Refusal

NAMES = ("auto", "interpreter", "reference", "translator")


class Engine(Protocol):
    """What runs a hart: interchangeable with any other, in the middle of a run."""

    hart: HartState

    def run(self, budget: int) -> Exit:
        """Retire at most `budget` instructions (exactly, if it is `Spent`); say why it stopped."""

    def resume(self, value: int | None) -> None:
        """Answer the device access that `run` came back with; None means an access fault."""

    def request_stop(self) -> None:
        """From any thread: have `run` come back with `Stopped`, soon."""

    def debug(self, breakpoints: Collection[int], watches: Sequence[Watch]) -> None:
        """Have `run` come back before an instruction at one of the addresses, or that accesses one
        of the ranges, which are at most `state.WATCHES`; this replaces what was said before.

        Nothing is slower that is not near: an instruction as far into its page as a breakpoint is,
        and, while anything is watched, each access to memory.
        """

    def statistics(self) -> dict[str, int]:
        """What this engine counted since it was made."""


class Kind(Protocol):
    """A kind of engine: makes harts, and engines to run them."""

    name: str
    isa_string: str

    def hart(self, hartid: int) -> HartState:
        """A hart that has just been reset, in machine mode; pc is 0."""

    def engine(self, hart: HartState, ram: Ram, clock: Clock) -> Engine:
        """An engine over this hart. One at a time runs a hart."""


class _Reference:
    name = "reference"

    def __init__(self) -> None:
        from auberge.engine.describe import layout_of, reset_of
        from auberge.isa.riscv.rv64 import rv64

        self._isa, self._layout, self._reset = rv64, layout_of(rv64), reset_of(rv64)
        self.isa_string = rv64.isa_string()

    def hart(self, hartid: int) -> HartState:
        return HartState(self._layout, self._reset, hartid)

    def engine(self, hart: HartState, ram: Ram, clock: Clock) -> Engine:
        from auberge.engine.reference import Reference

        return Reference(self._isa, hart, ram, clock)


class _Interpreter:
    """Imports nothing of the ISA: what it needs is in the cache, beside the code."""

    name = "interpreter"

    def __init__(self) -> None:
        from auberge.engine import cache
        from auberge.engine.interpreter import Library

        self._library = Library(cache.load())
        self._layout: Layout = self._library.layout
        self.isa_string = self._library.entry.isa_string

    def hart(self, hartid: int) -> HartState:
        return HartState(self._layout, self._library.entry.reset, hartid)

    def engine(self, hart: HartState, ram: Ram, clock: Clock) -> Engine:
        from auberge.engine.interpreter import Interpreter

        return Interpreter(self._library, hart, ram, clock)


class _Translator(_Interpreter):
    name = "translator"

    def __init__(self) -> None:
        from auberge.engine import cache
        from auberge.engine.code_folder import REGIONS
        from auberge.engine.region_file import RegionFile
        from auberge.engine.translations import Translations
        from auberge.engine.workshop import Workshop

        super().__init__()
        file = RegionFile(os.path.join(cache.folder(), f"{REGIONS}-{cache.key()}"))
        self.translations = Translations(Workshop(), file)
        self.translations.workshop.left = self.translations.left
        os.register_at_fork(after_in_child=self.translations.forked)

    def engine(self, hart: HartState, ram: Ram, clock: Clock) -> Engine:
        from auberge.engine.translator import Translator

        return Translator(self._library, self.translations, hart, ram, clock)


_made: dict[str, Kind] = {}


def add(kind: Kind) -> None:
    """Have `choose` know another kind of engine, by its name."""
    _made[kind.name] = kind


def choose(name: str) -> Kind:
    """The kind of engine of that name; `auto` is the fastest that works here. Raises Refusal."""
    name = "translator" if name == "auto" else name
    if name not in _made:
        if name not in NAMES:
            names = ", ".join(NAMES)
            raise Refusal(f"--engine {name}: there is no such engine; it is one of {names}")
        kinds = {k.name: k for k in (_Reference, _Interpreter, _Translator)}
        _made[name] = kinds[name]()
    return _made[name]
