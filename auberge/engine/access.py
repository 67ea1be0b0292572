"""Texts that every engine shares: the slow ways into memory, the TLB's banks, slices of the budget.

They are written as instructions are, so each engine gets its own form of them from one place.
"""

from __future__ import annotations

from auberge.bits.bits import Bits, concat, const, select
from auberge.engine.clock import INSTRUCTIONS, InstructionClock
from auberge.engine.exits import LOADS, STORES
from auberge.engine.state import BANKS, KEY_WORDS, WATCHES
from auberge.isa.hart import FETCH, LOAD, STORE, ZERO, Hart, Spy
from auberge.isa.spec import Cell, Isa

ACCESS_FAULT = {FETCH: 1, LOAD: 5, STORE: 7}
MISALIGNED = {LOAD: 4, STORE: 6}
SIZES = (1, 2, 4, 8)
BLOCK = 64  # bytes of the one larger place: a cache block that is stored to
SCATTER = 0x9E3779B97F4A7C15  # 2^64 by the golden ratio: the high bits of its multiples are spread
SCATTERED = 6  # bits of the difference between two slices

ANSWERED, ANSWER = Cell("answered"), Cell("answer")
BANK, NEXT_BANK = Cell("bank"), Cell("next_bank")
KEYS = [[Cell(f"key{n}_{word}") for word in range(KEY_WORDS)] for n in range(BANKS)]
WATCHING = Cell("watching")
WATCH = [[Cell(f"watch{n}_{what}") for what in ("first", "last", "kinds")] for n in range(WATCHES)]
RESERVE, SPENT, LONGEST = Cell("reserve"), Cell("spent"), Cell("longest")
CLOCK_KIND, CLOCK_BASE = Cell("clock_kind"), Cell("clock_base")


class EngineHart(Hart):
    """What the texts of this module say beyond what an instruction may."""

    def refill(self, va: Bits, pa: Bits, access: str) -> None:
        """Remember that the page of `va` is that of `pa`, which is RAM."""
        raise NotImplementedError

    def device(self, va: Bits, pa: Bits, size: int, value: Bits | None) -> None:
        """End by asking the host to load `size` bytes at `pa`, or to store `value` there."""
        raise NotImplementedError

    def watchpoint(self, va: Bits, size: int, kinds: int) -> None:
        """End by telling the host of an access that is watched, before it happens."""
        raise NotImplementedError

    def clear_bank(self, n: int) -> None:
        """Empty a bank of the TLB."""
        raise NotImplementedError


class Watched:
    """Which state the walk, the interrupt check and the timers were seen to read."""

    def __init__(self, isa: Isa) -> None:
        walk: dict[Cell, int] = {}
        for access in (FETCH, LOAD, STORE):
            for cell, bits in Spy(isa, isa.routines["translate_" + access], "va").reads.items():
                walk[cell] = walk.get(cell, 0) | bits
        walk.pop(Cell("pc"), None)
        self.rare = {c: m for c, m in walk.items() if c.rare}
        self.walk = {c: m for c, m in walk.items() if not c.rare}
        self.interrupt = Spy(isa, isa.routines["interrupt"]).reads
        self.timers = Spy(isa, isa.routines["timers"]).reads

    def keys(self, h: Hart) -> list[Bits]:
        """The state that a translation depends on, packed into few words."""
        runs: list[Bits] = []
        for cell, bits in sorted(self.walk.items(), key=lambda item: item[0].name):
            lo = 0
            while bits >> lo:
                lo += ((bits >> lo) & -(bits >> lo)).bit_length() - 1
                ones = bits >> lo
                hi = lo + (ones ^ ones + 1).bit_length() - 2
                runs.append(h.read(cell)[hi:lo])
                lo = hi + 1
        words: list[list[Bits]] = []
        for run in sorted(runs, key=lambda r: -r.width):
            for word in words:
                if sum(r.width for r in word) + run.width <= 63:
                    word.append(run)
                    break
            else:
                words.append([run])
        if len(words) > KEY_WORDS:
            raise ValueError(f"translations depend on {len(words)} words of state, not {KEY_WORDS}")
        packed = [concat(*word).zext(64) for word in words]
        return packed + [ZERO] * (KEY_WORDS - len(packed))


def choose_bank(h: EngineHart, watched: Watched, bank_size: int) -> None:
    """The TLB bank of what the walk would read now; if there is none, the next is taken over."""
    now = watched.keys(h)
    for n, keys in enumerate(KEYS):
        same = const(1, 1)
        for key, value in zip(keys, now, strict=True):
            same = same & h.read(key).eq(value)
        with h.when(same):
            h[BANK] = const(n * bank_size, 64)
            h.answer(ZERO)
    for n, keys in enumerate(KEYS):
        with h.when(h[NEXT_BANK].eq(n)):
            for key, value in zip(keys, now, strict=True):
                h[key] = value
            h[BANK], h[NEXT_BANK] = const(n * bank_size, 64), const((n + 1) % BANKS, 64)
            h.clear_bank(n)
            h.answer(ZERO)


