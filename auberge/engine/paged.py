"""Memory as handlers access it: the TLB is looked at inline, the slow way is a call."""

from __future__ import annotations

from typing import NamedTuple

from auberge.bits.bits import Bits
from auberge.engine.access import WATCHING
from auberge.engine.llvm_text import EXITS, LIKELY, MEMORY, STATE
from auberge.engine.lowering import Trace
from auberge.engine.routine import Routine
from auberge.isa.hart import LOAD, STORE

PAGE = 4096


class Reach(NamedTuple):
    """A look for the page of an address: the labels that it leads to, the address on the host."""

    hit: str
    slow: str
    done: str
    va: str
    host: str


class Paged(Trace):
    """A hart traced into text in which `%tlb` is the TLB bank in force."""

    def last_page(self, at: str, size: int) -> str:
        """The page of the last of `size` bytes: that of the TLB's entry, unless they leave it."""
        last = self.op(f"add i64 {at}, {size - 1}") if size > 1 else at
        return self.op(f"and i64 {last}, {-PAGE}")

    def look(self, at: str, access: str, want: str) -> Reach:
        """Branch on whether the TLB's entry has the tag `want`; go on where it has."""
        hit, slow, done = self.labels("hit", "slow", "done")
        entry = self.tlb_entry("%tlb", at, access)
        tag = self.op(f"load i64, ptr {entry}, {STATE}")
        same = self.op(f"icmp eq i64 {tag}, {want}")
        self.do(f"br i1 {same}, label %{hit}, label %{slow}, {LIKELY}")
        self.start(hit)
        second = self.op(f"getelementptr i8, ptr {entry}, i64 8")
        addend = self.op(f"load i64, ptr {second}, {STATE}")
        return Reach(hit, slow, done, at, self.op(f"add i64 {at}, {addend}"))

    def load(self, va: Bits, size: int) -> Bits:
        if self.wrote:
            raise TypeError("a load that follows a memory write could trap, and not undo it")
        at, t = self.low(va), f"i{8 * size}"
        reach = self.look(at, LOAD, self.last_page(at, size))
        host = self.op(f"inttoptr i64 {reach.host} to ptr")
        got = self.op(f"load volatile {t}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{reach.done}")
        self.start(reach.slow)
        answer = self.routine(f"load_{size}", f"i64 {reach.va}")
        value, from_slow = self.low(answer[8 * size - 1 : 0]), self.block
        self.do(f"br label %{reach.done}")
        self.start(reach.done)
        either = self.op(f"phi {t} [ {got}, %{reach.hit} ], [ {value}, %{from_slow} ]")
        return self.leaf(8 * size, either)

    def store(self, va: Bits, size: int, v: Bits) -> None:
        if self.wrote:
            raise TypeError("a second store could trap, and not undo the first")
        at, value, wide = self.low(va), self.low(v), self.low(v.zext(64))
        reach = self.look(at, STORE, self.last_page(at, size))
        host = self.op(f"inttoptr i64 {reach.host} to ptr")
        self.do(f"store volatile i{8 * size} {value}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{reach.done}")
        self.start(reach.slow)
        self.routine(f"store_{size}", f"i64 {reach.va}", f"i64 {wide}")
        self.do(f"br label %{reach.done}")
        self.start(reach.done)
        self.wrote = True

    def place(self, va: Bits, size: int, access: str) -> Bits:
        if self.wrote:
            raise TypeError("a second access may trap after a memory write; place both first")
        at = self.low(va)
        # Low address bits are part of what is compared, so that only an aligned access hits.
        reach = self.look(at, access, self.op(f"and i64 {at}, {-PAGE | size - 1}"))
        self.do(f"br label %{reach.done}")
        self.start(reach.slow)
        answer = self.low(self.routine(f"place_{access}_{size}", f"i64 {at}"))
        from_slow = self.block
        self.do(f"br label %{reach.done}")
        self.start(reach.done)
        phi = f"phi i64 [ {reach.host}, %{reach.hit} ], [ {answer}, %{from_slow} ]"
        return self.leaf(64, self.op(phi))


class Touch(Routine):
    """What a region calls for a page that it has not at hand: answers its addend, or fails.

    It fails where the access would do more than find RAM in one page: the region then leaves
    before the instruction, which is executed by its record.
    """

    def fail(self, status: str) -> None:
        self.give_up("trap")

    def give_up(self, cause: str) -> None:
        """Fail, and count why."""
        count_exit(self, cause)
        super().fail(str(EXITS))

    def look(self, va: Bits, want: Bits, access: str) -> None:
        """Answer at once, if the TLB has the page."""
        entry = self.tlb_entry(self.bank(), self.low(va), access)
        tag = self.leaf(64, self.op(f"load i64, ptr {entry}, {STATE}"))
        with self.when(tag.eq(want)):
            second = self.op(f"getelementptr i8, ptr {entry}, i64 8")
            self.answer(self.leaf(64, self.op(f"load i64, ptr {second}, {STATE}")))


def touch(h: Touch, va: Bits, want: Bits, access: str) -> None:
    """Find the page of an access; `want` is its address, if the access is in one page."""
    h.look(va, want, access)
    with h.when((va & -PAGE & (1 << 64) - 1).ne(want)):
        with h.when((want & PAGE - 1).ne(0)):
            h.give_up("trap")  # an atomic access that is misaligned
        h.give_up("crossing")
    pa = h.call("translate_" + access, va)
    with h.when(~h.is_ram(pa, 1) | h[WATCHING].ne(0)):
        h.give_up("device")
    h.refill(va, pa, access)
    h.answer(h.physical(pa) - va)


def count_exit(h: Trace, cause: str) -> None:
    """One more time that a region was left, and why."""
    cell = f"exits_{cause}"
    h.put(cell, h.op(f"add i64 {h.get(cell)}, 1"))
