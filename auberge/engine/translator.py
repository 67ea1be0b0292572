"""The translator: the interpreter, and native code of their own for the regions where it is hot.

A region is installed as the handler of the record that it begins with. So everything that leads to
that record leads to it, nothing has to be linked or found again when it goes, and what the records
know of code that changes holds for regions too.
"""

from __future__ import annotations

import ctypes
import time
from collections import Counter

from auberge.engine import exits
from auberge.engine.clock import Clock
from auberge.engine.exits import Exit
from auberge.engine.interpreter import Interpreter, Library
from auberge.engine.records import PAGE_OF_RECORDS, SNAPSHOT
from auberge.engine.region_record import digest_of
from auberge.engine.state import CAUSES, SAMPLES, HartState
from auberge.engine.translations import PAUSE, Translations
from auberge.engine.workshop import QUICK, WELL, Order
from auberge.memory.ram import PAGE, Ram

LOOKED_AT = 2048  # neighbours of regions in one look: half a millisecond, ten times a second

# A look at the samples takes some 100 us; what is hot, or has been compiled, waits for the next.
LEAST = 64  # samples of a look; at most SAMPLES
BUSY, QUIET = 0.006, 0.012  # seconds between two, while the compiler is at work, and otherwise
SOON = 1e-6  # seconds: by the clock there may be none at all

# Instructions of a slice, where each sample is looked at. The shortest (`access.SCATTERED`) must be
# longer than any way through a region (`explore.LIMIT`), or the region would wait for ever.
SHORT = 192


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
        self._looked = self._neighbours_seen = 0.0  # when, by the monotonic clock
        self._samples = (ctypes.c_uint64 * (SAMPLES + 1))()  # the last two come together
        hart["samples"] = ctypes.addressof(self._samples)
        hart["sampled"], hart["reports_code"] = 0, 1
        self._sample(LEAST, SAMPLES)
        if translations.waits:
            hart["longest"] = SHORT
            self._sample(1, 1)

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
        self._dropped(page)
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

    def _dropped(self, page: int) -> None:
        digest = self._digests.pop(page, None)
        if digest is not None:
            pages = self._pages[digest]
            pages.discard(page)
            if not pages:
                del self._pages[digest]

    def _begin_anew(self) -> None:
        """Let go of regions that were dropped: no record leads to one from here on."""
        self.forget_code()
        self._arena, self._news = self.translations.arena, 0

    # -- heat -----------------------------------------------------------------------------------
    def _sample(self, least: int, most: int) -> None:
        """Have so many samples looked at together, at least and at most."""
        self._least = self.hart["samples_wanted"] = least
        self._most = most

    def _look(self) -> None:
        """Count what was sampled, ask for what is hot, and install what has been compiled."""
        count, self.hart["sampled"] = self.hart["sampled"], 0
        works = self.translations
        with works.lock:
            # Few places, sampled often: counted one by one they took a tenth of the guest's time.
            for record, samples in Counter(self._samples[:count]).items():
                page = record & -PAGE_OF_RECORDS
                level = WELL if record & 1 else QUICK
                self._count(page, (record - page) // 8, level, samples)
            works.collect()
            now = time.monotonic()
            if works.waits or now - self._neighbours_seen > PAUSE:
                self._neighbours_seen = now
                self._look_at_neighbours()
            works.place_orders()
            if works.waits:
                works.collect()
            if self._arena is works.arena:
                self._install_news()
        pause = BUSY if works.workshop.open else QUIET
        wanted = int(count * pause / max(now - self._looked, SOON))
        self.hart["samples_wanted"] = min(max(wanted, self._least), self._most)
        self._looked = now

    def _count(self, page: int, entry: int, level: int, samples: int) -> None:
        """Note samples of a place in a page of records."""
        works, digest = self.translations, self._digests.get(page)
        if digest is not None and works.wants(order := Order(digest, entry), level):
            works.heat.count(order, level, samples)
            if digest not in works.heat.pages:
                works.heat.pages[digest] = ctypes.string_at(page + SNAPSHOT, PAGE)

    def _look_at_neighbours(self) -> None:
        """Those that have been executed are hot. However old the guest is, it takes as long."""
        heat, undecoded = self.translations.heat, self.library.undecoded
        for digest, entries in heat.some_near(LOOKED_AT):
            for page in list(self._pages.get(digest, ()))[:1]:
                for entry in list(entries):
                    if ctypes.c_uint64.from_address(page + 8 * entry).value != undecoded:
                        entries.discard(entry)
                        self._count(page, entry, QUICK, heat.enough[QUICK])

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
