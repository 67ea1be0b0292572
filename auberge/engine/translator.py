"""The translator: the interpreter, and native code of their own for the regions where it is hot.

A region is installed as the handler of the record that it begins with. So everything that leads to
that record leads to it, nothing has to be linked or found again when it goes, and what the records
know of code that changes holds for regions too.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from hashlib import blake2b

from auberge.engine import exits
from auberge.engine.clock import Clock
from auberge.engine.exits import Exit
from auberge.engine.interpreter import Interpreter, Library
from auberge.engine.records import PAGE_OF_RECORDS, SNAPSHOT
from auberge.engine.region_file import Region, RegionFile
from auberge.engine.state import CAUSES, SAMPLES, HartState
from auberge.engine.workshop import QUICK, WELL, Left, Order, Workshop
from auberge.memory.arena import Arena
from auberge.memory.ram import PAGE, Ram

ARENA = 64 << 20  # bytes of translated code
REST = 10.0  # seconds at least that an arena serves, also if what is hot never fits into one
HEAT = 3  # samples at one place that make it hot
AGAIN = 40  # samples in a region that make it worth better code
MOST_PAGES = 2048  # of code that is sampled, of which a copy is kept
MOST_LEFT = 1000  # places that are left to be compiled when we end
PAUSE = 0.1  # seconds between two looks at neighbours, and at what other processes have compiled
MOST_PLACES = 1 << 16  # whose heat is remembered, or that were asked for
# Constants of a region are found by the distance of pages on AArch64.
ALIGN = 64 if os.uname().machine == "x86_64" else PAGE
# Instructions of a slice, where each sample is looked at. The shortest (`access.SCATTERED`) must be
# longer than any way through a region (`explore.LIMIT`), or the region would wait for ever.
SHORT = 192


class Translations:
    """The regions that all harts of a process share, by the code that they were made from.

    With `waits`, as for tests, slices are short, each sample is looked at, and the guest stands
    still while a region is compiled: what is translated does not depend on time.

    When `arena` is full, all regions are dropped and another takes its place. A hart's records may
    lead into the old one until it has forgotten them: it holds on to that arena as long, and the
    memory goes with the last that does. So nobody waits for a hart that sleeps or was stopped, and
    there are at most as many arenas as harts, and one.
    """

    def __init__(
        self, workshop: Workshop, file: RegionFile | None, heat: int = HEAT, waits: bool = False
    ) -> None:
        self.workshop, self.file, self.least, self.waits = workshop, file, heat, waits
        self.again = heat * AGAIN // HEAT
        self.arena, self.began, self.rest = Arena(ARENA), time.monotonic(), REST
        self.known: dict[bytes, dict[int, int]] = {}  # digest of a page -> entry -> address
        self.asked: dict[Order, int] = {}  # and at which level
        self.heat: dict[Order, int] = {}  # samples
        self.warmth: dict[Order, int] = {}  # samples in regions
        self.pages: dict[bytes, bytes] = {}  # where samples were, by their digests
        self.near: dict[bytes, set[int]] = {}  # neighbours of what was compiled, by their pages
        self._met: set[bytes] = set()
        self._looked = 0.0
        self.news: list[tuple[Order, int]] = []
        self.lock = threading.Lock()
        self.regions = self.instructions = self.loaded = self.dropped = 0

    def collect(self) -> None:
        """Take over what the workshop has done, and what other processes have."""
        for digest, region in self.workshop.done(self.waits):
            if region.code:
                self.add(digest, region)
                if self.file is not None:
                    self.file.keep(digest, region)
            else:
                self.note_neighbours(digest, region)
        if self.file is not None and time.monotonic() - self._looked > PAUSE:
            self._looked = time.monotonic()
            for digest in self.file.news():
                if digest in self._met:
                    self.of(digest)

    def of(self, digest: bytes) -> dict[int, int]:
        """The regions of a page: entry and address of each; also those that the file has."""
        self._met.add(digest)
        if self.file is not None and digest in self.file.index:
            for region in self.file.regions(digest):
                order = Order(digest, region.entry)
                if self.asked.get(order, 0) < region.level:
                    self.asked[order] = region.level
                    self.loaded += 1
                    self.add(digest, region)
        return self.known.get(digest, {})

    def add(self, digest: bytes, region: Region) -> None:
        """A region that can be installed from now on."""
        address = self._place(region.code)
        if address is None:
            return
        self.known.setdefault(digest, {})[region.entry] = address
        self.news.append((Order(digest, region.entry), address))
        self.regions += 1
        self.instructions += region.instructions
        self.note_neighbours(digest, region)

    def note_neighbours(self, digest: bytes, region: Region) -> None:
        """They are hot, once they have been executed."""
        if len(self.near) < MOST_PLACES:
            for entry in region.neighbours:
                order = Order(digest, entry)
                is_one = 0 <= entry < PAGE and not entry & 1
                if is_one and order not in self.asked:
                    self.near.setdefault(digest, set()).add(entry)

    def _place(self, code: bytes) -> int | None:
        """Where the arena has it now; None, if it is full and another must wait, or cannot be."""
        try:
            return self.arena.add(code, ALIGN)
        except MemoryError:
            if time.monotonic() - self.began < self.rest:
                return None
            try:
                self._begin_anew()
                return self.arena.add(code, ALIGN)
            except (MemoryError, OSError):
                return None

    def _begin_anew(self) -> None:
        """Drop all regions: what is hot comes back, from the file or from the workshop."""
        self.arena, self.began = Arena(self.arena.size), time.monotonic()
        self.known, self.news = {}, []
        self.asked.clear()
        self._met.clear()
        self.near.clear()
        self.dropped += 1
        if self.file is not None:
            self.file.look_again()

    def left(self) -> Left | None:
        """What is hot and was not compiled, now that we end; the hottest first."""
        if self.file is None:
            return None
        with self.lock:
            self.collect()
            places = dict.fromkeys((order for order, _ in self.workshop.open), self.again)
            places |= {o: n for o, n in self.heat.items() if n > 1 and o not in self.asked}
            orders = sorted(places, key=lambda o: -places[o])[:MOST_LEFT]
            tasks = [
                (o.digest, o.entry, self.entries(o.digest))
                for o in orders
                if o.digest in self.pages
            ]
            pages = {digest: self.pages[digest] for digest, _, _ in tasks}
        return Left(self.file.path, pages, tasks) if tasks else None

    def entries(self, digest: bytes) -> list[int]:
        """Where regions of a page begin."""
        return list(self.known.get(digest, {}))

    def place_orders(self) -> None:
        """Ask for what is hot, then for better code where regions are, as the workshop can do."""
        if len(self.heat) > MOST_PLACES:
            self.heat.clear()
        if len(self.pages) > MOST_PAGES:
            self.pages.clear()
        if len(self.asked) > MOST_PLACES or not self.workshop.is_free:
            return
        hot = {o: n for o, n in self.heat.items() if n >= self.least}
        warm = {o: n for o, n in self.warmth.items() if n >= self.again}
        for level, places, counts in (QUICK, hot, self.heat), (WELL, warm, self.warmth):
            for order in sorted(places, key=lambda o: -places[o]):
                if self.asked.get(order, 0) < level:
                    if not self.workshop.is_free:
                        return
                    page = self.pages.get(order.digest)
                    if page is not None:
                        self.asked[order] = level
                        self.workshop.order(order, self.entries(order.digest), page, level)
                del counts[order]

    def statistics(self) -> dict[str, int]:
        """What was counted for all harts together."""
        return {
            "regions": self.regions,
            "regions_loaded": self.loaded,
            "regions_lost": self.workshop.lost,
            "regions_dropped": self.dropped,
            "region_instructions": self.instructions,
            "region_bytes": self.arena.used,
            "compiler_cpu_ms": round(1000 * self.workshop.cpu_seconds()),
            "compiler_wall_ms": round(1000 * self.workshop.wall),
        }


def digest_of(page: bytes) -> bytes:
    """What a page of code is known by."""
    return blake2b(page, digest_size=16).digest()


class Translator(Interpreter):
    """An engine, as the interpreter is, with regions installed among its records."""

    def __init__(
        self,
        library: Library,
        translations: Translations,
        hart: HartState,
        ram: Ram,
        clock: Clock,
    ) -> None:
        super().__init__(library, hart, ram, clock)
        self.translations = translations
        self._digests: dict[int, bytes] = {}  # of pages of records
        self._pages: dict[bytes, set[int]] = {}
        self._news = 0
        self._arena = translations.arena  # what installed regions are in
        self.installed = 0
        self._looked = 0.0
        self._samples = (ctypes.c_uint64 * SAMPLES)()
        hart["samples"] = ctypes.addressof(self._samples)
        hart["sampled"], hart["samples_wanted"], hart["reports_code"] = 0, SAMPLES, 1
        if translations.waits:
            hart["longest"], hart["samples_wanted"] = SHORT, 1

    def _other(self, code: int, left: int) -> tuple[Exit | None, int]:
        if self._arena is not self.translations.arena:
            self._begin_anew()
        elif code == exits.NEW_CODE:
            self._meet(self.hart["exit_address"])
        if code == exits.NEW_CODE:
            return None, left
        if code == exits.SAMPLED:
            self._look()
            return None, left
        return super()._other(code, left)

    # -- pages of code --------------------------------------------------------------------------
    def _meet(self, page: int) -> None:
        """A page of records has begun: note what code it is of, install what is known of that."""
        digest = digest_of(ctypes.string_at(page + SNAPSHOT, PAGE))
        old = self._digests.get(page)
        if old is not None:
            self._pages[old].discard(page)
        self._digests[page] = digest
        self._pages.setdefault(digest, set()).add(page)
        works = self.translations
        with works.lock:
            regions = works.of(digest)
            if self._arena is works.arena:  # else we begin anew, with the next exit
                for entry, address in regions.items():
                    self._install(page, entry, address)

    def _install(self, page: int, entry: int, address: int) -> None:
        if not self.hart["breakpoint_count"]:  # a region would pass over them
            ctypes.c_uint64.from_address(page + 8 * entry).value = address
            self.installed += 1

    def forget_code(self) -> None:
        super().forget_code()
        self._digests.clear()
        self._pages.clear()

    def _begin_anew(self) -> None:
        """Let go of regions that were dropped: no record leads to one from here on."""
        self.forget_code()
        self._arena, self._news = self.translations.arena, 0

    # -- heat -----------------------------------------------------------------------------------
    def _look(self) -> None:
        """Count what was sampled, ask for what is hot, and install what has been compiled."""
        count, self.hart["sampled"] = self.hart["sampled"], 0
        works = self.translations
        with works.lock:
            for record in self._samples[:count]:
                page = record & -PAGE_OF_RECORDS
                digest = self._digests.get(page)
                if digest is not None:
                    order = Order(digest, (record - page) // 8)
                    if digest not in works.pages:
                        works.pages[digest] = ctypes.string_at(page + SNAPSHOT, PAGE)
                    counts = works.warmth if record & 1 else works.heat
                    counts[order] = counts.get(order, 0) + 1
            works.collect()
            if works.waits or time.monotonic() - self._looked > PAUSE:
                self._looked = time.monotonic()
                self._look_at_neighbours()
            works.place_orders()
            if works.waits:
                works.collect()
            if self._arena is works.arena:
                self._install_news()

    def _look_at_neighbours(self) -> None:
        """Those that have been executed are hot."""
        works, undecoded = self.translations, self.library.undecoded
        for digest, entries in works.near.items():
            pages = self._pages.get(digest)
            page = next(iter(pages)) if pages else 0
            for entry in list(entries) if page else ():
                if ctypes.c_uint64.from_address(page + 8 * entry).value != undecoded:
                    entries.discard(entry)
                    order = Order(digest, entry)
                    if order not in works.asked:
                        works.heat[order] = max(works.least, works.heat.get(order, 0))
                        if digest not in works.pages:
                            works.pages[digest] = ctypes.string_at(page + SNAPSHOT, PAGE)

    def _install_news(self) -> None:
        news = self.translations.news
        while self._news < len(news):
            order, address = news[self._news]
            self._news += 1
            for page in self._pages.get(order.digest, ()):
                self._install(page, order.entry, address)

    def statistics(self) -> dict[str, int]:
        """What this engine counted since it was made."""
        return super().statistics() | {
            **self.translations.statistics(),
            "regions_installed": self.installed,
            "slices": self.hart["slices"],
            "slices_in_regions": self.hart["cold_slices"],
            **{f"exits_{cause}": self.hart[f"exits_{cause}"] for cause in CAUSES},
        }
