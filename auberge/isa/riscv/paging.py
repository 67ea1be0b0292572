"""Virtual memory: Sv39, Sv48 and Sv57. Sections: Volume II, version 20211203.

The routines `translate_fetch`, `translate_load` and `translate_store` answer the physical address
of a virtual one, or trap; `translate_block` likewise, for cache blocks.
"""

from auberge.bits.bits import Bits, concat, const, select
from auberge.isa.hart import FETCH, LOAD, STORE, Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.csrs import SUPERPAGES, M, Priv, S, U, menvcfg, mstatus, satp
from auberge.isa.riscv.pmp import PERMISSION
from auberge.isa.riscv.traps import ACCESS_FAULT, PAGE_FAULT, illegal_when

SV39, SV48, SV57 = 8, 9, 10  # 4.1.11, table 4.4

supervisor = rv64.extension("Ss", "1.12", "Supervisor-Level ISA")
svadu = rv64.extension("Svadu", "1.0", "Hardware Updating of A/D Bits")
svinval = rv64.extension("Svinval", "1.0", "Fine-Grained Address-Translation Cache Invalidation")
svnapot = rv64.extension("Svnapot", "1.0", "NAPOT Translation Contiguity")
svpbmt = rv64.extension("Svpbmt", "1.0", "Page-Based Memory Types")


def walk(h: Hart, va: Bits, access: str, routine: str, faults_as: str) -> None:
    """4.3.2, 4.4 - 4.6. Levels are known to Python; smaller modes pass over the highest two."""

    def page_fault_when(wrong: Bits) -> None:
        with h.when(wrong):
            h.trap(PAGE_FAULT[faults_as], va)

    def access_fault_when(wrong: Bits) -> None:
        with h.when(wrong):
            h.trap(ACCESS_FAULT[faults_as], va)

    def protected(pa: Bits, kind: str, mode: Bits) -> Bits:
        return h.call("pmp", pa, const(PERMISSION[kind], 64), mode.zext(64)).eq(0)

    # 3.1.6.3: MPRV makes loads and stores those of MPP
    priv = h[Priv] if access == FETCH else select(h[mstatus.MPRV], h[mstatus.MPP], h[Priv])
    mode = h[satp.MODE]
    with h.when(priv.eq(M) | mode.eq(0)):
        access_fault_when(protected(va, access, priv))
        h.answer(va)

    def step(level: int, table: Bits) -> Bits:
        """Steps 2 to 8 of 4.3.2: answer at a leaf, or give the page number of the next table."""
        low = 12 + 9 * level
        at = concat(table, va[low + 8 : low], const(0, 3)).zext(64)
        # 3.7.2: "the effective privilege mode is S"
        access_fault_when(~h.is_ram(at, 8))
        access_fault_when(protected(at, LOAD, S))
        pte = h.peek(h.physical(at), 8)
        valid, readable, writable, executable, user, _, accessed, dirty = (
            pte[bit] for bit in range(8)
        )
        napot, memory_type = pte[63], pte[62:61]
        page_fault_when(~valid | ~readable & writable | pte[60:54].ne(0))
        leaf = readable | executable
        # Chapter 6, Svpbmt: of a leaf, if it is on; 3 is reserved. All memory is of one type here.
        allowed_types = select(h[menvcfg.PBMTE], memory_type.ne(3), memory_type.eq(0))
        # Chapter 5, Svnapot, table 5.1: of a leaf for 64 KiB, at level 0
        allowed_napot = ~napot | (pte[13:10].eq(8) if level == 0 else const(0, 1))
        page_fault_when(select(leaf, ~allowed_types | ~allowed_napot, pte[63:61].ne(0)))
        with h.when(leaf):
            if access == FETCH:
                allowed, to_s = executable, ~user
            else:
                allowed = writable if access == STORE else readable | h[mstatus.MXR] & executable
                to_s = ~user | h[mstatus.SUM]
            page_fault_when(~allowed | ~select(priv.eq(U), user, to_s))
            if level:  # a misaligned superpage
                page_fault_when(pte[low - 3 : 10].ne(0))
            used = pte | (0xC0 if access == STORE else 0x40)
            stale = used.ne(pte)
            page_fault_when(stale & ~h[menvcfg.ADUE])
            pa = concat(pte[53 : low - 2], va[low - 1 : 0]).zext(64)
            if level == 0:  # "the address bits vpn[i]... replace the low bits of the PPN"
                pa = select(napot, pa.insert(15, 12, va[15:12]), pa)
            access_fault_when(protected(pa, access, priv))
            with h.when(stale):
                access_fault_when(protected(at, STORE, S))
                # Step 7: compare and set atomically; "if the comparison fails, return to step 2".
                # From the root is as good: another hart may have changed any table.
                same = h.swap(h.physical(at), 8, pte, used)
                with h.when(~same):
                    h.answer(h.call(routine, va))
            # Not h[...]: what the translation is does not depend on it.
            where = gigabyte(va) if level < 3 else const(-1, 64)
            if level == 0:
                where = select(napot, where, const(0, 64))
            h[SUPERPAGES] = h.read(SUPERPAGES) | where
            h.answer(pa)
        page_fault_when(accessed | dirty | user)  # 4.3.1: reserved in a PTE that is not a leaf
        return pte[53:10]

    # 4.4.1, 4.5.1, 4.6.1: bits above the page numbers equal their most significant one
    top = select(
        mode.eq(SV39),
        va[38:0].sext(64),
        select(mode.eq(SV48), va[47:0].sext(64), va[56:0].sext(64)),
    )
    page_fault_when(top.ne(va))
    root = h[satp.PPN]
    below_4 = h.either(mode.eq(SV57), lambda: step(4, root), root)
    table = h.either(mode.ne(SV39), lambda: step(3, below_4), below_4)
    for level in (2, 1, 0):
        table = step(level, table)
    h.trap(PAGE_FAULT[faults_as], va)


