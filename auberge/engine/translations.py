"""The regions that all harts of a process share, and what of the guest's code they ask for next."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from auberge.engine.heat import Heat
from auberge.engine.region_file import RegionFile
from auberge.engine.region_record import Region
from auberge.engine.workshop import QUICK, WELL, Left, Order, Workshop
from auberge.memory.arena import Arena
from auberge.memory.ram import PAGE

ARENA = 64 << 20  # bytes of translated code
REST = 10.0  # seconds at least that an arena serves, also if what is hot never fits into one
HEAT = 3  # samples at one place that make it hot
MOST_ASKED = 1 << 16  # places, before nobody asks for more
MOST_LEFT = 1000  # places that are left to be compiled when we end
PAUSE = 0.1  # seconds between two looks at what other processes have compiled
# Constants of a region are found by the distance of pages on AArch64.
ALIGN = 64 if os.uname().machine == "x86_64" else PAGE


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
        self.workshop, self.file, self.heat, self.waits = workshop, file, Heat(heat), waits
        self.arena, self.began, self.rest = Arena(ARENA), time.monotonic(), REST
        self.known: dict[bytes, dict[int, int]] = {}  # digest of a page -> entry -> address
        self.asked: dict[Order, int] = {}  # and at which level
        self._met: set[bytes] = set()
        self._looked = 0.0
        self.news: list[tuple[Order, int]] = []
        self.lock = threading.Lock()
        self.regions = self.better = self.instructions = self.loaded = self.dropped = 0

    def collect(self) -> None:
        """Take over what the workshop has done, and what other processes have."""
        for order in self.workshop.take_dropped():
            self.asked.pop(order, None)
        for digest, region in self.workshop.done(self.waits):
            if not region.code:
                self.heat.note_neighbours(digest, region)
                continue
            if region.level >= self.asked.get(Order(digest, region.entry), 0):
                self.add(digest, region)  # else another process has made a better one since
            if self.file is not None:
                self.file.keep(digest, region)
        if self.file is not None and time.monotonic() - self._looked > PAUSE:
            self._looked = time.monotonic()
            for digest in self.file.news():
                if digest in self._met:
                    self.of(digest)

    def of(self, digest: bytes) -> dict[int, int]:
        """The regions of a page: entry and address of each; also those that the file has."""
        if len(self._met) > MOST_ASKED:
            self._met.clear()
        self._met.add(digest)
        if self.file is not None and self.file.has(digest):
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
        self.better += region.level == WELL
        self.instructions += region.instructions
        self.heat.note_neighbours(digest, region)

    def _place(self, code: bytes) -> int | None:
        """Where the arena has it now; None, if it is full and another must wait, or cannot be."""
        try:
            return self.arena.add(code, ALIGN)
        except OSError:
            return None
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
        self.heat.forget_neighbours()
        self.dropped += 1
        if self.file is not None:
            self.file.look_again()

    def forked(self) -> None:
        """In a forked child: share nothing that changes with our parent.

        Its arena stays as it is for what our records still lead to, and it goes on to fill it.
        """
        self.lock = threading.Lock()  # another thread of our parent's may have held it
        self.arena.used = self.arena.size  # if there is no other now: nothing of ours goes in
        with suppress(OSError):
            self._begin_anew()

    def close(self) -> None:
        """End the compiler's process, and close the file; what was translated stays."""
        self.workshop.close()
        if self.file is not None:
            self.file.close()

    def left(self) -> Left | None:
        """What is hot and was not compiled, now that we end; the hottest first."""
        if self.file is None or not self.file.keeps:
            return None
        with self.lock:
            self.collect()
            pages = self.heat.pages
            places = [order for order, _ in self.workshop.open]
            places += [order for order in self.heat.left(MOST_LEFT) if order not in self.asked]
            tasks = [
                (o.digest, o.entry, self.entries(o.digest)) for o in places if o.digest in pages
            ]
            used = {digest: pages[digest] for digest, _, _ in tasks}
        return Left(os.path.abspath(self.file.path), used, tasks) if tasks else None

    def entries(self, digest: bytes) -> list[int]:
        """Where regions of a page begin."""
        return list(self.known.get(digest, {}))

    def place_orders(self) -> None:
        """Ask for what is hottest, as much as the workshop can do now."""
        while self.workshop.is_free and len(self.asked) < MOST_ASKED:
            hottest = self.heat.hottest()
            if hottest is None:
                break
            order, level = hottest
            page = self.heat.pages.get(order.digest)
            if page is not None and self.asked.get(order, 0) < level:
                self.asked[order] = level
                # Good code is for whole loops, wherever else in them a region begins.
                others = self.entries(order.digest) if level == QUICK else ()
                self.workshop.order(order, others, page, level)

    def wants(self, order: Order, level: int) -> bool:
        """Whether samples of a place matter: nobody has asked for code of that level there."""
        possible = len(self.asked) < MOST_ASKED and not self.workshop.is_given_up
        return possible and self.asked.get(order, 0) < level

    def statistics(self) -> dict[str, int]:
        """What was counted for all harts together."""
        return {
            "regions": self.regions,
            "regions_loaded": self.loaded,
            "regions_better": self.better,
            "regions_lost": self.workshop.lost,
            "regions_dropped": self.dropped,
            "region_instructions": self.instructions,
            "region_bytes": self.arena.used,
            "compiler_cpu_ms": round(1000 * self.workshop.cpu_seconds()),
            "compiler_wall_ms": round(1000 * self.workshop.wall),
        }
