"""The translator for who looks at regions: it counts how often each is entered, and says so.

Its regions come from a compiler of their own (`explainer`) and are never kept on disk: ordinary
ones count nothing. A region that counts does so in its record, whose operands nobody reads as long
as a region is there.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import sys
from typing import NamedTuple

from auberge.engine import cache
from auberge.engine.clock import Clock
from auberge.engine.interpreter import Library
from auberge.engine.records import IMMEDIATE, PAGE_OF_RECORDS, SLOT
from auberge.engine.state import LONGEST_SLICE, HartState
from auberge.engine.translations import Translations
from auberge.engine.translator import SHORT, Translator
from auberge.engine.workshop import Order, Workshop
from auberge.memory.ram import PAGE, Ram
from auberge.refusal import Refusal

COUNT = IMMEDIATE  # where in its record a region counts
EXPLAINER = "auberge.engine.explainer"
LOOKS = 4096  # at where the guest is, during a run: at ends of slices


def note_name(digest: bytes, entry: int) -> str:
    """The file in which the explainer notes what a region was made from."""
    return f"{digest.hex()}-{entry}"


class Entered(NamedTuple):
    """A region, and how often it was entered; where it is, if it was seen to be executed."""

    order: Order
    times: int
    gva: int | None
    gpa: int | None


class Explained(NamedTuple):
    """A region, guest and host: offsets of its instructions in the page, LLVM text, assembly.

    Its level is `workshop.QUICK` or `workshop.WELL`.
    """

    page: bytes
    offsets: list[int]
    ir: str
    assembly: str
    level: int


class CountingTranslator(Translator):
    """A translator whose regions count; it looks at each sample, to know where it was taken."""

    def __init__(
        self,
        library: Library,
        translations: Translations,
        hart: HartState,
        ram: Ram,
        clock: Clock,
        pace: int,
    ) -> None:
        super().__init__(library, translations, hart, ram, clock)
        hart["longest"] = pace  # each sample is looked at: these translations wait
        self._past: dict[Order, int] = {}  # counted in records that are no more
        self._counted: dict[int, dict[int, Order]] = {}  # of pages of records: by entry
        self._gva: dict[bytes, int] = {}  # where pages of code were seen last
        self._gpa: dict[bytes, int] = {}

    def entered(self) -> dict[Order, int]:
        """How often each region was, until now."""
        total = dict(self._past)
        for page, orders in self._counted.items():
            for entry, order in orders.items():
                total[order] = total.get(order, 0) + _count(page, entry).value
        return total

    def begin(self) -> None:
        """Count from here on."""
        self._past.clear()
        for page, orders in self._counted.items():
            for entry in orders:
                _count(page, entry).value = 0

    def place(self, order: Order) -> tuple[int | None, int | None]:
        """The virtual and the physical address of a region, where that page was seen last."""
        bases = self._gva.get(order.digest), self._gpa.get(order.digest)
        gva, gpa = (None if base is None else base + order.entry for base in bases)
        return gva, gpa

    def _meet(self, page: int) -> None:
        self._leave(page)
        super()._meet(page)
        index = ctypes.c_uint64.from_address(page + SLOT).value - self.hart["code_pages"] >> 3
        self._gpa[self._digests[page]] = self.ram.base + index * PAGE

    def _look(self) -> None:
        here = self._samples[self.hart["sampled"] - 1]  # the last one is what comes next
        digest = self._digests.get(here & -PAGE_OF_RECORDS)
        if digest is not None:
            self._gva[digest] = self.hart["pc"] & -PAGE
        super()._look()

    def _install(self, page: int, entry: int, address: int) -> None:
        before = self.installed
        super()._install(page, entry, address)
        counted = self._counted.setdefault(page, {})
        if self.installed > before and entry not in counted:  # one in the place of another goes on
            _count(page, entry).value = 0
            counted[entry] = Order(self._digests[page], entry)

    def _leave(self, page: int) -> None:
        """Keep what was counted in a page of records that is about to be another's."""
        for entry, order in self._counted.pop(page, {}).items():
            self._past[order] = self._past.get(order, 0) + _count(page, entry).value

    def forget_code(self) -> None:
        for page in list(self._counted):
            self._leave(page)
        super().forget_code()


