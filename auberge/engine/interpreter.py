"""The native interpreter at work: Python enters it by `run`, and comes back only by exits."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from auberge.engine import exits
from auberge.engine.cache import Entry
from auberge.engine.clock import Clock, InstructionClock
from auberge.engine.exits import MMIO_READ, MMIO_WRITE, Exit, MmioRead, MmioWrite
from auberge.engine.pool import Pool
from auberge.engine.records import LAST, PAGE_OF_RECORDS, SLOT
from auberge.engine.state import HartState, Layout
from auberge.engine.waiting import idle
from auberge.memory.arena import Arena
from auberge.memory.ram import PAGE, PRIVATE, Ram

if TYPE_CHECKING:
    from auberge.engine.reference import Reference

_new = tuple.__new__

POOL = 1440  # pages of decoded code that a hart keeps (38 MiB, if half of each was executed)


class Library:
    """A native interpreter in executable memory: one serves all harts of a process."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.layout = Layout(entry.cells)
        self.arena = Arena(len(entry.code))
        base = self.arena.add(entry.code)
        one, two = (ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n) for n in (1, 2))
        self.enter = one(base + entry.symbols["run"])
        self.take_trap = one(base + entry.symbols["take_trap"])
        self.publish = one(base + entry.symbols["publish"])
        self.prepare = two(base + entry.symbols["prepare"])
        self.undecoded = base + entry.symbols["undecoded"]  # in records of what never executed
        libc = ctypes.CDLL(None)
        self.addresses = {
            name: ctypes.cast(getattr(libc, name), ctypes.c_void_p).value or 0
            for name in ("clock_gettime", "memcmp")
        }


