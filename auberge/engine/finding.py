"""What a region knows of pages: those it has found, it need not look for again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from auberge.bits.bits import Bits
from auberge.engine.drift import Drift, near
from auberge.engine.explore import PAGE, Shape, Step
from auberge.engine.llvm_text import LIKELY, MEMORY, STATE
from auberge.engine.lowering import Context
from auberge.engine.paged import Paged
from auberge.engine.repeats import Near
from auberge.engine.spans import Span
from auberge.isa.hart import LOAD, STORE


class Found(NamedTuple):
    """A page of the guest, and what makes host addresses of those in it."""

    page: str
    addend: str
    span: Span = Span(0, 0)  # what is known to be in it, around what it was found by


def keep_name(register: str, access: str, loop: int) -> str:
    """What a page is kept as."""
    return f"{register}.{access}.{loop}"


class Finding(Paged):
    """A hart traced into text that leaves where an access needs more than a page of RAM.

    Subclasses say how, and which step is being traced; a block begins with nothing `found`.
    """

    def __init__(self, context: Context, shape: Shape) -> None:
        super().__init__(context)
        self.loops = [
            (loop, Drift.of_all(context.isa, (shape.steps[o] for o in loop if o in shape.steps)))
            for loop in shape.loops()
        ]
        self.before: dict[Bits, str] = {}  # what a register held when its block began: the register
        # Where the page that a register was last found in is kept, as `x5.load.64`: by which kind
        # of access, in the loop that begins at which offset.
        self.kept: set[str] = set()
        # Those of which something wider is asked: in how many places of the page that may begin,
        # once there is a page.
        self.rooms: dict[str, int] = {}
        self.step: Step
        # Before which instruction of a block to ask whether the rest of its accesses are in a page
        # that has been found, and what they span; and the label of those who ask in vain.
        self.asks: tuple[int, Span] | None = None
        self.narrow = ""
        self.found: dict[tuple[Bits, str], Found]  # of a block, by base and kind of access

    def way_out(self) -> str:
        """The label of what leaves before the instruction, which its record is to execute."""
        raise NotImplementedError

    def shared(self, f: str) -> str:
        """The address of a function that all engines' code shares, from the state."""
        return self.op(f"load ptr, ptr {self.at('f_' + f)}, {STATE}")

    def reach(self, va: Bits, access: str, size: int) -> str:
        """A pointer to an access that is in one page of RAM; what is not leaves.

        What was found may be used until the guest fences (Volume II, 4.2.1), which no region does.
        """
        if self.wrote:
            raise TypeError("an access that follows a memory write could trap, and not undo it")
        base, distance = near(va)
        at, key = self.low(va), (base, access)
        found = self.found.get(key)
        if found is None:
            register = self.before.get(base)
            loop = None if register is None else self.loop_of(register)
            if register is not None and loop is not None:
                found = self.keep(at, access, size, keep_name(register, access, loop))
            else:
                want = self.last_page(at, size)
                found = Found(want, self.addend(at, access, want))
            self.found[key], addend = found, found.addend
        elif found.span.low <= distance and distance + size <= found.span.high:
            addend = found.addend
        elif self.asks is not None and self.asks[0] == self.step.offset and not self.narrow:
            self.found[key], addend = self.ask(at, distance, found, self.asks[1]), found.addend
        else:
            inside = self.is_in(found.page, at, size)
            addend = self.either_addend(
                inside, found.addend, at, access, lambda: self.last_page(at, size)
            )
        return self.op(f"inttoptr i64 {self.op(f'add i64 {at}, {addend}')} to ptr")

    def is_in(self, page: str, at: str, size: int) -> str:
        """Whether all of `size` bytes are in a page."""
        offset = self.op(f"sub i64 {at}, {page}")
        return self.op(f"icmp ule i64 {offset}, {PAGE - size}")

    def ask(self, at: str, distance: int, found: Found, span: Span) -> Found:
        """Go on only if a whole span is in the page; `at` has that distance from what it is of."""
        low = self.op(f"add i64 {at}, {span.low - distance}")
        inside = self.is_in(found.page, low, span.width)
        self.narrow, wide = self.labels("narrow", "wide")
        self.do(f"br i1 {inside}, label %{wide}, label %{self.narrow}, {LIKELY}")
        self.start(wide)
        return found._replace(span=span)

    def loop_of(self, register: str) -> int | None:
        """Where the innermost loop begins, if that register only drifts in it; else None."""
        here = [(loop, others) for loop, others in self.loops if self.step.offset in loop]
        if not here:
            return None
        loop, others = min(here, key=lambda each: len(each[0]))
        return None if register in others else loop.start

    def keep(self, at: str, access: str, size: int, name: str) -> Found:
        """The page that was last found by a register, if it has this access; else that found now.

        Low address bits are part of what is compared: then it is in one page.
        """
        self.kept.add(name)
        other, done = self.labels("other", "kept")
        page, addend = (self.op(f"load i64, ptr %{v}.{name}.p") for v in ("page", "addend"))
        same = self.op(f"icmp eq i64 {self.op(f'and i64 {at}, {-PAGE | size - 1}')}, {page}")
        self.do(f"br i1 {same}, label %{done}, label %{other}, {LIKELY}")
        self.start(other)
        want = self.last_page(at, size)
        addend = self.addend(at, access, want)
        self.do(f"store i64 {want}, ptr %page.{name}.p")
        self.do(f"store i64 {addend}, ptr %addend.{name}.p")
        if name in self.rooms:
            self.do(f"store i64 {self.rooms[name]}, ptr %room.{name}.p")
        self.do(f"br label %{done}")
        self.start(done)
        page, addend = (self.op(f"load i64, ptr %{v}.{name}.p") for v in ("page", "addend"))
        return Found(page, addend)

    def found_near(self, near: Near, at: str, loop: int, otherwise: str) -> Found:
        """The page that the loop has found, if all that is near to `at` is in it; else go there."""
        name = keep_name(near.register, near.access, loop)
        page, addend, room = (
            self.op(f"load i64, ptr %{v}.{name}.p") for v in ("page", "addend", "room")
        )
        offset = self.op(f"sub i64 {self.op(f'add i64 {at}, {near.span.low}')}, {page}")
        inside = self.op(f"icmp ult i64 {offset}, {room}")  # no place, as long as there is no page
        (wide,) = self.labels("wide")
        self.do(f"br i1 {inside}, label %{wide}, label %{otherwise}, {LIKELY}")
        self.start(wide)
        return Found(page, addend, near.span)

    def addend(self, at: str, access: str, want: str) -> str:
        """What makes a host address of `at`: from the TLB, where it has the page `want`."""
        entry = self.tlb_entry("%tlb", at, access)
        tag = self.op(f"load i64, ptr {entry}, {STATE}")
        second = self.op(f"getelementptr i8, ptr {entry}, i64 8")
        addend = self.op(f"load i64, ptr {second}, {STATE}")
        same = self.op(f"icmp eq i64 {tag}, {want}")
        return self.either_addend(same, addend, at, access, lambda: want)

    def either_addend(
        self, good: str, addend: str, at: str, access: str, want: Callable[[], str]
    ) -> str:
        """That addend where it is `good`; else what is called for has one, or the region ends."""
        touch, done = self.labels("touch", "done")
        before = self.block
        self.do(f"br i1 {good}, label %{done}, label %{touch}, {LIKELY}")
        self.start(touch)
        args = f"ptr %st, i64 {at}, i64 {want()}"
        f = self.shared("touch_" + access)
        got = self.op(f"call preserve_mostcc {{ i64, i64 }} {f}({args})")
        value, status = (self.op(f"extractvalue {{ i64, i64 }} {got}, {n}") for n in (0, 1))
        fine = self.op(f"icmp eq i64 {status}, 0")
        self.do(f"br i1 {fine}, label %{done}, label %{self.way_out()}, {LIKELY}")
        self.start(done)
        return self.op(f"phi i64 [ {addend}, %{before} ], [ {value}, %{touch} ]")

    def load(self, va: Bits, size: int) -> Bits:
        host = self.reach(va, LOAD, size)
        got = self.op(f"load volatile i{8 * size}, ptr {host}, align 1, {MEMORY}")
        return self.leaf(8 * size, got)

    def store(self, va: Bits, size: int, v: Bits) -> None:
        host, value = self.reach(va, STORE, size), self.low(v)
        self.do(f"store volatile i{8 * size} {value}, ptr {host}, align 1, {MEMORY}")
        self.wrote = True

    def place(self, va: Bits, size: int, access: str) -> Bits:
        if self.wrote:
            raise TypeError("a second access may trap after a memory write; place both first")
        at = self.low(va)
        # Low address bits are part of what is compared, so that only an aligned access is there.
        want = self.op(f"and i64 {at}, {-PAGE | size - 1}")
        return self.leaf(64, self.op(f"add i64 {at}, {self.addend(at, access, want)}"))

    @contextmanager
    def when(self, cond: Bits) -> Iterator[None]:
        found = dict(self.found)
        with super().when(cond):
            yield
        self.found = found
