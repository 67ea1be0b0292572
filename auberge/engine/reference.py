"""The reference engine: each instruction is evaluated by constant folding. It is the definition."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import TypeVar

from auberge.bits import ieee
from auberge.bits.bits import Bits, const
from auberge.engine import exits
from auberge.engine.access import (
    ACCESS_FAULT,
    EngineHart,
    Watched,
    slice_of_budget,
    slow_load,
    slow_place,
    slow_store,
)
from auberge.engine.clock import Clock, InstructionClock
from auberge.engine.exits import Exit
from auberge.engine.state import HartState
from auberge.engine.waiting import idle
from auberge.isa.hart import FETCH, LOAD, PC, STORE, ZERO, Hart
from auberge.isa.spec import Cell, Csr, Form, Isa, Part
from auberge.memory.ram import Ram

T = TypeVar("T")
_watched = cache(Watched)  # 15 ms, and the same for every hart
ILLEGAL = 2
TOP = (1 << 64) - 1
REMEMBERED = 1 << 16  # words whose decoding is kept


class _Trapped(Exception):
    def __init__(self, cause: int, tval: int) -> None:
        self.cause, self.tval = cause, tval


class _Answered(Exception):
    def __init__(self, value: Bits) -> None:
        self.value = value


class _Retired(Exception):
    pass


class _Left(Exception):
    pass


class _Waits(Exception):
    pass


class _AsksDevice(Exception):
    def __init__(self, exit_: exits.MmioRead | exits.MmioWrite | exits.Watchpoint) -> None:
        self.exit = exit_


class _Guard:
    """One `when`: dead code runs, without effect."""

    __slots__ = ("before", "h", "live")

    def __init__(self, h: Reference, live: bool) -> None:
        self.h, self.live = h, live

    def __enter__(self) -> None:
        self.before, self.h.live = self.h.live, self.live

    def __exit__(self, *_: object) -> None:
        self.h.live = self.before


class Reference(EngineHart):
    """An engine (`run`, `resume`, `request_stop`) over a hart's state, its RAM and a clock."""

    def __init__(self, isa: Isa, hart: HartState, ram: Ram, clock: Clock) -> None:
        super().__init__()
        self.isa, self.hart, self.ram, self.clock = isa, hart, ram, clock
        self.live = True
        self.registers: dict[tuple[str, int], int] = {}  # pending, as `pending` is for cells
        self.flags = 0  # pending, raised by `fpu`
        self.watched = _watched(isa)
        self.decoded: dict[int, tuple[Form, dict[str, Bits]]] = {}
        self.walks: dict[tuple[int, str], int] = {}  # translations remembered ...
        self.tables: set[int] = set()  # ... and the words of page tables they depend on
        self.walking = False
        self.check = False
        self.slice_end = 0
        self.fetched = 0
        self.resuming = False
        self._index = {Cell(name): at // 8 for name, at in hart.layout.offset.items()}
        hart.attach(ram)

    # -- the engine -----------------------------------------------------------------------------
    def run(self, budget: int) -> Exit:
        """Retire at most `budget` instructions (exactly, if it is `Spent`); say why it stopped."""
        hart = self.hart
        hart["clock_kind"], hart["clock_base"] = self.clock.kind, self.clock.base
        self.forget()
        self.resuming = bool(hart["answered"]) or hart["passed"] == hart["pc"] | 1
        hart["passed"] = 0
        hart["attention"] = 1
        reserve = budget
        try:
            while reserve > 0:
                before = hart["spent"]
                with self.ram.turn:
                    out = self.step(reserve)
                reserve -= hart["spent"] - before
                if isinstance(self.clock, InstructionClock):
                    self.clock.spent = hart["spent"]
                if out is not None:
                    return out
            return exits.Spent()
        finally:
            hart["resume_record"] = 0
            hart.forget_translations()  # other engines may have remembered what we changed

    def resume(self, value: int | None) -> None:
        """Answer a device access; None: nothing answered there, which is an access fault."""
        hart = self.hart
        hart["resume_record"] = 0
        if value is not None:
            hart["answer"], hart["answered"] = value, 1
            return
        cause, va = exits.ACCESS_FAULT[hart["exit"]], const(hart["tval"], 64)
        self.attempt(lambda: self.trap(cause, va))
        hart["spent"] += 1

    def request_stop(self) -> None:
        """From any thread: have `run` come back with `Stopped`."""
        self.hart.request_stop()

    def debug(self, breakpoints: Collection[int], watches: Sequence[exits.Watch]) -> None:
        """As `Engine`."""
        self.hart.debug(breakpoints, watches)

    def statistics(self) -> dict[str, int]:
        """What this engine counted since it was made."""
        return {"instructions": self.hart["spent"], "tlb_misses": self.hart["misses"]}

    def step(self, reserve: int) -> Exit | None:
        """One instruction, with the interrupt that comes before it; an exit, if it has one."""
        hart = self.hart
        if not self.resuming and (hart["attention"] or hart["spent"] >= self.slice_end):
            if self.attend(reserve):
                return exits.Stopped()
        elif self.check and not self.resuming:
            self.check = False
            self.attempt(lambda: self.isa.routines["interrupt"](self))
        old_pc = hart["pc"]
        if old_pc in hart.breakpoints and not self.resuming:
            return exits.Breakpoint()
        self.resuming = False
        try:
            out = self.attempt(self.fetch_and_execute)
        except _AsksDevice as asks:
            return asks.exit
        if out == "left":
            return exits.Hypercall()
        hart["spent"] += 1
        if out == "waits":
            return self.idle()
        if out == "trapped" and hart["pc"] == old_pc:
            return exits.Stuck(old_pc, hart["cause"])
        return None

    def attend(self, reserve: int) -> bool:
        """Look up: requests, timers, interrupts, the next deadline. True: we are to stop."""
        hart = self.hart
        hart["attention"] = 0
        self.check = False
        if hart["stop"]:
            hart["stop"] = 0
            hart["attention"] = 1
            return True
        if hart["posted_ssip"]:
            hart["posted_ssip"] = 0
            hart["mip"] |= 2
        fences = hart["request_fence_i"]
        for what in ("request_sfence", "request_fence_i"):
            if hart[what]:
                hart[what] = 0  # first: a request that comes meanwhile is another one
                self.forget()
        if fences:
            self.fence_i()
        self.attempt(lambda: self.isa.routines["timers"](self))
        self.attempt(lambda: self.isa.routines["interrupt"](self))
        hart["reserve"] = reserve
        slice_ = self.answer_of(slice_of_budget)
        self.slice_end = hart["spent"] + slice_
        self.check = False
        return False

    def idle(self) -> Exit | None:
        """What `wfi` means now: nothing if something is pending already."""
        return idle(self.hart)

    def answer_of(self, text: Callable[..., None]) -> int:
        """Run a routine for its answer."""
        try:
            text(self)
        except _Answered as answered:
            return int(answered.value)
        finally:
            self.pending.clear()
            self.live = True
        return 0

    def attempt(self, text: Callable[[], None]) -> str:
        """Run `text` and commit it; if it traps, the trap is what happens instead. Says which."""
        self.writes.clear()
        out = ""
        try:
            try:
                text()
            except _Trapped as trapped:
                out = "trapped"
                self._discard()
                self.hart["cause"], self.hart["tval"] = trapped.cause, trapped.tval
                self.hart["answered"] = 0
                self.isa.routines["trap_entry"](self)
        except (_Retired, _Answered):
            pass
        except _Waits:
            out = "waits"
        except _Left:
            self._discard()
            return "left"
        except _AsksDevice:
            self._discard()
            raise
        self.live = True
        self.check |= self.touches(self.watched.interrupt)
        if self.touches(self.watched.walk) or self.touches(self.watched.rare):
            self.forget()
        timers = self.touches(self.watched.timers)
        self.commit()
        if timers:
            self.hart["attention"] = 1
        return out

    def _discard(self) -> None:
        self.pending.clear()
        self.registers.clear()
        self.flags = 0
        self.live = True
        self.walking = False

    def commit(self) -> None:
        """Make pending writes the state."""
        words = self.hart.words
        for cell, v in self.pending.items():
            words[self._index[cell]] = v.value  # type: ignore[assignment]
        self.pending.clear()
        for (file, i), value in self.registers.items():
            (self.hart.x if file == "x" else self.hart.f)[i] = value
        self.registers.clear()
        if self.flags:
            self.hart["fflags"] |= self.flags
            self.flags = 0

    def forget(self) -> None:
        """A walk holds until something it read changes: this engine has no stale translations."""
        self.walks.clear()
        self.tables.clear()

    # -- one instruction ------------------------------------------------------------------------
    def fetch_and_execute(self) -> None:
        """One instruction, or the trap of one that cannot be fetched or decoded."""
        pc = self.hart["pc"]
        word = self.fetch(pc)
        self.fetched = word
        known = self.decoded.get(word) or self.decode(word)
        if known is None:
            self.trap(ILLEGAL, const(word, 64))
        else:
            form, operands = known
            self.pending[PC] = self.next_pc = const(pc + form.encoding.length, 64)
            form.insn.execute(self, **operands)

    def decode(self, word: int) -> tuple[Form, dict[str, Bits]] | None:
        """The form of a word and its operands, remembered; None if it is reserved."""
        form = self.isa.decode(word)
        if form is None:
            return None
        if len(self.decoded) >= REMEMBERED:
            self.decoded.clear()
        self.decoded[word] = form, form.read(const(word, 32))
        return self.decoded[word]

    def fetch(self, pc: int) -> int:
        """The word at `pc`: 16 bits if that is an instruction, else 32; or the trap."""
        low = self._parcel(pc)
        return low if low & 3 != 3 else low | self._parcel(pc + 2 & TOP) << 16

    def _parcel(self, pc: int) -> int:
        pa = self.translate(pc, FETCH) - self.ram.base
        if not 0 <= pa < self.ram.size:
            raise _Trapped(ACCESS_FAULT[FETCH], pc)
        return int.from_bytes(self.ram.view[pa : pa + 2], "little")

    def translate(self, va: int, access: str) -> int:
        """The physical address of `va`: by the walk, the first time in a page."""
        page, low = va & ~4095, va & 4095
        known = self.walks.get((page, access))
        if known is None:
            self.hart["misses"] += 1
            pa = int(self._called("translate_" + access, const(va, 64), note=True))
            known = self.walks[page, access] = pa - low
        return known + low

    # -- state ----------------------------------------------------------------------------------
    def __getitem__(self, place: object) -> Bits:
        assert isinstance(place, Cell | Part | Csr)
        value = self.hart.words[self._index[place.cell]]
        return const(value >> place.lo, place.hi - place.lo + 1)

    def instruction_word(self) -> Bits:
        return const(self.fetched, 64)

    def read(self, cell: Cell) -> Bits:
        return const(self.hart.words[self._index[cell]], 64)

    def write(self, cell: Cell, v: Bits) -> None:
        if self.live:
            self.pending[cell] = v

    def read_register(self, file: str, i: Bits) -> Bits:
        return const((self.hart.x if file == "x" else self.hart.f)[int(i)], 64)

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        """Remember a register's new value for the end of the instruction."""
        if v.width != 64:
            raise TypeError(
                f"a register holds 64 bits, not {v.width}; widen with .sext() or .zext()"
            )
        if self.live:
            self.registers[file, int(i)] = int(v)

    # -- paths ----------------------------------------------------------------------------------
    def when(self, cond: Bits) -> _Guard:
        return _Guard(self, self.live and bool(cond))

    def cases(
        self, value: Bits, table: dict[int, T], otherwise: Callable[[Hart], None]
    ) -> Iterator[T]:
        entry = table.get(int(value))
        if not self.live:
            return
        if entry is None:
            otherwise(self)
        else:
            yield entry
            self.retire()

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        if self.live:
            raise _Trapped(int(cause), int(tval))

    def retire(self) -> None:
        if self.live:
            raise _Retired

    def answer(self, v: Bits) -> None:
        if self.live:
            raise _Answered(v)

    def wait(self) -> None:
        if self.live:
            raise _Waits

    def leave(self) -> None:
        if self.live:
            raise _Left

    def call(self, routine: str, *args: Bits) -> Bits:
        if not self.live:
            return ZERO
        if routine.startswith("translate_"):
            return const(self.translate(int(args[0]), routine[10:]), 64)
        return self._called(routine, *args)

    def _called(self, routine: str, *args: Bits, note: bool = False) -> Bits:
        own, self.pending = self.pending, {}
        walking, self.walking = self.walking, self.walking or note
        answer = ZERO
        try:
            self.isa.routines[routine](self, *args)
        except _Answered as answered:
            answer = answered.value
        except _Retired:
            pass
        finally:
            self.walking = walking
            self.live = True
        self.commit_cells()
        self.pending = own
        return answer

    def commit_cells(self) -> None:
        """Write what the instruction has changed of the hart's cells."""
        for cell, v in self.pending.items():
            self.hart.words[self._index[cell]] = int(v)
        self.pending.clear()

    # -- memory ---------------------------------------------------------------------------------
    def load(self, va: Bits, size: int) -> Bits:
        if not self.live:
            return const(0, 8 * size)
        pa = self._plain(int(va), size, LOAD)
        if pa is not None:
            return self.peek(pa, size)
        return self._slow(slow_load, va, size)[8 * size - 1 : 0]

    def store(self, va: Bits, size: int, v: Bits) -> None:
        if not self.live:
            return
        pa = self._plain(int(va), size, STORE)
        if pa is not None:
            self.poke(pa, size, v)
        else:
            self._slow(slow_store, va, v.zext(64), size)

    def _plain(self, va: int, size: int, access: str) -> Bits | None:
        """Where in RAM an access is that has nothing in its way: it needs no text, for speed."""
        if self.hart["answered"] or self.hart["watching"] or va & 4095 > 4096 - size:
            return None
        pa = self.translate(va, access)
        return const(pa, 64) if 0 <= pa - self.ram.base < self.ram.size else None

    def place(self, va: Bits, size: int, access: str) -> Bits:
        return self._slow(slow_place, va, size, access) if self.live else ZERO

    def _slow(self, text: Callable[..., None], *args: object) -> Bits:
        own, self.pending = self.pending, {}
        answer = ZERO
        try:
            text(self, *args)
        except _Answered as answered:
            answer = answered.value
        finally:
            self.live = True
        self.commit_cells()
        self.pending = own
        return answer

    def refill(self, va: Bits, pa: Bits, access: str) -> None:
        """Translations are remembered in `translate` already."""

    def device(self, va: Bits, pa: Bits, size: int, value: Bits | None) -> None:
        if not self.live:
            return
        self.hart["tval"] = int(va)
        if value is None:
            self.hart["exit"] = exits.MMIO_READ
            raise _AsksDevice(exits.MmioRead(int(pa), size))
        self.hart["exit"] = exits.MMIO_WRITE
        raise _AsksDevice(exits.MmioWrite(int(pa), size, int(value)))

    def watchpoint(self, va: Bits, size: int, kinds: int) -> None:
        if self.live:
            raise _AsksDevice(exits.Watchpoint(int(va), size, kinds))

    def clear_bank(self, n: int) -> None:
        """This engine has no banks."""

    def is_ram(self, pa: Bits, size: int) -> Bits:
        return const(0 <= int(pa) - self.ram.base <= self.ram.size - size, 1)

    def physical(self, pa: Bits) -> Bits:
        if self.live and self.walking:
            self.tables.add(int(pa) >> 3)
        return pa

    def peek(self, place: Bits, size: int) -> Bits:
        if not self.live:
            return const(0, 8 * size)
        at = int(place) - self.ram.base
        return const(int.from_bytes(self.ram.view[at : at + size], "little"), 8 * size)

    def poke(self, place: Bits, size: int, v: Bits) -> None:
        if not self.live:
            return
        pa = int(place)
        if pa >> 3 in self.tables:
            self.forget()
        at = pa - self.ram.base
        self.ram.view[at : at + size] = int(v).to_bytes(size, "little")

    def update(self, place: Bits, size: int, new: Callable[[Bits], Bits]) -> Bits:
        if not self.live:
            return const(0, 8 * size)
        old = self.peek(place, size)
        self.poke(place, size, new(old))
        return old

    def swap(self, place: Bits, size: int, old: Bits, new: Bits) -> Bits:
        if not self.live:
            return const(0, 1)
        same = self.peek(place, size).eq(old)
        with self.when(same):
            self.poke(place, size, new)
        return same

    def flush(self, va: Bits | None = None) -> None:
        if self.live:
            self.forget()

    def fence(self) -> None:
        """Harts of this engine take turns instruction by instruction: all is in order."""

    def fence_i(self) -> None:
        """This engine fetches from memory each time; one that goes on after it may remember."""
        if self.live:
            self.hart["generation"] += 1

    # -- counters and floating point ------------------------------------------------------------
    def time(self) -> Bits:
        if isinstance(self.clock, InstructionClock):
            return const(self.clock.base + (self.hart["spent"] >> self.clock.SHIFT), 64)
        return const(self.clock.ticks(), 64)

    def retired(self) -> Bits:
        return const(self.hart["spent"], 64)

    def fpu(self, op: str, fmt: int, rm: Bits, *operands: Bits) -> Bits:
        width = fmt if not op.startswith("to_") else int(op[4:])
        if not self.live:
            return const(0, width)
        value, flags = ieee.evaluate(op, fmt, int(rm), *(int(v) for v in operands))
        self.flags |= flags
        return const(value, width)

    def fpu_flags(self) -> Bits:
        return ZERO

    def fpu_clear(self) -> None:
        """Flags go into their cell at once here."""