def _count(page: int, entry: int) -> ctypes.c_uint64:
    return ctypes.c_uint64.from_address(page + 8 * entry + COUNT)


class Counting:
    """The kind of such engines. Its notes are in `folder`, which the caller removes.

    The guest waits for what is compiled, and is looked at about `LOOKS` times in a run of
    so many instructions: so what is translated does not depend on time.
    """

    name = "counting"

    def __init__(self, folder: str, instructions: int) -> None:
        self.folder = folder
        self._library = Library(cache.load())
        self.isa_string = self._library.entry.isa_string
        self._pace = min(max(instructions // LOOKS, SHORT), LONGEST_SLICE)
        self._workshop = Workshop(("-P", "-m", EXPLAINER, folder))
        self._translations = Translations(self._workshop, None, waits=True)
        self.engines: list[CountingTranslator] = []

    def hart(self, hartid: int) -> HartState:
        return HartState(self._library.layout, self._library.entry.reset, hartid)

    def engine(self, hart: HartState, ram: Ram, clock: Clock) -> CountingTranslator:
        made = CountingTranslator(self._library, self._translations, hart, ram, clock, self._pace)
        self.engines.append(made)
        return made

    @property
    def lost(self) -> int:
        """How many regions are missing since the compiler crashed, or could not be started."""
        return self._workshop.lost

    def begin(self) -> None:
        """Count from here on. Not while a hart runs."""
        for engine in self.engines:
            engine.begin()

    def entered(self, hartid: int | None = None) -> list[Entered]:
        """The regions that were entered, by all harts or by one: most often entered first.

        Not while a hart runs.
        """
        total: dict[Order, int] = {}
        places: dict[Order, tuple[int | None, int | None]] = {}
        for engine in self.engines:
            if hartid in (None, engine.hart["mhartid"]):
                for order, times in engine.entered().items():
                    total[order] = total.get(order, 0) + times
                    places[order] = engine.place(order)
        found = [Entered(order, times, *places[order]) for order, times in total.items() if times]
        return sorted(found, key=lambda each: (-each.times, each.order))

    def explain(self, orders: list[Order]) -> list[Explained]:
        """What regions are made of. Raises Refusal."""
        if not orders:
            return []
        import subprocess

        notes: list[tuple[bytes, list[int], str, int]] = []
        for order in orders:
            with open(os.path.join(self.folder, note_name(*order)), "rb") as note:
                notes.append(marshal.load(note))
        done = subprocess.run(
            [sys.executable, "-P", "-m", EXPLAINER],
            input=marshal.dumps([(text, level) for _, _, text, level in notes]),
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        if done.returncode:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise Refusal(
                f"compiler: it ended with status {done.returncode} and said: {last}; report this"
            )
        shown: list[tuple[str, str]] = marshal.loads(done.stdout)
        return [
            Explained(page, offsets, self._with_names(ir), assembly, level)
            for (page, offsets, _, level), (ir, assembly) in zip(notes, shown, strict=True)
        ]

    def _with_names(self, ir: str) -> str:
        """LLVM text, with the name of each part of the state beside its offset."""
        layout = self._library.layout
        names = {at: name for name, at in layout.offset.items()}
        for file, start in (("x", layout.X), ("f", layout.F)):
            names |= {start + 8 * n: f"{file}{n}" for n in range(32)}
        lines = []
        for line in ir.splitlines():
            _, is_state, offset = line.partition("getelementptr i8, ptr %st, i64 ")
            name = names.get(int(offset)) if is_state and offset.isdecimal() else None
            lines.append(f"{line}  ; {name}" if name else line)
        return "\n".join(lines)

    def close(self) -> None:
        """End the compiler's process."""
        self._translations.close()
