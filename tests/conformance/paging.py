"""Random page tables, and a machine-mode program that tries an access through each.

A case is a satp, page-table entries, a physical-memory-protection entry, and an access with the
privilege of MPP: a load, a store or an atomic with MPRV, or a fetch by mret. After each, the
program logs the trap, what was loaded, and the page-table entries; at the end it sends its log
through the UART and powers off.
"""

import random
import struct
from typing import NamedTuple

from auberge.bits.bits import MASK
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64

START, SIZE = 0x8000_0000, 64 << 20
CASES, LOG = START + 0x10_0000, START + 0x40_0000
TABLES = [START + 0x80_0000 + 0x1000 * level for level in range(5)]
TARGET, TARGET_SIZE = START + 0x100_0000, 0x1_0000  # nothing else is ever written
UART, FINISHER, POWER_OFF = 0x1000_0000, 0x10_0000, 0x5555
BEYOND = (START + SIZE, 0x3_0000_0000)  # where there is neither RAM nor, on board virt, a device
ECALL = 0x73
BREAKPOINT, ACCESS_FAULTS = 3, (1, 5, 7)
# What is stored: illegal as code, and amoxor makes ebreaks of ecalls: a fetch ends where it began.
SCRIBBLE = 0x0010000000100000
KINDS = ("ld", "sd", "fetch", "lbu", "sw", "amo", "lr")
STORES = ("sd", "sw", "amo")
V, R, W, X, USER, G, A, D = (1 << bit for bit in range(8))
N = 1 << 63
FAR = 0x1000  # an address that no case is about
SUM, MXR = 1 << 18, 1 << 19
MODES = {8: 3, 9: 4, 10: 5}  # Sv39, Sv48, Sv57: how many levels


class Outcome(NamedTuple):
    """What the program logs of a case: the trap (0 is none), what a load gave, the entries."""

    cause: int
    tval: int
    mstatus: int
    epc: int
    value: int
    entries: tuple[int, ...]


class Case(NamedTuple):
    """What is tried. `fence` is the address to forget, 0 for all; `entries` go to `TABLES`."""

    satp: int
    mstatus: int
    kind: int
    va: int
    fence: int
    pmpaddr: int
    pmpcfg: int
    entries: tuple[int, ...]  # of levels 0 to 4, where the address finds them

    def words(self) -> list[int]:
        """The case as the program reads it."""
        pairs = zip(self.places(), self.entries, strict=True)
        return [*self[:7], *(word for pair in pairs for word in pair)]

    def places(self) -> list[int]:
        """Where each entry goes."""
        return [t + 8 * (self.va >> 12 + 9 * level & 511) for level, t in enumerate(TABLES)]


CASE_SIZE, LOG_SIZE = 8 * 17, 8 * 10

