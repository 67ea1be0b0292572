"""Where virtual addresses are, as a debugger asks: nobody's permission, and no trace left behind.

Volume II, version 20211203, 4.3.2, 4.4 - 4.6 and chapter 5. What guests do by `isa.riscv.paging`
has permissions and side effects; this has neither.
"""

from auberge.memory.ram import OutOfRange, Ram

LEVELS = {8: 3, 9: 4, 10: 5}  # of Sv39, Sv48, Sv57, by satp.MODE
PAGE_NUMBER = (1 << 44) - 1
VALID, READ, EXECUTE = 1, 2, 8
NAPOT = 1 << 63


def physical(ram: Ram, satp: int, va: int) -> int | None:
    """The physical address of `va` in the address space of `satp`; None where nothing is mapped."""
    levels = LEVELS.get(satp >> 60)
    if levels is None:
        return va
    if va >> 11 + 9 * levels not in (0, (1 << 53 - 9 * levels) - 1):
        return None
    table = (satp & PAGE_NUMBER) << 12
    for level in range(levels - 1, -1, -1):
        low = 12 + 9 * level
        try:
            pte = int.from_bytes(ram.read(table + 8 * (va >> low & 511), 8), "little")
        except OutOfRange:
            return None
        if not pte & VALID:
            return None
        base = (pte >> 10 & PAGE_NUMBER) << 12
        if pte & (READ | EXECUTE):
            if pte & NAPOT and not level:
                low = 16
            mask = (1 << low) - 1
            return base & ~mask | va & mask
        table = base
    return None
