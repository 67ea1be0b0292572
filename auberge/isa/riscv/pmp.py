"""Physical memory protection. Sections: Volume II, version 20211203, 3.7.

The grain is 4 KiB (G = 10), so that a page has one answer and a TLB may keep it.
"""

from auberge.bits.bits import Bits, const, select
from auberge.isa.hart import FETCH, LOAD, STORE, Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.csrs import PMP_ENTRIES, M, pmp_entry, pmpaddr

PERMISSION = {LOAD: 1, STORE: 2, FETCH: 4}  # R, W and X of an entry
TOR, NAPOT = 1, 3


@rv64.routine("pmp")
def pmp(h: Hart, pa: Bits, permission: Bits, priv: Bits) -> None:
    """1 if an access in mode `priv` that needs `permission` may touch address `pa`, else 0."""
    for_m = priv.eq(int(M))
    page, floor = pa.shr(12), const(0, 64)
    for index in range(PMP_ENTRIES):  # "the lowest-numbered PMP entry that matches ... determines"
        entry, address = pmp_entry(h, index), h[pmpaddr[index]]
        mode, top = entry[4:3], address.shr(10)
        below_top = mode.eq(TOR) & floor.ule(page) & page.ult(top)
        ones = (
            address | 0x1FF
        )  # table 3.11: yyy...0111 is the power of two that has as many ones and one more
        inside = mode.eq(NAPOT) & ((pa.shr(2) ^ ones) & ~(ones ^ (ones + 1))).eq(0)
        with h.when(below_top | inside):
            allowed = (entry.zext(64) & permission).ne(0) | for_m & ~entry[7]
            h.answer(allowed.zext(64))
        floor = top
    # "If no PMP entry matches an M-mode access, the access succeeds"; in S and U it fails.
    h.answer(select(for_m, const(1, 64), const(0, 64)))