class Interpreter:
    """An engine (`run`, `resume`, `request_stop`) over a hart's state, its RAM and a clock."""

    def __init__(self, library: Library, hart: HartState, ram: Ram, clock: Clock) -> None:
        self.library, self.hart, self.ram, self.clock = library, hart, ram, clock
        hart.attach(ram)
        for name, address in library.addresses.items():
            hart[name] = address
        # Beside the pool, for instructions that execute elsewhere: the scratch page for those that
        # lie across two pages, the debug page for those whose record is taken.
        self._beside = mmap.mmap(-1, 3 * PAGE_OF_RECORDS, PRIVATE)
        self._pin = ctypes.c_char.from_buffer(self._beside)
        start = -(-ctypes.addressof(self._pin) // PAGE_OF_RECORDS) * PAGE_OF_RECORDS
        self.scratch, beside = start, start + PAGE_OF_RECORDS
        self._slots = mmap.mmap(-1, max(PAGE, ram.size // PAGE * 8), PRIVATE)
        self._slots_pin = ctypes.c_char.from_buffer(self._slots)
        hart["code_pages"] = ctypes.addressof(self._slots_pin)
        hart["scratch"] = self.scratch
        library.prepare(hart.address, self.scratch)
        library.prepare(hart.address, beside)
        first, last = (ctypes.c_uint64.from_address(beside + at) for at in (0, LAST))
        last.value = first.value
        hart["debug_page"] = beside
        library.publish(hart.address)
        self.pool = Pool(POOL, library.undecoded)
        hart["pool_is_blank"] = self.pool.is_blank
        hart["pool_next"], hart["pool_end"] = self.pool.first()
        self._state = ctypes.c_void_p(hart.address)
        offset = hart.layout.offset
        self._words = hart.words
        self._enter = library.enter
        self._exit, self._reserve, self._left = (
            offset[n] // 8 for n in ("exit", "reserve", "left")
        )
        self._address, self._width, self._value = (
            offset[n] // 8 for n in ("exit_address", "exit_width", "exit_value")
        )
        self._answer, self._answered = offset["answer"] // 8, offset["answered"] // 8
        self._attention, self._clock_base = offset["attention"] // 8, offset["clock_base"] // 8
        hart["clock_kind"] = clock.kind
        self._counting = clock if isinstance(clock, InstructionClock) else None
        self.deferred = self.full = 0
        self._reference: Reference | None = None

    def run(self, budget: int) -> Exit:
        """Retire at most `budget` instructions (exactly, if it is `Spent`); say why it stopped."""
        # The way of every device access: words by number, and tuples made without the constructor
        # of NamedTuple, make it 40 % shorter (0.9 us instead of 1.5, with `resume`).
        words = self._words
        words[self._clock_base] = self.clock.base
        if not words[self._answered]:
            words[self._attention] = 1
        while True:
            words[self._reserve] = budget
            self._enter(self._state)
            code = words[self._exit]
            out: Exit | None
            if code == MMIO_READ:
                out = _new(MmioRead, (words[self._address], words[self._width]))
            elif code == MMIO_WRITE:
                what = words[self._address], words[self._width], words[self._value]
                out = _new(MmioWrite, what)
            else:
                # The end of a slice may have been passed: then `left` is negative.
                budget = words[self._reserve] + words[self._left] & 0xFFFF_FFFF_FFFF_FFFF
                out, budget = self._other(code, budget)
            if out is not None:
                if self._counting is not None:
                    self._counting.spent = self.hart["spent"]
                return out

    def _other(self, code: int, left: int) -> tuple[Exit | None, int]:
        """The rare exits, and those that are no caller's business (None); the budget left."""
        hart = self.hart
        match code:
            case exits.SPENT:
                return exits.Spent(), 0
            case exits.STOPPED:
                return exits.Stopped(), 0
            case exits.IDLE:
                sleep = idle(hart)
                return (exits.Spent() if sleep is None and not left else sleep), left
            case exits.HYPERCALL:
                return exits.Hypercall(), 0
            case exits.STUCK:
                return exits.Stuck(hart["exit_address"], hart["cause"]), 0
            case exits.BREAKPOINT:
                return exits.Breakpoint(), 0
            case exits.WATCHPOINT:
                words = self._words
                at, width, kinds = words[self._address], words[self._width], words[self._value]
                return exits.Watchpoint(at, width, kinds), 0
            case exits.DEFERRED:
                self.deferred += 1
                out = self._reference_step()
                if out is None and left == 1:
                    return exits.Spent(), 0
                return out, left - 1
            case exits.FULL:
                self._make_room()
                return None, left
        raise RuntimeError(f"native code left with the unknown exit {code}")

    def _reference_step(self) -> Exit | None:
        if self._reference is None:
            from auberge.engine.reference import Reference  # slow to import, and seldom needed
            from auberge.isa.riscv.rv64 import rv64

            self._reference = Reference(rv64, self.hart, self.ram, self.clock)
        self.hart.pass_breakpoint()  # native code has looked
        out = self._reference.run(1)
        return None if isinstance(out, exits.Spent) else out

    def forget_code(self) -> None:
        """Drop every decoded page."""
        self._drop(self.pool.start, self.pool.end)
        self.hart["pool_next"], self.hart["pool_end"] = self.pool.first()

    def _make_room(self) -> None:
        """No page is free: drop what was decoded first, once there are as many as there may be."""
        start, end, were_used = self.pool.next()
        if were_used:
            self._drop(start, end)
        self.hart["pool_next"], self.hart["pool_end"] = start, end

    def _drop(self, start: int, end: int) -> None:
        """Drop the pages of records from one to another; nobody finds them from here on."""
        for page in range(start, end, PAGE_OF_RECORDS):
            slot = ctypes.c_uint64.from_address(page + SLOT).value
            if slot:
                ctypes.c_uint64.from_address(slot).value = 0
                self._dropped(page)
        self.pool.clear(start, end)
        self.hart.forget_translations()
        self.full += 1

    def _dropped(self, page: int) -> None:
        """A page of records is gone."""

    def resume(self, value: int | None) -> None:
        """Answer a device access; None: nothing answered there, which is an access fault."""
        words = self._words
        if value is not None:
            words[self._answer], words[self._answered] = value & 0xFFFF_FFFF_FFFF_FFFF, 1
            return
        hart = self.hart
        hart["cause"] = exits.ACCESS_FAULT[words[self._exit]]
        self.library.take_trap(self._state)
        hart["spent"] += 1

    def request_stop(self) -> None:
        """From any thread: have `run` come back with `Stopped`."""
        self.hart.request_stop()

    def debug(self, breakpoints: Collection[int], watches: Sequence[exits.Watch]) -> None:
        """As `Engine`. All is decoded again: what is decoded does not look (`fetch.UNDECODED`)."""
        self.hart.debug(breakpoints, watches)
        self.forget_code()

    def statistics(self) -> dict[str, int]:
        """What this engine counted since it was made."""
        hart = self.hart
        return {
            "instructions": hart["spent"],
            "tlb_misses": hart["misses"],
            "deferred": self.deferred,
            "code_flushes": self.full,
        }