PROGRAM = (
    f"""
    la t0, handler
    csrw mtvec, t0
    li t0, -1
    csrw pmpaddr1, t0
    li t0, {1 << 61 | 1 << 62}
    csrw menvcfg, t0
    li s0, {CASES}
    li s1, {LOG}
    li s2, COUNT
    li s3, {SCRIBBLE}
    li s4, {1 << 17}
next:
    li a7, 0
    li a6, 0
    li a5, 0
    li a4, 0
    li a1, 0
"""
    + "".join(
        f"""
    ld t0, {56 + 16 * n}(s0)
    ld t1, {64 + 16 * n}(s0)
    sd t1, 0(t0)
"""
        for n in range(5)
    )
    + """
    ld t0, 40(s0)
    beq t0, s5, 1f
    csrw pmpaddr0, t0
    mv s5, t0
1:  ld t0, 48(s0)
    beq t0, s6, 1f
    csrw pmpcfg0, t0
    mv s6, t0
1:  ld t0, 0(s0)
    beq t0, s7, 1f
    csrw satp, t0
    mv s7, t0
1:
    ld a0, 24(s0)
    ld t0, 32(s0)
    beqz t0, 1f
    sfence.vma t0, x0
    j 2f
1:  sfence.vma
2:  fence.i
    ld t0, 8(s0)
    csrw mstatus, t0
    la t3, logged
    ld t0, 16(s0)
    beqz t0, do_ld
    addi t0, t0, -1
    beqz t0, do_sd
    addi t0, t0, -1
    beqz t0, do_fetch
    addi t0, t0, -1
    beqz t0, do_lbu
    addi t0, t0, -1
    beqz t0, do_sw
    addi t0, t0, -1
    beqz t0, do_amo
    csrs mstatus, s4
    lr.d a1, (a0)
    j done
do_ld:
    csrs mstatus, s4
    ld a1, 0(a0)
    j done
do_sd:
    csrs mstatus, s4
    sd s3, 0(a0)
    j done
do_fetch:
    csrw mepc, a0
    mret
do_lbu:
    csrs mstatus, s4
    lbu a1, 0(a0)
    j done
do_sw:
    csrs mstatus, s4
    sw s3, 0(a0)
    j done
do_amo:
    csrs mstatus, s4
    amoxor.d a1, s3, (a0)
done:
    csrc mstatus, s4
    j logged
    .balign 4
handler:
    csrr a7, mcause
    csrr a6, mtval
    csrr a5, mstatus
    csrr a4, mepc
    csrc mstatus, s4
    jr t3
logged:
    bltu a4, s0, 1f
    j 2f
1:  li t0, START
    bltu a4, t0, 2f
    li a4, 0
2:  sd a7, 0(s1)
    sd a6, 8(s1)
    li t0, 0x7e79aa
    and a5, a5, t0
    sd a5, 16(s1)
    sd a4, 24(s1)
    sd a1, 32(s1)
""".replace("START", str(START))
    + "".join(
        f"""
    ld t0, {56 + 16 * n}(s0)
    ld t0, 0(t0)
    sd t0, {40 + 8 * n}(s1)
"""
        for n in range(5)
    )
    + f"""
    addi s0, s0, {CASE_SIZE}
    addi s1, s1, {LOG_SIZE}
    addi s2, s2, -1
    beqz s2, send
    j next
send:
    li s0, {LOG}
    li t1, {UART}
1:  lbu t0, 5(t1)
    andi t0, t0, 0x20
    beqz t0, 1b
    lbu t0, 0(s0)
    sb t0, 0(t1)
    addi s0, s0, 1
    bltu s0, s1, 1b
    li t0, {FINISHER}
    li t1, {POWER_OFF}
    sw t1, 0(t0)
1:  j 1b
"""
)


