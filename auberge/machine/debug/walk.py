"""A page walk, looked at: the entries that it reads, where it leads, and who may go there.

The rules are those of `isa.riscv.paging` alone: its text runs here on an engine that changes
nothing and notes what is read. A second look, as S with all that can be allowed, tells what is
mapped there, whoever may use it.
"""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

from auberge.bits.bits import Bits, const
from auberge.engine.clock import Clock
from auberge.engine.reference import Reference
from auberge.engine.state import BANKS, TLB_ENTRIES, HartState
from auberge.isa.hart import FETCH, LOAD, STORE, ZERO
from auberge.isa.riscv.csrs import PRIV, menvcfg, mstatus
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Cell, Csr, Part
from auberge.machine.debug.causes import cause_name
from auberge.machine.debug.translation import LEVELS
from auberge.memory.ram import PAGE, Ram

MODES = {0: "Bare", 8: "Sv39", 9: "Sv48", 10: "Sv57"}  # Volume II, 4.1.11, table 4.4
NAPOT = 1 << 63
NAPOT_SIZE = 1 << 16  # chapter 5, Svnapot, table 5.1: the only size
EMPTY = (1 << 64) - 1  # the tag of a TLB entry that holds nothing, and the key of a free bank


class Level(NamedTuple):
    """A page-table entry that the walk reads, at physical `address`; `level` 0 is the last."""

    level: int
    address: int
    entry: int

    @property
    def flags(self) -> str:
        """Its bits D A G U X W R V, a dash where one is clear (4.3.1); before, N and PBMT."""
        letters = "".join(
            letter if self.entry >> 7 - n & 1 else "-" for n, letter in enumerate("DAGUXWRV")
        )
        memory_type = ("", "NC ", "IO ", "?? ")[self.entry >> 61 & 3]
        return ("N " if self.entry & NAPOT else "") + memory_type + letters


class Allowed(NamedTuple):
    """The hart may do this now, and reaches physical `gpa`."""

    gpa: int


class Fault(NamedTuple):
    """The hart may not: the exception of `cause` would come."""

    cause: int

    @property
    def name(self) -> str:
        """What the manual calls it."""
        return cause_name(self.cause)


class Cached(NamedTuple):
    """A TLB entry of the engine for the page: in a `bank`, which is `in_force` or another's.

    `hva` is where on the host it leads; of fetches it is not known.
    """

    kind: str
    bank: int
    in_force: bool
    hva: int | None


class Translation(NamedTuple):
    """Where a virtual address leads; `fetch`, `load` and `store` are what the hart may do now.

    `gpa` and `hva` are None where nothing is mapped, or, `hva`, no RAM; `fault` says why.
    `page_size` is that of the leaf, None without translation.
    """

    gva: int
    mode: str
    levels: tuple[Level, ...]
    gpa: int | None
    hva: int | None
    page_size: int | None
    fault: Fault | None
    fetch: Allowed | Fault
    load: Allowed | Fault
    store: Allowed | Fault
    tlb: tuple[Cached, ...]


def translate(hart: HartState, ram: Ram, clock: Clock, gva: int) -> Translation:
    """What the page walk makes of a 64-bit `gva` now; nothing is changed by the question."""
    fetch, load, store = (
        _Walk(hart, ram, clock).go(access, gva) for access in (FETCH, LOAD, STORE)
    )
    anyone = _Walk(hart, ram, clock, _ANYONE)
    found = anyone.go(LOAD, gva)
    gpa = found.gpa if isinstance(found, Allowed) else None
    mode = hart["satp"] >> 60
    top = LEVELS.get(mode, 0) - 1
    levels = tuple(Level(top - n, *read) for n, read in enumerate(anyone.entries))
    size = None
    if gpa is not None and levels:
        leaf = levels[-1]
        size = NAPOT_SIZE if leaf.entry & NAPOT else PAGE << 9 * leaf.level
    hva = None
    if gpa is not None and 0 <= gpa - ram.base < ram.size:
        hva = ram.address + gpa - ram.base
    return Translation(
        gva,
        MODES[mode],
        levels,
        gpa,
        hva,
        size,
        found if isinstance(found, Fault) else None,
        fetch,
        load,
        store,
        _tlb(hart, gva),
    )


_ANYONE = {
    PRIV: lambda value: 1,
    mstatus.cell: lambda value: (value | 1 << 18 | 1 << 19) & ~(1 << 17),  # SUM, MXR; not MPRV
    menvcfg.cell: lambda value: value | 1 << 61 | 1 << 62,  # ADUE, PBMTE
}
"""How a look that is allowed everything sees the hart's state."""


class _Faulted(Exception):
    def __init__(self, cause: int) -> None:
        self.cause = cause


class _Walk(Reference):
    """Evaluates the walk for its answer, and leaves hart and memory as they are."""

    def __init__(
        self,
        hart: HartState,
        ram: Ram,
        clock: Clock,
        seen_as: dict[Cell, Callable[[int], int]] | None = None,
    ) -> None:
        super().__init__(rv64, hart, ram, clock)
        self._seen_as = seen_as or {}
        self.entries: list[tuple[int, int]] = []

    def go(self, access: str, gva: int) -> Allowed | Fault:
        """The walk of `isa.riscv.paging` for this kind of access."""
        try:
            return Allowed(int(self._called("translate_" + access, const(gva, 64))))
        except _Faulted as faulted:
            return Fault(faulted.cause)

    def __getitem__(self, place: object) -> Bits:
        assert isinstance(place, Cell | Part | Csr)
        return self.read(place.cell)[place.hi : place.lo]

    def read(self, cell: Cell) -> Bits:
        value = int(super().read(cell))
        seen_as = self._seen_as.get(cell)
        return const(value if seen_as is None else seen_as(value), 64)

    def commit_cells(self) -> None:
        self.pending.clear()

    def call(self, routine: str, *args: Bits) -> Bits:
        if self._seen_as and routine == "pmp":
            return const(1, 64)
        return super().call(routine, *args)

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        if self.live:
            raise _Faulted(int(cause))

    def peek(self, place: Bits, size: int) -> Bits:
        value = super().peek(place, size)
        if self.live:
            self.entries.append((int(place), int(value)))
        return value

    def swap(self, place: Bits, size: int, old: Bits, new: Bits) -> Bits:
        return const(1, 1)


def _tlb(hart: HartState, gva: int) -> tuple[Cached, ...]:
    """What the banks of the native engines' TLB hold for the page of `gva`."""
    layout, page = hart.layout, gva // PAGE * PAGE
    found = []
    for bank in range(BANKS):
        if hart[f"key{bank}_0"] == EMPTY:
            continue
        start = bank * layout.bank_size
        for kind, count in TLB_ENTRIES.items():
            at = layout.tlb + start + layout.table[kind] + 16 * (gva // PAGE % count)
            tag, addend = (ctypes.c_uint64 * 2).from_address(hart.address + at)
            if tag == page:
                hva = None if kind == FETCH else (gva + addend) % (1 << 64)
                found.append(Cached(kind, bank, start == hart["bank"], hva))
    return tuple(found)
