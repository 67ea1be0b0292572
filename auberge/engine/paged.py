"""Memory as handlers and regions access it: the TLB is looked at inline, the slow way a call."""

from __future__ import annotations

from typing import NamedTuple

from auberge.bits.bits import Bits
from auberge.engine.llvm_text import LIKELY, MEMORY, STATE
from auberge.engine.lowering import Trace
from auberge.engine.routine import Routine
from auberge.isa.hart import LOAD, STORE

PAGE = 4096


class Reach(NamedTuple):
    """A look for the page of an address: the labels that it leads to, and what it found.

    `host` is the address on the host, where `hit`; `page` and `addend` are of the TLB's entry.
    """

    hit: str
    slow: str
    done: str
    va: str
    host: str
    page: str
    addend: str
    again: str = ""  # what the slow way's name begins with


class Paged(Trace):
    """A hart traced into text in which `%tlb` is the TLB bank in force."""

    def reach(self, va: Bits, access: str, size: int) -> Reach:
        """Branch on whether the TLB has the page of all `size` bytes; go on where it has."""
        at = self.low(va)
        last = self.op(f"add i64 {at}, {size - 1}") if size > 1 else at
        # That of the entry, unless the access leaves the page.
        return self.look(at, access, self.op(f"and i64 {last}, {-PAGE}"))

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
        return Reach(hit, slow, done, at, self.op(f"add i64 {at}, {addend}"), want, addend)

    def give_up(self, reach: Reach) -> str:
        """On the slow way: what `remember` is to have of it."""
        return ""

    def remember(self, va: Bits, access: str, reach: Reach, lost: str, from_slow: str) -> None:
        """Note what was found, where both ways have come together."""

    def load(self, va: Bits, size: int) -> Bits:
        if self.wrote:
            raise TypeError("a load that follows a memory write could trap, and not undo it")
        t = f"i{8 * size}"
        reach = self.reach(va, LOAD, size)
        host = self.op(f"inttoptr i64 {reach.host} to ptr")
        got = self.op(f"load volatile {t}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{reach.done}")
        self.start(reach.slow)
        answer = self.routine(f"{reach.again}load_{size}", f"i64 {reach.va}")
        value, from_slow = self.low(answer[8 * size - 1 : 0]), self.block
        lost = self.give_up(reach)
        self.do(f"br label %{reach.done}")
        self.start(reach.done)
        either = self.op(f"phi {t} [ {got}, %{reach.hit} ], [ {value}, %{from_slow} ]")
        self.remember(va, LOAD, reach, lost, from_slow)
        return self.leaf(8 * size, either)

    def store(self, va: Bits, size: int, v: Bits) -> None:
        if self.wrote:
            raise TypeError("a second store could trap, and not undo the first")
        value, wide = self.low(v), self.low(v.zext(64))
        reach = self.reach(va, STORE, size)
        host = self.op(f"inttoptr i64 {reach.host} to ptr")
        self.do(f"store volatile i{8 * size} {value}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{reach.done}")
        self.start(reach.slow)
        self.routine(f"{reach.again}store_{size}", f"i64 {reach.va}", f"i64 {wide}")
        from_slow, lost = self.block, self.give_up(reach)
        self.do(f"br label %{reach.done}")
        self.start(reach.done)
        self.remember(va, STORE, reach, lost, from_slow)
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


class Again(Routine, Paged):
    """An access by a call, for a region that expected another page: to the TLB first."""

    def choose_tlb(self) -> None:
        """Name the bank as the code of this class has it."""
        self.do(f"%tlb = getelementptr i8, ptr {self.bank()}, i64 0")


def load_again(h: Again, va: Bits, size: int) -> None:
    """A load: the TLB, then the slow way."""
    h.choose_tlb()
    h.answer(h.load(va, size).zext(64))


def store_again(h: Again, va: Bits, value: Bits, size: int) -> None:
    """A store likewise."""
    h.choose_tlb()
    h.store(va, size, value[8 * size - 1 : 0])
