"""Where the guest's code is hot, counted in samples, and which places are worth a region."""

from __future__ import annotations

from itertools import islice

from auberge.engine.region_record import Region
from auberge.engine.workshop import QUICK, WELL, Order
from auberge.memory.ram import PAGE

AGAIN = 13  # times as many samples as make a place hot, in a region, make it worth better code
MOST_PLACES = 1 << 16  # whose samples are counted
MOST_PAGES = 2048  # of code that was sampled, of which a copy is kept


class Heat:
    """Samples of places, by the level of code that they call for.

    A place is hot with `least` samples. So is what lies behind a hot region, once it has been
    executed: seldom does a slice end just there.
    """

    def __init__(self, least: int) -> None:
        self.enough = {QUICK: least, WELL: least * AGAIN}
        self.samples: dict[int, dict[Order, int]] = {QUICK: {}, WELL: {}}
        self.pages: dict[bytes, bytes] = {}  # where samples were, by their digests
        self.near: dict[bytes, set[int]] = {}  # behind regions, by page, and not executed so far
        self._hot: dict[int, set[Order]] = {QUICK: set(), WELL: set()}

    def count(self, order: Order, level: int, samples: int) -> None:
        """Note samples of a place; the copy of its page is the caller's to give."""
        counts = self.samples[level]
        if len(counts) > MOST_PLACES:
            counts.clear()
            self._hot[level].clear()
        if len(self.pages) > MOST_PAGES:
            self.pages.clear()
        counts[order] = n = counts.get(order, 0) + samples
        if n >= self.enough[level]:
            self._hot[level].add(order)

    def hottest(self) -> tuple[Order, int] | None:
        """Take the hottest place of those that are hot, and its level; None, if there is none.

        Samples of each level are compared by how many of it make a place hot. So good code for what
        a program does all the time does not wait for all that was done three times as it began.
        """
        of_levels = [
            (max(hot, key=self.samples[level].__getitem__), level)
            for level, hot in self._hot.items()
            if hot
        ]
        if not of_levels:
            return None
        order, level = hottest = max(of_levels, key=self._times_enough)
        self._hot[level].remove(order)
        del self.samples[level][order]
        return hottest

    def _times_enough(self, hot: tuple[Order, int]) -> float:
        order, level = hot
        return self.samples[level][order] / self.enough[level]

    def note_neighbours(self, digest: bytes, region: Region) -> None:
        """Remember what lies behind a region of a page."""
        if region.neighbours and len(self.near) < MOST_PLACES:
            inside = {n for n in region.neighbours if 0 <= n < PAGE and not n & 1}
            self.near.setdefault(digest, set()).update(inside)

    def some_near(self, most: int) -> list[tuple[bytes, set[int]]]:
        """Some pages with entries behind regions, of about `most` entries; another time, others.

        Who notes that one was executed takes it out of its set.
        """
        found: list[tuple[bytes, set[int]]] = []
        for digest in list(islice(self.near, most)):
            if most <= 0:
                break
            entries = self.near.pop(digest)
            if entries:
                self.near[digest] = entries  # the last now
                found.append((digest, entries))
                most -= len(entries)
        return found

    def forget_neighbours(self) -> None:
        """Their regions are gone."""
        self.near.clear()

    def left(self, most: int) -> list[Order]:
        """The hottest places of those that were sampled more than once, at most so many."""
        counts = self.samples[QUICK]
        places = [order for order, n in counts.items() if n > 1]
        return sorted(places, key=lambda o: -counts[o])[:most]
