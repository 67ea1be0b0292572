"""What an engine must know of the RISC-V description before it can make a hart."""

from __future__ import annotations

from auberge.engine.state import Layout
from auberge.isa.riscv import csrs
from auberge.isa.spec import Cell, Csr, Isa


def layout_of(isa: Isa) -> Layout:
    """Where the cells of a description stand: its CSRs', and those its texts name besides."""
    named = {value for value in vars(csrs).values() if isinstance(value, Cell)}
    cells = named | set(csrs.RESET) | {csr.cell for csr in _all(isa)}
    return Layout(tuple(sorted(cell.name for cell in cells)))


def _all(isa: Isa) -> list[Csr]:
    return list(isa.csrs.values()) or list(csrs.CSRS.values())


def reset_of(isa: Isa) -> dict[str, int]:
    """The state of a hart that has just been reset, by cell name; what is not named is 0."""
    return {cell.name: value for cell, value in csrs.RESET.items()}


def steady() -> dict[tuple[Cell, int, int], int]:
    """What regions take for granted, and verify where they begin: FS is dirty, frm to nearest."""
    fs = csrs.mstatus.FS
    return {(fs.cell, fs.hi, fs.lo): 3, (csrs.FRM, 63, 0): 0}
