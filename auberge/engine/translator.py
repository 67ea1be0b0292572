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
from auberge.engine.region_file import RegionFile
from auberge.engine.state import CAUSES, SAMPLES, HartState
from auberge.engine.workshop import Order, Workshop
from auberge.memory.arena import Arena
from auberge.memory.ram import PAGE, Ram

ARENA = 64 << 20  # bytes of translated code
REST = 10.0  # seconds at least that an arena serves, also if what is hot never fits into one
HEAT = 3  # samples at one place that make it hot
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
        self.workshop, self.file, self.heat, self.waits = workshop, file, heat, waits
        self.arena, self.began, self.rest = Arena(ARENA), time.monotonic(), REST
        self.known: dict[bytes, dict[int, int]] = {}  # digest of a page -> entry -> address
        self.asked: set[Order] = set()
        self.news: list[tuple[Order, int]] = []
        self.lock = threading.Lock()
        self.regions = self.instructions = self.loaded = self.dropped = 0

    def collect(self) -> None:
        """Take over what the workshop has done."""
        for order, code, count in self.workshop.done(self.waits):
            if code:
                self.add(order, code, count)
                if self.file is not None:
                    self.file.keep(order.digest, order.entry, count, code)

    def of(self, digest: bytes) -> dict[int, int]:
        """The regions of a page: entry and address of each; also those that the file has."""
        if self.file is not None and digest in self.file.index:
            for entry, count, code in self.file.regions(digest):
                order = Order(digest, entry)
                if order not in self.asked:
                    self.asked.add(order)
                    self.loaded += 1
                    self.add(order, code, count)
        return self.known.get(digest, {})

    def add(self, order: Order, code: bytes, instructions: int) -> None:
        """A region that can be installed from now on."""
        address = self._place(code)
        if address is None:
            return
        self.known.setdefault(order.digest, {})[order.entry] = address
        self.news.append((order, address))
        self.regions += 1
        self.instructions += instructions

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
        self.dropped += 1
        if self.file is not None:
            self.file.look_again()

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
        self._heat: dict[Order, int] = {}
        self._digests: dict[int, bytes] = {}  # of pages of records
        self._pages: dict[bytes, set[int]] = {}
        self._news = 0
        self._arena = translations.arena  # what installed regions are in
        self.installed = 0
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
        digest = blake2b(ctypes.string_at(page + SNAPSHOT, PAGE), digest_size=16).digest()
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
        for record in self._samples[:count]:
            page = record & -PAGE_OF_RECORDS
            digest = self._digests.get(page)
            if digest is not None:
                order = Order(digest, (record - page) // 8)
                self._heat[order] = self._heat.get(order, 0) + 1
        works = self.translations
        with works.lock:
            works.collect()
            self._place_orders()
            if works.waits:
                works.collect()
            if self._arena is works.arena:
                self._install_news()

    def _place_orders(self) -> None:
        works = self.translations
        if len(self._heat) > MOST_PLACES:
            self._heat.clear()
        if len(works.asked) > MOST_PLACES:
            return
        hot = [o for o, n in self._heat.items() if n >= works.heat]
        hot.sort(key=lambda o: -self._heat[o])
        for order in hot:
            if order in works.asked:
                del self._heat[order]
                continue
            if not works.workshop.is_free:
                break
            del self._heat[order]
            pages = self._pages.get(order.digest)
            if pages:
                works.asked.add(order)
                page = next(iter(pages))
                others = works.known.get(order.digest, {})
                works.workshop.order(order, others, ctypes.string_at(page + SNAPSHOT, PAGE))

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
