"""How a region is left: for another record, or for the code that all handlers share.

What was written since it began, and only that, is stored on each way out; which that may be is
known when all blocks have been traced.
"""

from __future__ import annotations

from typing import NamedTuple

from auberge.bits.bits import Bits, const
from auberge.engine.explore import PAGE, Shape
from auberge.engine.finding import Finding
from auberge.engine.llvm_text import LIKELY, STATE, tail_call
from auberge.engine.lowering import Context
from auberge.engine.manner import Steady
from auberge.engine.paged import count_exit
from auberge.isa.hart import FETCH, ZERO
from auberge.isa.spec import Cell


class Way(NamedTuple):
    """A way out of the region: from which block, with what written since it began."""

    label: str
    block: int
    written: frozenset[str]


class Early(NamedTuple):
    """A way out before an instruction, whose record is `distance` bytes on, `done` into a block.

    `since` counts the registers written by then: those with the same find the same values.
    """

    way: Way
    since: int
    distance: int
    done: int


def exit_label(offset: int) -> str:
    """Of what leaves for an offset of the page, or beyond it."""
    return f"x{offset}" if offset >= 0 else f"before{-offset}"


# What registers of a file are in a region: floating point stays where the host computes with it.
KINDS = {"x": "i64", "f": "double"}


class WaysOut(Finding):
    """What is traced notes in which blocks it may be left, and what each block writes."""

    def __init__(self, context: Context, shape: Shape, steady: Steady, entry: int) -> None:
        super().__init__(context, shape)
        self.shape, self.steady, self.entry = shape, steady, entry
        self.written: dict[int, frozenset[str]] = {}  # by each block
        self.edges: dict[int, list[int]] = {}
        self.indirects: list[Way] = []
        self.early: list[Early] = []
        self.since = 0
        self.headers: set[int] = set()
        self.links: dict[int, list[tuple[int, frozenset[str]]]] = {}  # in-page targets outside
        # Of the block that is being traced: where it starts, how many instructions of it are done,
        # what they wrote.
        self.start_block, self.count = entry, 0
        self.block_written: frozenset[str] = frozenset()

    def way_out(self) -> str:
        """The label of what leaves before the instruction, which its record is to execute."""
        (label,) = self.labels("out")
        way = Way(label, self.start_block, self.block_written)
        distance = 8 * (self.step.offset - self.entry)
        self.early.append(Early(way, self.since, distance, self.count))
        return label

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        self.leave_for("trap")

    def defer(self) -> None:
        self.leave_for("reference")

    def leave_for(self, cause: str) -> None:
        """End this path before the instruction."""
        if self.wrote:
            raise TypeError("this instruction could not be begun again after its memory write")
        count_exit(self, cause)
        self.end(f"br label %{self.way_out()}")

    # -- all of them, at the end ----------------------------------------------------------------
    def leave_region(self) -> None:
        """All ways out, now that it is known what each block may have written."""
        before = self.flow()
        for offset, froms in sorted(self.links.items()):
            self.start(exit_label(offset))
            self.save(frozenset[str]().union(*(before[b] | own for b, own in froms)))
            self.go_on_at(offset)
        for target in sorted(self.headers):
            self.start(f"look{target}")
            self.save(before[target])
            self.look_up(self.record(target), self.op("load i64, ptr %left.p"))
        for way in self.indirects:
            self.start(way.label)
            self.save(before[way.block] | way.written)
            self.go(self.op("load i64, ptr %target.p"))
        self.leave_early(before)
        self.start("look")
        self.look_up("%rec", "%left")
        if self.guards():
            self.start("once")
            self.jump("once", "%rec", "%left")

    def leave_early(self, before: dict[int, frozenset[str]]) -> None:
        """Ways out before an instruction; those with the same values to store share that.

        On to its record; but if that is this region's, it would come back here: so once without.
        """
        shared: dict[tuple[int, int, bool], list[Early]] = {}
        for early in self.early:
            key = early.way.block, early.since, early.distance == 0
            shared.setdefault(key, []).append(early)
        for (block, _, is_entry), those in shared.items():
            (save,) = self.labels("save")
            for early in those:
                self.start(early.way.label)
                self.do(f"store i64 {early.distance}, ptr %distance.p")
                self.do(f"store i64 {early.done}, ptr %done.p")
                self.do(f"br label %{save}")
            self.start(save)
            self.save(before[block] | those[0].way.written)
            self.do(f"br label %{'early_once' if is_entry else 'early'}")
        for label in sorted({"early_once" if is_entry else "early" for *_, is_entry in shared}):
            self.start(label)
            self.put("led_to", "0")  # not to where another region could begin
            distance = self.op("load i64, ptr %distance.p")
            left, done = (self.op(f"load i64, ptr %{v}.p") for v in ("left", "done"))
            rec = self.op(f"getelementptr i8, ptr %rec, i64 {distance}")
            f = self.shared("alone") if label == "early_once" else self.op(f"load ptr, ptr {rec}")
            self.lines += tail_call(f, rec=rec, left=self.op(f"sub i64 {left}, {done}"))

    def go_on_at(self, offset: int) -> None:
        """Leave for the record of an offset of the page, or beyond it."""
        left = self.op("load i64, ptr %left.p")
        if 0 <= offset < PAGE:
            rec = self.record(offset)
            self.put("led_to", self.op(f"ptrtoint ptr {rec} to i64"))
            self.lines += tail_call(self.op(f"load ptr, ptr {rec}"), rec=rec, left=left)
        else:
            self.go_far(self.op(f"add i64 %page, {offset}"), left)

    def flow(self) -> dict[int, frozenset[str]]:
        """What may have been written before each block, on any way to it from the entry."""
        before: dict[int, frozenset[str]] = {start: frozenset() for start in self.edges}
        todo = list(self.edges)
        while todo:
            block = todo.pop()
            after = before[block] | self.written[block]
            for target in self.edges[block]:
                if not after <= before[target]:
                    before[target] |= after
                    todo.append(target)
        return before

    def save(self, written: frozenset[str]) -> None:
        """Store registers where the state has them."""
        for name in sorted(written):
            t = KINDS[name[0]]
            v = self.op(f"load {t}, ptr %{name}.p")
            self.do(f"store {t} {v}, ptr {self.cell_of(name)}, {STATE}")

    def look_up(self, rec: str, left: str) -> None:
        """There is not, or somebody does: leave for a record that is to come next."""
        self.put("in_region", self.op("ptrtoint ptr %rec to i64"))
        enough = self.enough(left)
        called, rest = self.shared("called"), self.shared("rest")
        f = self.op(f"select i1 {enough}, ptr {called}, ptr {rest}")
        self.lines += tail_call(f, rec=rec, left=left)

    def guards(self) -> list[tuple[tuple[Cell, int, int], int]]:
        """What of the state must be as this region takes it to be."""
        if not any(step.manner.uses_steady for step in self.shape.steps.values()):
            return []
        return list(self.steady.items())

    # -- on to other code -----------------------------------------------------------------------
    def go(self, target: str) -> None:
        """On to the record of an address, which may be in this page."""
        near, far = self.labels("near", "far")
        left = self.op("load i64, ptr %left.p")
        inside = self.op(f"icmp ult i64 {self.op(f'xor i64 {target}, %page')}, {PAGE}")
        self.do(f"br i1 {inside}, label %{near}, label %{far}")
        self.start(near)
        self.enter(target, left, "%bias")
        self.start(far)
        self.go_far(target, left)

    def go_far(self, target: str, left: str) -> None:
        """On to the record of an address, by the TLB entry of its page."""
        hit, miss = self.labels("found", "miss")
        entry = self.tlb_entry("%tlb", target, FETCH)
        tag = self.op(f"load i64, ptr {entry}, {STATE}")
        same = self.op(f"icmp eq i64 {tag}, {self.op(f'and i64 {target}, {-PAGE}')}")
        self.do(f"br i1 {same}, label %{hit}, label %{miss}, {LIKELY}")
        self.start(hit)
        second = self.op(f"getelementptr i8, ptr {entry}, i64 8")
        self.enter(target, left, self.op(f"load i64, ptr {second}, {STATE}"))
        self.start(miss)
        self.put("pc", target)
        self.jump("find", "%rec", left)

    def enter(self, target: str, left: str, bias: str) -> None:
        """Jump to what the record of an address says, in a page of that bias."""
        record = self.op(f"add i64 {self.op(f'shl i64 {target}, 3')}, {bias}")
        rec = self.op(f"inttoptr i64 {record} to ptr")
        self.put("led_to", record)
        self.lines += tail_call(self.op(f"load ptr, ptr {rec}"), rec=rec, left=left, bias=bias)

    def jump(self, f: str, rec: str, left: str) -> None:
        """Never to come back: to code that handlers share."""
        self.lines += tail_call(self.shared(f), rec=rec, left=left)

    def enough(self, left: str) -> str:
        """Whether the slice is not at its end; or, if that is hard, has one way through left."""
        return self.op(f"icmp sgt i64 {left}, %least")

    def cell_of(self, name: str) -> str:
        """A pointer to a register in the state."""
        return self.register(name[0], const(int(name[1:]), 64))

    def record(self, offset: int) -> str:
        """A pointer to the record of what is at an offset of the page."""
        return self.op(f"getelementptr i8, ptr %rec, i64 {8 * (offset - self.entry)}")
