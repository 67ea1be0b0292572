"""An engine for tests: the translator as it is, at a heat threshold of 1, while the guest waits.

What is hot once is a region from then on: which ones there are depends on the guest alone, not on
time. They are compiled in this process, each once, however many tests come to the same code.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property, lru_cache
from weakref import WeakKeyDictionary

from auberge.engine import choose
from auberge.engine.cache import load
from auberge.engine.clock import INSTRUCTIONS, Clock
from auberge.engine.interpreter import Library
from auberge.engine.region_record import Region
from auberge.engine.state import HartState
from auberge.engine.translations import Translations
from auberge.engine.translator import Translator
from auberge.engine.workshop import QUICK, Made, Order, Workshop
from auberge.memory.ram import Ram
from tests.engine.regions import compiler

NAME = "eager"
ENGINES = ("reference", "interpreter", NAME)
CLOSE = 80  # instructions of a slice at most, where a region may be longer than what is left


@lru_cache(maxsize=8192)
def compiled(page: bytes, entry: int, others: frozenset[int], level: int) -> Region:
    code, count, neighbours = compiler().compile(page, entry, others, level) or (b"", 0, [])
    return Region(entry, count, code, level, tuple(neighbours))


class Bench(Workshop):
    """Compiles at once."""

    def __init__(self) -> None:
        super().__init__(("-c", "raise SystemExit('not this one')"))
        self._made: list[Made] = []

    def order(self, order: Order, others: Collection[int], page: bytes, level: int = QUICK) -> None:
        region = compiled(page, order.entry, frozenset(others), level)
        self._made.append(Made(order.digest, region))

    def done(self, wait: bool = False) -> list[Made]:
        made, self._made = self._made, []
        return made


class Eager:
    """Makes such engines; the harts of one machine share what was translated, as they do."""

    name = NAME

    def __init__(self, heat: int = 1) -> None:
        self.heat = heat
        self._of: WeakKeyDictionary[Ram, Translations] = WeakKeyDictionary()

    @cached_property
    def library(self) -> Library:
        return Library(load())

    @property
    def isa_string(self) -> str:
        return self.library.entry.isa_string

    def hart(self, hartid: int) -> HartState:
        return HartState(self.library.layout, self.library.entry.reset, hartid)

    def engine(self, hart: HartState, ram: Ram, clock: Clock) -> Translator:
        if ram not in self._of:
            self._of[ram] = Translations(Bench(), None, self.heat, waits=True)
        engine = Translator(self.library, self._of[ram], hart, ram, clock)
        if clock.kind == INSTRUCTIONS:
            hart["longest"] = CLOSE
        return engine


choose.add(Eager())