def image(cases: list[Case]) -> bytes:
    """RAM from `START`: the program, the cases, and a target full of ecalls."""
    code = assemble(rv64, PROGRAM.replace("COUNT", str(len(cases))), START)
    out = bytearray(TARGET + TARGET_SIZE - START)
    out[: len(code)] = code
    data = b"".join(struct.pack("<17Q", *case.words()) for case in cases)
    if CASES + len(data) > LOG or LOG + LOG_SIZE * len(cases) > TABLES[0]:
        raise ValueError(f"{len(cases)} cases do not fit")
    out[CASES - START : CASES - START + len(data)] = data
    out[TARGET - START :] = struct.pack("<I", ECALL) * (TARGET_SIZE // 4)
    return bytes(out)


def cases(seed: str, count: int) -> list[Case]:
    """As many cases; some change what another set up, and flush only an address of it."""
    rng = random.Random(seed)
    out = [_case(rng)]
    while len(out) < count:
        case = _again(rng, out[-1]) if rng.random() < 0.6 else _case(rng)
        if _harmless(case):
            out.append(case)
    return out


def _case(rng: random.Random) -> Case:
    mode = rng.choice((8, 9, 10, 8, 9, 10, 0))
    levels = MODES.get(mode, 3)
    leaf = rng.choice((0, 0, 0, 1, 1, 2, *range(levels)))
    va = rng.getrandbits(9 * levels + 11)
    va = va | -(va >> 9 * levels + 10 & 1) << 9 * levels + 11
    physical = TARGET + rng.randrange(TARGET_SIZE - 8)
    if rng.random() < 0.1:
        physical = rng.randrange(*BEYOND)
    low = 12 + 9 * leaf
    va = va >> low << low | physical & MASK[low] if mode else physical
    kind = rng.randrange(len(KINDS))
    if KINDS[kind] in STORES or rng.random() < 0.8:
        va &= ~7
    elif KINDS[kind] == "fetch":
        va &= ~1  # QEMU 7.2 keeps the bit; "The low bit of mepc (mepc[0]) is always zero" (3.1.14)
    if rng.random() < 0.4 and rng.random() < 0.2:
        va ^= 1 << rng.randrange(9 * levels + 10, 64)  # not canonical
    entries = [_pointer(rng, TABLES[level - 1]) if level > leaf else 0 for level in range(5)]
    entries[leaf] = _leaf(rng, physical, leaf)
    satp = mode << 60 | rng.getrandbits(16) << 44 | (TABLES[levels - 1] >> 12 if mode else 0)
    return Case(satp, _status(rng), kind, va & MASK[64], 0, *_pmp(rng), tuple(entries))


def _again(rng: random.Random, before: Case) -> Case:
    """The same address, or one near it, with another leaf."""
    levels = MODES.get(before.satp >> 60, 3)
    if rng.random() < 0.2 and all(e & (A | D) == A | D for e in before.entries if e & (R | W | X)):
        kind = before.kind if before.va & 7 else rng.randrange(len(KINDS))
        return before._replace(mstatus=_status(rng), kind=kind, fence=FAR)  # no flush is needed
    leaf = next((n for n in range(levels) if before.entries[n] & (R | W | X)), 0)
    low = 12 + 9 * leaf
    va = before.va
    if rng.random() < 0.5:
        physical = TARGET + rng.randrange(0, TARGET_SIZE, 8)
        va = va >> low << low | physical & MASK[low] if before.satp >> 60 else physical
    entries = list(before.entries)
    physical = entries[leaf] >> 10 << 12
    if rng.random() < 0.7:
        entries[leaf] = _leaf(rng, physical & MASK[56], leaf)
    # Any address that the leaf translates is enough, but a change of mode or of a pointer is not.
    fence = va if rng.random() < 0.5 else va ^ rng.getrandbits(low)
    kind = before.kind if va & 7 else rng.randrange(len(KINDS))
    return before._replace(
        va=va, entries=tuple(entries), fence=fence or 1, kind=kind, mstatus=_status(rng)
    )


def _status(rng: random.Random) -> int:
    mpp = rng.choice((0, 0, 1, 1, 1, 3)) if rng.random() < 0.3 else rng.choice((0, 1))
    return mpp << 11 | rng.choice((0, SUM)) | rng.choice((0, MXR))


def _pmp(rng: random.Random) -> tuple[int, int]:
    """Entry 1 is all of memory; entry 0, sometimes, a part of what matters here."""
    everything = 0x1F << 8
    if rng.random() < 0.8:
        return 0, everything
    size = 1 << rng.randrange(12, 25)
    at = rng.choice((TARGET + rng.randrange(0, TARGET_SIZE, 4096), *TABLES)) & ~(size - 1)
    permissions = rng.choice((0, R, R | W, X, R | X, R | W | X)) >> 1
    if at <= TABLES[4] and TABLES[0] < at + size:
        # QEMU 7.2 does not ask PMP before it sets A and D; implicit writes "are treated" as
        # explicit ones are (3.7.2)
        permissions = rng.choice((0, X >> 1, 7))
    return at >> 2 | (size >> 3) - 1, everything | 3 << 3 | permissions


def _pointer(rng: random.Random, table: int) -> int:
    entry = table >> 12 << 10 | V
    if rng.random() < 0.03:
        entry ^= 1 << rng.choice((0, 4, 5, 6, 7, 8, 9, 61, 62, 63))
    return entry


def _leaf(rng: random.Random, physical: int, level: int) -> int:
    page = physical >> 12 >> 9 * level << 9 * level
    if level and rng.random() < 0.1:
        page |= 1 << rng.randrange(9 * level)
    flags = (
        V | rng.getrandbits(10) & ~V if rng.random() < 0.5 else V | R | W | X | rng.getrandbits(10)
    )
    if rng.random() < 0.6:
        flags |= A | rng.choice((0, D))
    entry = page << 10 | flags
    if rng.random() < 0.1:
        entry |= N
        if rng.random() < 0.8:
            entry = entry & ~(15 << 10) | 8 << 10
        else:  # QEMU 7.2 sets A and D before it finds this reserved (Svnapot, table 5.1)
            entry |= A | D
    if rng.random() < 0.05:
        entry |= 1 << rng.choice((0, 61, 62))
    return entry


def _harmless(case: Case) -> bool:
    """Whether it changes nothing but the target and, by setting A and D, its own entries."""
    mode = case.satp >> 60
    physical = case.va
    if mode and case.mstatus >> 11 & 3 != 3:
        for level in reversed(range(MODES[mode])):
            entry = case.entries[level]
            if entry & (R | W | X):
                low = 12 + 9 * level
                page = entry >> 10 & MASK[44]
                if entry & N and not level:
                    page = page & ~15 | case.va >> 12 & 15
                physical = (page << 12) >> low << low | case.va & MASK[low]
                break
            if level and entry >> 10 & MASK[44] != TABLES[level - 1] >> 12:
                return False
        else:
            return True  # no leaf
    if TARGET <= physical <= TARGET + TARGET_SIZE - 8:
        return True
    # stval of a misaligned access that goes nowhere may be that of either part (4.1.9)
    return BEYOND[0] <= physical <= BEYOND[1] - 8 and not case.va & 7


def outcomes(log: bytes) -> list[Outcome]:
    """What was logged."""
    out = []
    for cause, tval, mstatus, epc, value, *entries in struct.iter_unpack("<10Q", log):
        out.append(Outcome(cause, tval, mstatus, epc, value, tuple(entries)))
    return out


def alike(case: Case, ours: Outcome, theirs: Outcome) -> bool:
    """Whether they are the same, as far as the manual and QEMU 7.2 let one tell.

    QEMU begins an atomic with a load, and reports the exceptions of a load; table 3.6 has none of
    an atomic but "Store/AMO". Where PMP forbids the access itself, QEMU has set A and D before it
    knows, and we have not: both are allowed. An ebreak may put 0 or its address in mtval (3.1.16).
    """
    if KINDS[case.kind] == "amo" and ours.cause and theirs.cause:
        return True
    if ours.cause == BREAKPOINT:
        theirs = theirs._replace(tval=ours.tval)
    if ours.cause in ACCESS_FAULTS and case.pmpaddr:
        theirs = theirs._replace(entries=ours.entries)
    return ours == theirs


def describe(case: Case, ours: Outcome, theirs: Outcome) -> str:
    """One case, and what it did, to read."""
    entries = ", ".join(f"{entry:#x}" for entry in case.entries)
    return (
        f"{KINDS[case.kind]} at {case.va:#x}, satp {case.satp:#x}, mstatus {case.mstatus:#x},"
        f" fence {case.fence:#x}, pmp {case.pmpaddr:#x} {case.pmpcfg:#x}, entries {entries}:\n"
        f"{_shown(ours)}, should be\n{_shown(theirs)}"
    )


def _shown(outcome: Outcome) -> str:
    entries = ", ".join(f"{entry:#x}" for entry in outcome.entries)
    named = (f"{n} {v:#x}" for n, v in zip(Outcome._fields[:5], outcome[:5], strict=True))
    return f"  {', '.join(named)}, entries {entries}"
