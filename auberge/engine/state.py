"""A hart's state: one flat buffer, the same for every engine, so that they can take turns on it."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Collection, Iterator, Sequence

from auberge.engine.exits import Watch
from auberge.memory.ram import PRIVATE, Ram

SINK = 32  # where a write to x0 goes: the file of integer registers has one more than the manual's
TLB_ENTRIES = {"fetch": 256, "load": 2048, "store": 2048}
ENTRY = 16  # bytes of a TLB entry: tag, addend
BANKS = 8
WATCHES = 4  # how many ranges of addresses may be watched
KEY_WORDS = 2  # what a TLB bank is known by: the state its translations depend on, packed

# Native functions that translated code finds by their addresses in the state.
SHARED = (
    "find", "called", "rest", "once", "alone", "touch_load", "touch_store", "fpu_narrow_32",
)  # fmt: skip
# Why regions were left, but to go on at other code: see `leaving`.
CAUSES = ("budget", "attention", "trap", "device", "crossing", "fetch", "mode", "reference")
SOFT = 1024  # instructions by which the end of a slice may be passed
LONGEST_SLICE = 1 << 15  # instructions between two looks at the clock: some 60 us
SAMPLES = 1024  # places where slices ended that are kept, at most, until someone asks

# Words of the engines' own, in the order of their offsets; none is architectural.
INTERNAL = (
    "attention",  # another thread, or a timer, wants the hart to look up
    "left",  # instructions until the end of the slice
    "reserve",  # of the budget, beyond the slice
    "horizon",  # `spent` when `left` is 0
    "hard",  # all ones: the slice has exactly its length; 0: its end may be passed by SOFT
    "spent",  # instructions of all runs
    "exit", "exit_address", "exit_width", "exit_value",
    "answered", "answer",  # what a device said; the access that asked completes with it
    "resume_record", "resume_bias",
    "bank", "next_bank",
    "stop", "posted_ssip", "request_sfence", "request_fence_i",
    "clock_kind", "clock_base",
    "ram_base", "ram_size", "ram_addend",
    "code_pages", "pool_next", "pool_end", "pool_is_blank", "generation",
    "clock_gettime", "memcmp",
    "local", "outcome", "scratch", "misses", "timespec_s", "timespec_ns", "host_fpu", "our_fpu",
    "breakpoints", "breakpoint_count", "debug_page", "watching",  # set while one debugs
    "longest",  # slice there may be
    # For who translates: places where slices ended, and how many of them are wanted at a time;
    # which region ended a slice; which record a region led to last in this slice; whether one ended
    # this slice, and how many slices that were; whether to tell of each new page of code.
    "samples", "sampled", "samples_wanted", "in_region", "led_to", "cold", "slices", "cold_slices",
    "reports_code",
    "nan_32", "nan_64",  # the canonical ones: regions have no data of their own
    *(f"exits_{cause}" for cause in CAUSES),
    *(f"f_{name}" for name in SHARED),
    "passed",  # pc | 1: execute what is there, be there a breakpoint
    *(f"watch{n}_{field}" for n in range(WATCHES) for field in Watch._fields),
    *(f"key{bank}_{word}" for bank in range(BANKS) for word in range(KEY_WORDS)),
)  # fmt: skip


class Layout:
    """Where each register and cell stands in the buffer, in bytes."""

    X, F, CELLS = 0, 8 * (SINK + 1), 8 * (SINK + 1 + 32)

    def __init__(self, cells: tuple[str, ...]) -> None:
        self.cells = cells
        names = ("pc", "attention", *(c for c in cells if c != "pc"), *INTERNAL[1:])
        self.offset = {name: self.CELLS + 8 * n for n, name in enumerate(names)}
        self.tlb = -(-(self.CELLS + 8 * len(names)) // 4096) * 4096
        at = 0
        self.table: dict[str, int] = {}  # of an access kind, within a bank
        for kind, entries in TLB_ENTRIES.items():
            self.table[kind] = at
            at += ENTRY * entries
        self.bank_size = at
        self.size = self.tlb + BANKS * self.bank_size


class Registers:
    """A file of 32 registers, in the flat buffer."""

    __slots__ = ("_at", "_words")

    def __init__(self, words: ctypes.Array[ctypes.c_uint64], at: int) -> None:
        self._words, self._at = words, at

    def __getitem__(self, i: int) -> int:
        if not 0 <= i < 32:
            raise IndexError(f"there is no register {i}")
        return self._words[self._at + i]

    def __setitem__(self, i: int, value: int) -> None:
        if not 0 <= i < 32:
            raise IndexError(f"there is no register {i}")
        if i or self._at:
            self._words[self._at + i] = value & 0xFFFF_FFFF_FFFF_FFFF

    def __iter__(self) -> Iterator[int]:
        return (self[i] for i in range(32))


class HartState:
    """One hart: registers by number, cells by name, all as unsigned 64-bit ints.

    Only the thread that runs the hart touches it, and not while it is inside `run`; `set_line`,
    `post_ssip`, `request` and `request_stop` are for any thread, at any time.
    """

    def __init__(self, layout: Layout, reset: dict[str, int], hartid: int = 0) -> None:
        self.layout = layout
        self._map = mmap.mmap(-1, layout.size, PRIVATE)
        self._pin = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._pin)
        self.words = (ctypes.c_uint64 * (layout.tlb // 8)).from_buffer(self._map)
        self._index = {name: at // 8 for name, at in layout.offset.items()}
        self.x = Registers(self.words, layout.X // 8)
        self.f = Registers(self.words, layout.F // 8)
        for name, value in reset.items():
            self[name] = value
        self["mhartid"], self["longest"] = hartid, LONGEST_SLICE
        self.breakpoints: frozenset[int] = frozenset()
        self._breakpoints = (ctypes.c_uint64 * 0)()
        self.forget_translations()

    def __getitem__(self, name: str) -> int:
        return self.words[self._index[name]]

    def __setitem__(self, name: str, value: int) -> None:
        self.words[self._index[name]] = value & 0xFFFF_FFFF_FFFF_FFFF

    def attach(self, ram: Ram) -> None:
        """Say where the RAM is that this hart's physical addresses mean."""
        self["ram_base"], self["ram_size"] = ram.base, ram.size
        self["ram_addend"] = ram.address - ram.base

    def forget_translations(self) -> None:
        """Flush the TLB: no bank is anyone's."""
        for bank in range(BANKS):
            for word in range(KEY_WORDS):
                self[f"key{bank}_{word}"] = 0xFFFF_FFFF_FFFF_FFFF
        ctypes.memset(self.address + self.layout.tlb, 0xFF, BANKS * self.layout.bank_size)
        self["resume_record"] = 0

    def set_line(self, bit: int, level: bool) -> None:
        """Set an external input of mip: 3 (MSIP), 9 (SEIP) or 11 (MEIP). One thread at a time."""
        lines = self["lines"]
        self["lines"] = lines | 1 << bit if level else lines & ~(1 << bit)
        self["attention"] = 1

    def post_ssip(self) -> None:
        """Set mip.SSIP, as another hart's inter-processor interrupt does."""
        self["posted_ssip"] = 1
        self["attention"] = 1

    def request(self, what: str) -> None:
        """Have the hart flush ("sfence", "fence_i") at its next check, soon if it runs."""
        self["request_" + what] = 1
        self["attention"] = 1

    def request_served(self, what: str) -> bool:
        """Whether the last such request is done."""
        return not self["request_" + what]

    def request_stop(self) -> None:
        """Have `run` come back soon, with `Stopped`."""
        self["stop"] = 1
        self["attention"] = 1

    def debug(self, breakpoints: Collection[int], watches: Sequence[Watch]) -> None:
        """Note what an engine's `debug` is given, instead of what was; raises ValueError."""
        if len(watches) > WATCHES:
            raise ValueError(f"{len(watches)} ranges to watch; at most {WATCHES} are possible")
        self["passed"] = 0
        self.breakpoints = frozenset(breakpoints)
        self._breakpoints = (ctypes.c_uint64 * len(self.breakpoints))(*self.breakpoints)
        self["breakpoints"] = ctypes.addressof(self._breakpoints)
        self["breakpoint_count"], self["watching"] = len(self.breakpoints), len(watches)
        for n in range(WATCHES):
            watch = watches[n] if n < len(watches) else Watch(0, 0, 0)
            for field, value in zip(Watch._fields, watch, strict=True):
                self[f"watch{n}_{field}"] = value

    def pass_breakpoint(self) -> None:
        """Have the next run begin with the instruction at pc, whatever stops or interrupts here."""
        self["passed"] = self["pc"] | 1

    def visible(self) -> dict[str, int]:
        """Everything architectural, by name: for comparing two harts."""
        hidden = ("cause", "tval", "word", "superpages")
        registers = {
            f"{n}{i}": v for n, file in (("x", self.x), ("f", self.f)) for i, v in enumerate(file)
        }
        return registers | {c: self[c] for c in self.layout.cells if c not in hidden}
