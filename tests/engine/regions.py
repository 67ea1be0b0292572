"""Engines for tests: the translator, with regions in each page it meets, hot or not.

They are compiled in this process while the guest waits. `regions` has them at random entries, small
ones and large ones, so that any instruction of a test may be the first of a region, in its middle,
or behind it; `alone` has one for each of a page's first instructions, and nothing else in it.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from auberge.engine import choose
from auberge.engine.cache import load
from auberge.engine.clock import Clock
from auberge.engine.interpreter import Library
from auberge.engine.records import SNAPSHOT
from auberge.engine.region_record import Region
from auberge.engine.state import HartState
from auberge.engine.translations import Translations
from auberge.engine.translator import Translator
from auberge.engine.workshop import QUICK, WELL, Workshop
from auberge.memory.ram import PAGE, Ram

if TYPE_CHECKING:
    from auberge.engine.compiler import Regions

NAME, ALONE = "regions", "alone"
MOST = 12  # regions of a page
LIMITS = (1, 2, 5, 12, 40, 128)
FIRST = range(0, 12, 4)  # entries of a page that tests of single instructions execute


@lru_cache(maxsize=1)
def compiler() -> Regions:
    from auberge.engine.compiler import Regions  # LLVM, which some tests must not see
    from auberge.engine.host import Host

    return Regions(Host.ours())


@lru_cache(maxsize=4096)
def compiled(page: bytes, entry: int, limit: int, level: int) -> Region | None:
    made = compiler().compile(page, entry, level=level, limit=limit)
    return None if made is None else Region(entry, made[1], made[0], level)


class Everywhere(Translator):
    """A translator that waits for no heat."""

    def _meet(self, page: int) -> None:
        super()._meet(page)
        for region in self.regions(ctypes.string_at(page + SNAPSHOT, PAGE)):
            if region is not None:
                digest = self._digests[page]
                self.translations.add(digest, region)
                self._install(page, region.entry, self.translations.known[digest][region.entry])

    def regions(self, code: bytes) -> Iterator[Region | None]:
        """Those of a page of code."""
        r = random.Random(code)
        used = [at for at in range(0, PAGE, 2) if code[at : at + 2] != bytes(2)]
        for entry in r.sample(used, min(MOST, len(used))):
            yield compiled(code, entry, r.choice(LIMITS), r.choice((QUICK, WELL)))


class Alone(Everywhere):
    """Such a translator of single instructions."""

    def regions(self, code: bytes) -> Iterator[Region | None]:
        for entry in FIRST:
            # What else is in the page makes no difference to one instruction.
            yield compiled(
                bytes(entry) + code[entry : entry + 4].ljust(PAGE - entry), entry, 1, QUICK
            )


class Everywheres:
    """Makes such engines; each has translations of its own."""

    def __init__(self, name: str, engine: type[Everywhere]) -> None:
        self.name, self._engine = name, engine

    @cached_property
    def library(self) -> Library:
        return Library(load())

    @property
    def isa_string(self) -> str:
        return self.library.entry.isa_string

    def hart(self, hartid: int) -> HartState:
        return HartState(self.library.layout, self.library.entry.reset, hartid)

    def engine(self, hart: HartState, ram: Ram, clock: Clock) -> Everywhere:
        return self._engine(self.library, Translations(Workshop(), None), hart, ram, clock)


choose.add(Everywheres(NAME, Everywhere))
choose.add(Everywheres(ALONE, Alone))
