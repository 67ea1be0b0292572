"""Zicbom and Zicboz, cache-block management and zero instructions.

Sections are those of The RISC-V Instruction Set Manual, Volume I, version 20240411, chapter 19.

All memory here is coherent, with devices too, so management moves no data; what is left of it is
who may do it where. `BLOCK` is told to the guest by the device tree.
"""

from auberge.bits.bits import Bits, const
from auberge.isa.hart import STORE, Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.csrs import M, Priv, U, menvcfg, senvcfg
from auberge.isa.riscv.traps import illegal_when
from auberge.isa.spec import Part

BLOCK = 64  # bytes of a cache block

zicbom = rv64.extension("Zicbom", "1.0", "Cache-Block Management Instructions")
zicboz = rv64.extension("Zicboz", "1.0", "Cache-Block Zero Instructions")


def disabled(h: Hart, by_m: Part, by_s: Part) -> Bits:
    """Below M it needs the field of menvcfg, and in U that of senvcfg too."""
    return h[Priv].ne(M) & h[by_m].eq(0) | h[Priv].eq(U) & h[by_s].eq(0)


def block(h: Hart, rs1: Bits) -> Bits:
    """rs1 may be any address in the block ("Background")."""
    return h.x[rs1] & const(-BLOCK, 64)


# "Memory Access": permitted where a load or a store is; every page and every entry of PMP that
# allows stores allows loads. Where it is not, it faults as a store does.
@zicbom.insn("000000000000 rs1 010 00000 0001111", "cbo.inval ({rs1})")
def cbo_inval(h: Hart, rs1: Bits) -> None:
    illegal_when(h, disabled(h, menvcfg.CBIE, senvcfg.CBIE))
    h.call("translate_block", block(h, rs1))


@zicbom.insn("000000000001 rs1 010 00000 0001111", "cbo.clean ({rs1})")
def cbo_clean(h: Hart, rs1: Bits) -> None:
    illegal_when(h, disabled(h, menvcfg.CBCFE, senvcfg.CBCFE))
    h.call("translate_block", block(h, rs1))


@zicbom.insn("000000000010 rs1 010 00000 0001111", "cbo.flush ({rs1})")
def cbo_flush(h: Hart, rs1: Bits) -> None:
    illegal_when(h, disabled(h, menvcfg.CBCFE, senvcfg.CBCFE))
    h.call("translate_block", block(h, rs1))


# As a store to the whole block. A device has none that could be zeroed: an access fault.
@zicboz.insn("000000000100 rs1 010 00000 0001111", "cbo.zero ({rs1})")
def cbo_zero(h: Hart, rs1: Bits) -> None:
    illegal_when(h, disabled(h, menvcfg.CBZE, senvcfg.CBZE))
    place = h.place(block(h, rs1), BLOCK, STORE)
    for at in range(0, BLOCK, 8):
        h.poke(place + at, 8, const(0, 64))
