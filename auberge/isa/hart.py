"""What an author of instructions sees. Each engine says what reading, writing and branching are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from auberge.bits.bits import MASK, Bits, const, leaf
from auberge.isa.spec import Cell, Csr, Isa, Part

FETCH, LOAD, STORE = "fetch", "load", "store"
ZERO = const(0, 64)
PC = Cell("pc")
T = TypeVar("T")


class Place(Protocol):
    """A cell, a part of one, or a CSR with a cell of its own: what `h[...]` takes."""

    @property
    def cell(self) -> Cell: ...
    @property
    def hi(self) -> int: ...
    @property
    def lo(self) -> int: ...


class File:
    """`h.x[rd]`: a file of 64-bit registers."""

    __slots__ = ("h", "name")

    def __init__(self, h: Hart, name: str) -> None:
        self.h, self.name = h, name

    def __getitem__(self, i: Bits) -> Bits:
        return self.h.read_register(self.name, i)

    def __setitem__(self, i: Bits, v: Bits) -> None:
        self.h.write_register(self.name, i, v)


class Hart:
    """Reads see the state before the instruction. Writes wait for its end; a trap discards them.

    Effects in `with h.when(cond):` happen if `cond` does. `trap`, `answer`, `retire`, `wait` and
    `leave` end their path. A value born in a `when` dies with it; `either` is how a value gets out.
    Memory writes are immediate, hence last: a trap after one is refused when it is traced.
    """

    isa: Isa
    next_pc: Bits
    """The address of what follows this instruction."""

    def __init__(self) -> None:
        self.x, self.f = File(self, "x"), File(self, "f")
        self.pending: dict[Cell, Bits] = {}
        self.reads: dict[Cell, int] = {}  # which bits this text was seen to read ...
        self.writes: dict[Cell, int] = {}  # ... and write

    def __getitem__(self, place: Place | Cell | Part | Csr) -> Bits:
        cell = place.cell
        self.reads[cell] = self.reads.get(cell, 0) | mask(place)
        return self.read(cell)[place.hi : place.lo]

    def __setitem__(self, place: Place | Cell | Part | Csr, v: Bits) -> None:
        cell = place.cell
        self.writes[cell] = self.writes.get(cell, 0) | mask(place)
        if (place.hi, place.lo) != (63, 0):
            now = self.pending.get(cell)
            v = (self.read(cell) if now is None else now).insert(place.hi, place.lo, v)
        elif v.width != 64:
            raise TypeError(f"{cell} holds 64 bits, not {v.width}; widen with .sext() or .zext()")
        self.write(cell, v)

    def either(self, cond: Bits, then: Callable[[], Bits], otherwise: Bits) -> Bits:
        """`then()` on the path where `cond` holds, else `otherwise`: a value that needs effects."""
        local = Cell("local")
        outer = self.pending.get(local)
        self.pending[local] = otherwise
        with self.when(cond):
            self.write(local, then())
        value = self.pending.pop(local)
        if outer is not None:
            self.pending[local] = outer
        return value

    def touches(self, watched: dict[Cell, int]) -> bool:
        """Whether this text was seen to write any of these bits."""
        return any(watched.get(cell, 0) & bits for cell, bits in self.writes.items())

    @property
    def word(self) -> Bits:
        """The instruction word as fetched, 64 bits; a compressed one in its own 16."""
        return self.instruction_word()

    # -- each engine's own: state ---------------------------------------------------------------
    def instruction_word(self) -> Bits:
        raise NotImplementedError

    def read(self, cell: Cell) -> Bits:
        raise NotImplementedError

    def write(self, cell: Cell, v: Bits) -> None:
        raise NotImplementedError

    def read_register(self, file: str, i: Bits) -> Bits:
        raise NotImplementedError

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        raise NotImplementedError

    # -- paths ----------------------------------------------------------------------------------
    def when(self, cond: Bits) -> AbstractContextManager[None]:
        """The path on which `cond` (one bit) holds; there is no otherwise, `when(~cond)` is it."""
        raise NotImplementedError

    def cases(
        self, value: Bits, table: dict[int, T], otherwise: Callable[[Hart], None]
    ) -> Iterator[T]:
        """For each entry `value` may select: run the loop's body, then end. At most one is real."""
        raise NotImplementedError

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        """End with an exception; pending writes are discarded."""
        raise NotImplementedError

    def retire(self) -> None:
        """End here; pending writes are committed."""
        raise NotImplementedError

    def answer(self, v: Bits) -> None:
        """End a routine with its 64-bit answer; pending writes are committed."""
        raise NotImplementedError

    def call(self, routine: str, *args: Bits) -> Bits:
        """The 64-bit answer of a routine (0 if it falls out of its end); its trap is ours.

        It sees the state before the instruction, and what it writes is committed when it ends: call
        it before the writes of the caller, and do not trap after a routine that has effects.
        """
        raise NotImplementedError

    def wait(self) -> None:
        """End as wfi does: retire, and stall until an interrupt is pending (Volume II, 3.3.3)."""
        raise NotImplementedError

    def leave(self) -> None:
        """End a trap by handing it to the host, the hart's state untouched."""
        raise NotImplementedError

    # -- memory ---------------------------------------------------------------------------------
    def load(self, va: Bits, size: int) -> Bits:
        """`size` bytes from virtual address `va`, aligned or not; an access to a device exits."""
        raise NotImplementedError

    def store(self, va: Bits, size: int, v: Bits) -> None:
        """Store `v` (8 * size bits) at virtual address `va`, aligned or not."""
        raise NotImplementedError

    def place(self, va: Bits, size: int, access: str) -> Bits:
        """Where an atomic access happens; misaligned, or not RAM, it traps."""
        raise NotImplementedError

    def physical(self, pa: Bits) -> Bits:
        """The place of a physical address that `is_ram` holds for."""
        raise NotImplementedError

    def is_ram(self, pa: Bits, size: int) -> Bits:
        """One bit: whether `size` bytes from physical `pa` are RAM."""
        raise NotImplementedError

    def peek(self, place: Bits, size: int) -> Bits:
        """What a place holds, 8 * size bits."""
        raise NotImplementedError

    def poke(self, place: Bits, size: int, v: Bits) -> None:
        """Write a place."""
        raise NotImplementedError

    def update(self, place: Bits, size: int, new: Callable[[Bits], Bits]) -> Bits:
        """Atomically replace what a place holds by `new(old)`; gives the old."""
        raise NotImplementedError

    def swap(self, place: Bits, size: int, old: Bits, new: Bits) -> Bits:
        """Atomically write `new` if the place holds `old`; one bit says whether it did."""
        raise NotImplementedError

    def flush(self, va: Bits | None = None) -> None:
        """Forget translations: all, or those of the page of `va`."""
        raise NotImplementedError

    def fence(self) -> None:
        """Order all memory accesses before against all after."""
        raise NotImplementedError

    def fence_i(self) -> None:
        """Make stores visible to instruction fetches that follow."""
        raise NotImplementedError

    # -- counters and floating point ------------------------------------------------------------
    def time(self) -> Bits:
        """The real-time counter, in ticks of the board's timebase."""
        raise NotImplementedError

    def retired(self) -> Bits:
        """How many instructions this hart has spent, this one not included."""
        raise NotImplementedError

    def fpu(self, op: str, fmt: int, rm: Bits, *operands: Bits) -> Bits:
        """The rounded result of an operation of `bits.ieee` in the `fmt`-bit format.

        `rm` is a rounding mode, 0 to 4. The flags it raises accumulate when the instruction ends.
        """
        raise NotImplementedError

    def fpu_flags(self) -> Bits:
        """Flags (64 bits) raised by `fpu` and not yet in any cell."""
        raise NotImplementedError

    def fpu_clear(self) -> None:
        """Drop what `fpu_flags` gives."""
        raise NotImplementedError


