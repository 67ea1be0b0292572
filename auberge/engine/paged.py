"""Memory as handlers and regions access it: the TLB is looked at inline, the slow way a call."""

from __future__ import annotations

from auberge.bits.bits import Bits
from auberge.engine.llvm_text import LIKELY, MEMORY, STATE
from auberge.engine.lowering import Trace
from auberge.isa.hart import LOAD, STORE


class Paged(Trace):
    """A hart traced into text in which `%tlb` is the TLB bank in force."""

    def probe(self, va: str, access: str, want: str) -> tuple[str, list[str]]:
        """Branch on whether the TLB has `want`; the entry, and the labels hit, slow, done."""
        labels = self.labels("hit", "slow", "done")
        entry = self.tlb_entry("%tlb", va, access)
        tag = self.op(f"load i64, ptr {entry}, {STATE}")
        same = self.op(f"icmp eq i64 {tag}, {want}")
        self.do(f"br i1 {same}, label %{labels[0]}, label %{labels[1]}, {LIKELY}")
        return entry, labels

    def last_page(self, va: str, size: int) -> str:
        """The page of the last byte: that of the entry, unless the access leaves the page."""
        last = self.op(f"add i64 {va}, {size - 1}") if size > 1 else va
        return self.op(f"and i64 {last}, -4096")

    def host_address(self, entry: str, va: str) -> str:
        """Where on the host `va` is, by a TLB entry that matches it."""
        second = self.op(f"getelementptr i8, ptr {entry}, i64 8")
        return self.op(f"add i64 {va}, {self.op(f'load i64, ptr {second}, {STATE}')}")

    def load(self, va: Bits, size: int) -> Bits:
        if self.wrote:
            raise TypeError("a load that follows a memory write could trap, and not undo it")
        at, t = self.low(va), f"i{8 * size}"
        entry, (hit, slow, done) = self.probe(at, LOAD, self.last_page(at, size))
        self.start(slow)
        value = self.low(self.routine(f"load_{size}", f"i64 {at}")[8 * size - 1 : 0])
        from_slow = self.block
        self.do(f"br label %{done}")
        self.start(hit)
        host = self.op(f"inttoptr i64 {self.host_address(entry, at)} to ptr")
        got = self.op(f"load volatile {t}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{done}")
        self.start(done)
        return self.leaf(8 * size, self.op(f"phi {t} [ {got}, %{hit} ], [ {value}, %{from_slow} ]"))

    def store(self, va: Bits, size: int, v: Bits) -> None:
        if self.wrote:
            raise TypeError("a second store could trap, and not undo the first")
        at, value, wide = self.low(va), self.low(v), self.low(v.zext(64))
        entry, (hit, slow, done) = self.probe(at, STORE, self.last_page(at, size))
        self.start(slow)
        self.routine(f"store_{size}", f"i64 {at}", f"i64 {wide}")
        self.do(f"br label %{done}")
        self.start(hit)
        host = self.op(f"inttoptr i64 {self.host_address(entry, at)} to ptr")
        self.do(f"store volatile i{8 * size} {value}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{done}")
        self.start(done)
        self.wrote = True

    def place(self, va: Bits, size: int, access: str) -> Bits:
        if self.wrote:
            raise TypeError("a second access may trap after a memory write; place both first")
        at = self.low(va)
        # Low address bits are part of what is compared, so that only an aligned access hits.
        want = self.op(f"and i64 {at}, {-4096 | size - 1}")
        entry, (hit, slow, done) = self.probe(at, access, want)
        self.start(slow)
        answer = self.low(self.routine(f"place_{access}_{size}", f"i64 {at}"))
        from_slow = self.block
        self.do(f"br label %{done}")
        self.start(hit)
        host = self.host_address(entry, at)
        self.do(f"br label %{done}")
        self.start(done)
        return self.leaf(64, self.op(f"phi i64 [ {host}, %{hit} ], [ {answer}, %{from_slow} ]"))