@rv64.routine("translate_fetch")
def translate_fetch(h: Hart, va: Bits) -> None:
    walk(h, va, FETCH, "translate_fetch", FETCH)


@rv64.routine("translate_load")
def translate_load(h: Hart, va: Bits) -> None:
    walk(h, va, LOAD, "translate_load", LOAD)


@rv64.routine("translate_store")
def translate_store(h: Hart, va: Bits) -> None:
    walk(h, va, STORE, "translate_store", STORE)


@rv64.routine("translate_block")
def translate_block(h: Hart, va: Bits) -> None:
    """Of a cache block to be managed: allowed where a load is, faults as a store (see zicbo.py)."""
    walk(h, va, LOAD, "translate_block", STORE)


def gigabyte(va: Bits) -> Bits:
    """One of 64 bits for the GiB of `va`; a level 1 or 2 superpage, or a NAPOT, is all in one."""
    return const(1, 64) << va.shr(30)


# 4.2.1 Supervisor Memory-Management Fence Instruction
def fence(h: Hart, rs1: Bits) -> None:
    """Forget the translations of an address, or all; those of one address space as of all.

    The entries that contain its leaf are those of a whole superpage, if that is what it was; which
    it was, the tables no longer say. So in a GiB with superpages nothing less than all will do.
    """
    illegal_when(h, h[Priv].eq(U) | h[Priv].eq(S) & h[mstatus.TVM])
    va = h.x[rs1]
    everything = rs1.eq(0) | (h[SUPERPAGES] & gigabyte(va)).ne(0)
    with h.when(everything):
        h[SUPERPAGES] = const(0, 64)
        h.flush()
    with h.when(~everything):
        h.flush(va)


@supervisor.insn("0001001 rs2 rs1 000 00000 1110011", "sfence.vma {rs1}, {rs2}")
def sfence_vma(h: Hart, rs1: Bits, rs2: Bits) -> None:
    fence(h, rs1)


supervisor.alias("sfence.vma", "sfence.vma x0, x0")
supervisor.alias("sfence.vma {rs1}", "sfence.vma {rs1}, x0")


# Chapter 7: here an invalidation is complete by itself, and the fences around it do nothing
@svinval.insn("0001011 rs2 rs1 000 00000 1110011", "sinval.vma {rs1}, {rs2}")
def sinval_vma(h: Hart, rs1: Bits, rs2: Bits) -> None:
    fence(h, rs1)


@svinval.insn("0001100 00000 00000 000 00000 1110011", "sfence.w.inval")
def sfence_w_inval(h: Hart) -> None:
    illegal_when(h, h[Priv].eq(U))


@svinval.insn("0001100 00001 00000 000 00000 1110011", "sfence.inval.ir")
def sfence_inval_ir(h: Hart) -> None:
    illegal_when(h, h[Priv].eq(U))