def mask(place: Place | Cell | Part | Csr) -> int:
    """The bits of its cell that a place covers."""
    return MASK[place.hi + 1] & ~MASK[place.lo]


class Spy(Hart):
    """Traces a text only to see what it reads and writes: all is unknown, nothing is emitted."""

    def __init__(self, isa: Isa, text: Callable[..., None], *args: str) -> None:
        super().__init__()
        self.isa, self.fresh = isa, 0
        self.depth = 0  # of conditions that what is traced depends on
        self.called: set[str] = set()
        self.next_pc = self.unknown()
        text(self, *(self.unknown() for _ in args))

    def unknown(self, width: int = 64) -> Bits:
        """A value of which nothing is known, unlike any other."""
        self.fresh += 1
        return leaf(width, self.fresh)

    def instruction_word(self) -> Bits:
        return self.unknown()

    def read(self, cell: Cell) -> Bits:
        return self.unknown()

    def write(self, cell: Cell, v: Bits) -> None:
        self.pending[cell] = v

    def read_register(self, file: str, i: Bits) -> Bits:
        return self.unknown()

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        pass

    @contextmanager
    def when(self, cond: Bits) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def cases(
        self, value: Bits, table: dict[int, T], otherwise: Callable[[Hart], None]
    ) -> Iterator[T]:
        yield from table.values()
        otherwise(self)

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        pass

    def retire(self) -> None:
        pass

    def answer(self, v: Bits) -> None:
        pass

    def call(self, routine: str, *args: Bits) -> Bits:
        if routine not in self.called:
            self.called.add(routine)
            self.isa.routines[routine](self, *args)
        return self.unknown()

    def wait(self) -> None:
        pass

    def leave(self) -> None:
        pass

    def load(self, va: Bits, size: int) -> Bits:
        return self.unknown(8 * size)

    def store(self, va: Bits, size: int, v: Bits) -> None:
        pass

    def place(self, va: Bits, size: int, access: str) -> Bits:
        return self.unknown()

    def physical(self, pa: Bits) -> Bits:
        return self.unknown()

    def is_ram(self, pa: Bits, size: int) -> Bits:
        return self.unknown(1)

    def peek(self, place: Bits, size: int) -> Bits:
        return self.unknown(8 * size)

    def poke(self, place: Bits, size: int, v: Bits) -> None:
        pass

    def update(self, place: Bits, size: int, new: Callable[[Bits], Bits]) -> Bits:
        new(self.unknown(8 * size))
        return self.unknown(8 * size)

    def swap(self, place: Bits, size: int, old: Bits, new: Bits) -> Bits:
        return self.unknown(1)

    def flush(self, va: Bits | None = None) -> None:
        pass

    def fence(self) -> None:
        pass

    def fence_i(self) -> None:
        pass

    def time(self) -> Bits:
        return self.unknown()

    def retired(self) -> Bits:
        return self.unknown()

    def fpu(self, op: str, fmt: int, rm: Bits, *operands: Bits) -> Bits:
        if op[:5] == "from_" or op[:3] != "to_":
            return self.unknown(fmt)
        return self.unknown(int(op[4:]))

    def fpu_flags(self) -> Bits:
        return self.unknown()

    def fpu_clear(self) -> None:
        pass