def _split(h: EngineHart, va: Bits, size: int, access: str) -> tuple[Bits, Bits, Bits]:
    """Both pages of an access that crosses into the next: their RAM, or the trap; the split."""
    beyond = (va + (size - 1)) & const(-4096, 64)
    first, second = h.call("translate_" + access, va), h.call("translate_" + access, beyond)
    with h.when(~h.is_ram(first, 1)):
        h.trap(ACCESS_FAULT[access], va)
    with h.when(~h.is_ram(second, 1)):
        h.trap(ACCESS_FAULT[access], beyond)
    return first, second, beyond - va


def _not_aligned(va: Bits, size: int) -> Bits:
    return (va & (size - 1)).ne(0)


def _watch(h: EngineHart, va: Bits, size: int, kinds: int) -> None:
    """Tell the host, where this access touches what is watched."""
    with h.when(h[WATCHING].ne(0)):
        for first, last, of_kinds in WATCH:
            apart = h[last].ult(va) | (va + (size - 1)).ult(h[first])
            with h.when(~apart & (h[of_kinds] & kinds).ne(0)):
                h.watchpoint(va, size, kinds)


def _remember(h: EngineHart, va: Bits, pa: Bits, access: str) -> None:
    """Refill the TLB; but while something is watched, every access comes this slow way."""
    with h.when(h[WATCHING].eq(0)):
        h.refill(va, pa, access)


def slow_load(h: EngineHart, va: Bits, size: int) -> None:
    """Any load, whatever is in the way: a miss, the end of a page, a device, a device's answer."""
    with h.when(h[ANSWERED].ne(0)):
        h[ANSWERED] = ZERO
        h.answer(h[ANSWER])
    if size > 1:
        with h.when(const(4096 - size, 64).ult(va & 4095)):
            first, second, split = _split(h, va, size, LOAD)
            _watch(h, va, size, LOADS)
            value: list[Bits] = []
            for i in range(size):
                at = select(const(i, 64).ult(split), first + i, second + i - split)
                value.insert(0, h.peek(h.physical(at), 1))
            h.answer(concat(*value).zext(64))
    pa = h.call("translate_load", va)
    with h.when(h.is_ram(pa, 1)):
        _watch(h, va, size, LOADS)
        _remember(h, va, pa, LOAD)
        h.answer(h.peek(h.physical(pa), size).zext(64))
    with h.when(_not_aligned(va, size)):
        h.trap(ACCESS_FAULT[LOAD], va)
    _watch(h, va, size, LOADS)
    h.device(va, pa, size, None)


def slow_store(h: EngineHart, va: Bits, value: Bits, size: int) -> None:
    """Any store, likewise. A device has taken the value when the instruction completes."""
    with h.when(h[ANSWERED].ne(0)):
        h[ANSWERED] = ZERO
        h.answer(ZERO)
    if size > 1:
        with h.when(const(4096 - size, 64).ult(va & 4095)):
            first, second, split = _split(h, va, size, STORE)
            _watch(h, va, size, STORES)
            for i in range(size):
                at = select(const(i, 64).ult(split), first + i, second + i - split)
                h.poke(h.physical(at), 1, value[8 * i + 7 : 8 * i])
            h.answer(ZERO)
    pa = h.call("translate_store", va)
    with h.when(h.is_ram(pa, 1)):
        _watch(h, va, size, STORES)
        _remember(h, va, pa, STORE)
        h.poke(h.physical(pa), size, value[8 * size - 1 : 0])
        h.answer(ZERO)
    with h.when(_not_aligned(va, size)):
        h.trap(ACCESS_FAULT[STORE], va)
    _watch(h, va, size, STORES)
    h.device(va, pa, size, value[8 * size - 1 : 0])


def slow_place(h: EngineHart, va: Bits, size: int, access: str) -> None:
    """Where an atomic access happens: aligned, and RAM."""
    with h.when(_not_aligned(va, size)):
        h.trap(MISALIGNED[access], va)
    pa = h.call("translate_" + access, va)
    with h.when(~h.is_ram(pa, 1)):
        h.trap(ACCESS_FAULT[access], va)
    _watch(h, va, size, LOADS if access == LOAD else STORES if size == BLOCK else LOADS | STORES)
    _remember(h, va, pa, access)
    h.answer(h.physical(pa))


def slice_of_budget(h: EngineHart) -> None:
    """How many instructions may pass before the clock must be looked at again."""
    # Of changing length: where slices end shows what is hot, and loops have lengths of their own.
    longest = h[LONGEST] - h[SPENT].mul(const(SCATTER, 64)).shr(64 - SCATTERED)
    most = select(h[RESERVE].ult(longest), h[RESERVE], longest)
    with h.when(h[CLOCK_KIND].ne(INSTRUCTIONS)):
        h.answer(most)
    due, now = h.call("deadline"), h.time()
    until = (due - h[CLOCK_BASE] << InstructionClock.SHIFT) - h[SPENT]
    soon = now.ult(due) & (due - now).ult(1 << 40) & until.ult(most)
    h.answer(select(soon, until, most))
