"""Control and status registers, as data. Sections: The RISC-V Instruction Set Manual, Volume II,
version 20211203.

A register's class says what is peculiar about it; who may use it is in its number (2.1) and in
`access.py`.
"""

from auberge.bits.bits import Bits, const, select
from auberge.isa.hart import PC as PC
from auberge.isa.hart import Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.spec import Cell, Csr, Field, Part

U, S, M = (const(n, 2) for n in (0, 1, 3))

PRIV = Cell("priv")
Priv = Part(PRIV, 1, 0)  # the current privilege mode
CAUSE, TVAL = Cell("cause"), Cell("tval")  # of the trap being taken
HOSTED = Cell(
    "hosted"
)  # 1: the host plays the machine mode; a trap bound for it leaves to the host
LINES = Cell("lines")  # the external inputs of mip (MSIP, SEIP, MEIP); only the platform writes it
MTIMECMP = Cell("mtimecmp")  # 3.2.1: a register of the platform, here so that timers stay native
RESERVED, RESERVED_VALUE = Cell("reserved"), Cell("reserved_value")  # of load-reserved
FFLAGS, FRM = Cell("fflags"), Cell("frm")
SUPERPAGES = Cell("superpages")  # where translations may come from a superpage: see paging.py
WORD = Cell("word")  # the instruction that called a routine

SUPERVISOR_INTERRUPTS = 0x222  # SSI, STI, SEI


# -- machine information and status (3.1.1 - 3.1.8) ---------------------------------------------
class Mstatus(Csr):
    """3.1.6, 4.1.1. SD is not kept: it says whether FS is dirty, there being no VS and XS."""

    SIE, MIE, SPIE, MPIE, SPP = Field(1), Field(3), Field(5), Field(7), Field(8)
    MPP, FS, MPRV, SUM, MXR = Field(12, 11), Field(14, 13), Field(17), Field(18), Field(19)
    TVM, TW, TSR = Field(20), Field(21), Field(22)

    def value(self, h: Hart) -> Bits:
        dirty = h[self.FS].eq(3).zext(64)
        return (h[self.cell] | dirty << 63) & self.window


def _mpp_is_a_mode(old: Bits, new: Bits) -> Bits:
    """3.1.6.1: MPP is WARL and holds only implemented modes; of 2 there is none."""
    return select(new[12:11].eq(2), new.insert(12, 11, old[12:11]), new)


def _mode_is_direct_or_vectored(old: Bits, new: Bits) -> Bits:
    """3.1.7, table 3.5: MODE 2 and 3 are reserved; such a write has no effect."""
    return select(new[1], old, new)


mhartid = Csr("mhartid", 0xF14, writable=0)
misa = Csr("misa", 0x301, writable=0)
mstatus = Mstatus("mstatus", 0x300, writable=0x7E79AA, legal=_mpp_is_a_mode)
medeleg = Csr("medeleg", 0x302, writable=0xB3FF)  # 3.1.8: an ecall from M cannot be delegated
mideleg = Csr("mideleg", 0x303, writable=SUPERVISOR_INTERRUPTS)
mtvec = Csr("mtvec", 0x305, legal=_mode_is_direct_or_vectored)
mscratch = Csr("mscratch", 0x340)
mepc = Csr("mepc", 0x341, writable=~1)
mcause = Csr("mcause", 0x342)
mtval = Csr("mtval", 0x343)

# Nothing here: 3.1.2 mvendorid, 3.1.3 marchid, 3.1.4 mimpid, 3.1.17 mconfigptr; and in the debug
# specification (5.2), a tselect that can only be 0 with a tdata1 of type 0: "there is no trigger at
# this tselect"; tdata2 beside it, because programs that look for one write it before they look.
mvendorid = Csr("mvendorid", 0xF11, of=mhartid, window=0)
marchid = Csr("marchid", 0xF12, of=mhartid, window=0)
mimpid = Csr("mimpid", 0xF13, of=mhartid, window=0)
mconfigptr = Csr("mconfigptr", 0xF15, of=mhartid, window=0)
tselect = Csr("tselect", 0x7A0, of=mhartid, window=0)
tdata1 = Csr("tdata1", 0x7A1, of=mhartid, window=0)
tdata2 = Csr("tdata2", 0x7A2, of=mhartid, window=0)


# -- supervisor trap setup and handling (4.1) ---------------------------------------------------
class Envcfg(Csr):
    """3.1.18, 4.1.10: what the next lower mode may do; CBIE, CBCFE, CBZE are for zicbo.py."""

    FIOM, CBIE, CBCFE, CBZE = Field(0), Field(5, 4), Field(6), Field(7)


def _cbie_is_known(old: Bits, new: Bits) -> Bits:
    """Volume I, 20240411, chapter 19: CBIE is WARL; 2 is reserved."""
    return select(new[5:4].eq(2), new.insert(5, 4, old[5:4]), new)


class Satp(Csr):
    """4.1.11"""

    MODE, ASID, PPN = Field(63, 60), Field(59, 44), Field(43, 0)


def _mode_is_supported(old: Bits, new: Bits) -> Bits:
    """4.1.11: "if satp is written with an unsupported MODE, the entire write has no effect"."""
    mode = new[63:60]
    return select(mode.eq(0) | mode.eq(8) | mode.eq(9) | mode.eq(10), new, old)


sstatus = Mstatus("sstatus", 0x100, of=mstatus, window=0x80000003000DE762, legal=_mpp_is_a_mode)
stvec = Csr("stvec", 0x105, legal=_mode_is_direct_or_vectored)
sscratch = Csr("sscratch", 0x140)
sepc = Csr("sepc", 0x141, writable=~1)
scause = Csr("scause", 0x142)
stval = Csr("stval", 0x143)
senvcfg = Envcfg("senvcfg", 0x10A, writable=0xF1, legal=_cbie_is_known)
satp = Satp("satp", 0x180, legal=_mode_is_supported)


# -- counters (3.1.10 - 3.1.12, 4.1.4 - 4.1.5) --------------------------------------------------
class Counteren(Csr):
    """3.1.11, 4.1.5: which counters the next lower mode may read; here `time` is one."""

    CY, TM, IR = Field(0), Field(1), Field(2)


class Mcountinhibit(Csr):
    """3.1.12. The instruction that turns a counter on or off is still counted as before."""

    CY, IR = Field(0), Field(2)

    def put(self, h: Hart, new: Bits) -> None:
        now = h.retired() + 1
        for counter, bit in ((mcycle, 0), (minstret, 2)):
            was, will = h[self.cell][bit], new[bit]
            held = h[counter.cell]
            h[counter.cell] = select(was.eq(will), held, select(will, held + now, held - now))
        super().put(h, new)


class Counter(Csr):
    """3.1.10. The cell holds the distance to `h.retired()`; while inhibited, the value itself."""

    def __init__(self, name: str, number: int, bit: int, of: Csr | None = None) -> None:
        super().__init__(name, number, of=of)
        self.inhibited = Part(mcountinhibit.cell, bit, bit)

    def value(self, h: Hart) -> Bits:
        return h[self.cell] + select(h[self.inhibited], const(0, 64), h.retired())

    def put(self, h: Hart, new: Bits) -> None:
        """Volume I, 7.1: "the write is done instead of the increment" of this instruction."""
        h[self.cell] = new - select(h[self.inhibited], const(0, 64), h.retired() + 1)

    def except_this(self, h: Hart) -> None:
        """Do not count the instruction that is ending."""
        h[self.cell] = h[self.cell] - (~h[self.inhibited]).zext(64)


class Time(Csr):
    """3.2.1, 4.1.4: a shadow of mtime, which the clock keeps."""

    def value(self, h: Hart) -> Bits:
        return h.time()


mcountinhibit = Mcountinhibit("mcountinhibit", 0x320, writable=5)
mcycle, minstret = Counter("mcycle", 0xB00, 0), Counter("minstret", 0xB02, 2)
cycle, instret = Counter("cycle", 0xC00, 0, of=mcycle), Counter("instret", 0xC02, 2, of=minstret)
time = Time("time", 0xC01, of=mhartid, window=0)
mcounteren = Counteren("mcounteren", 0x306, writable=0xFFFFFFFF)
scounteren = Counteren("scounteren", 0x106, writable=0xFFFFFFFF)


# -- interrupts (3.1.9, 4.1.3) and timers (Sstc) ------------------------------------------------
class Interrupts(Csr):
    """3.1.9: mie, mip and their windows; an interrupt's bit is the number of its cause."""

    SSI, MSI, STI, MTI, SEI, MEI = (Field(n) for n in (1, 3, 5, 7, 9, 11))


class Mip(Interrupts):
    """The cell holds what software and the timers set; the external inputs are in `LINES`."""

    def value(self, h: Hart) -> Bits:
        return h[self.cell] | h[LINES]

    def put(self, h: Hart, new: Bits) -> None:
        """Sstc, 2.1: with STCE, STIP is read-only and says what the supervisor timer says."""
        now = h[self.cell]
        super().put(h, new.insert(5, 5, select(h[menvcfg.STCE], now[5], new[5])))


class Sie(Interrupts):
    """3.1.9: an interrupt that is not delegated is read-only zero in sie and sip."""

    def value(self, h: Hart) -> Bits:
        return h[self.cell] & h[mideleg]

    def put(self, h: Hart, new: Bits) -> None:
        now, delegated = h[self.cell], h[mideleg] & self.writable
        h[self.cell] = now & ~delegated | new & delegated


class Sip(Sie):
    """4.1.3: of sip only SSIP is writable."""

    def value(self, h: Hart) -> Bits:
        return mip.value(h) & h[mideleg]


class Stimecmp(Csr):
    """Sstc, 2.1: a write is seen in mip.STIP at once."""

    def put(self, h: Hart, new: Bits) -> None:
        h[self.cell] = new
        with h.when(h[menvcfg.STCE]):
            h[mip.STI] = ~h.time().ult(new)


class Menvcfg(Envcfg):
    """3.1.18. STCE hands mip.STIP from software to stimecmp, and takes it back cleared."""

    ADUE, PBMTE, STCE = Field(61), Field(62), Field(63)

    def put(self, h: Hart, new: Bits) -> None:
        super().put(h, new)
        by_software = h[mip.STI] & ~h[self.STCE]
        h[mip.STI] = select(new[63], ~h.time().ult(h[STIMECMP]), by_software)


menvcfg = Menvcfg("menvcfg", 0x30A, writable=7 << 61 | 0xF1, legal=_cbie_is_known, rare=True)
mie = Interrupts("mie", 0x304, writable=0xAAA)
mip = Mip("mip", 0x344, writable=SUPERVISOR_INTERRUPTS)
sie = Sie("sie", 0x104, of=mie, window=SUPERVISOR_INTERRUPTS)
sip = Sip("sip", 0x144, of=mip, window=2)
stimecmp = Stimecmp("stimecmp", 0x14D)
STIMECMP = stimecmp.cell


# -- physical memory protection (3.7.1) ---------------------------------------------------------
PMP_ENTRIES = 16
EVERY_BYTE = 0x0101010101010101


def _pmpcfg_is_legal(old: Bits, new: Bits) -> Bits:
    """Each byte by itself: locked ones stay, W needs R, and with 4 KiB grains NA4 becomes NAPOT."""
    locked = (old & 0x80 * EVERY_BYTE).shr(7).mul(0xFF)
    readable = (new & EVERY_BYTE) << 1
    new = new & (~const(0x02 * EVERY_BYTE, 64) | readable)
    new = new | (new & 0x10 * EVERY_BYTE).shr(1)
    return new & ~locked | old & locked


class Pmpaddr(Csr):
    """Bits 55:2 of an address; its grain G is 10 (4 KiB)."""

    def __init__(self, index: int) -> None:
        super().__init__(f"pmpaddr{index}", 0x3B0 + index, writable=(1 << 54) - 1, rare=True)
        self.index = index

    def value(self, h: Hart) -> Bits:
        """Low bits read as ones for NAPOT and as zeros otherwise; what is kept does not change."""
        kept = h[self.cell]
        return select(pmp_entry(h, self.index)[4], kept | 0x1FF, kept & ~0x3FF)

    def put(self, h: Hart, new: Bits) -> None:
        """A locked entry stays, and so does the address below a locked TOR entry."""
        locked = pmp_entry(h, self.index)[7]
        if self.index + 1 < PMP_ENTRIES:
            above = pmp_entry(h, self.index + 1)
            locked = locked | above[7] & above[4:3].eq(1)
        h[self.cell] = select(locked, h[self.cell], new & self.writable)


def pmp_entry(h: Hart, index: int) -> Bits:
    """The configuration byte of an entry: L(7), A(4:3), X(2), W(1), R(0)."""
    low = 8 * (index % 8)
    return h[Part((pmpcfg0, pmpcfg2)[index // 8].cell, low + 7, low)]


pmpcfg0 = Csr("pmpcfg0", 0x3A0, writable=0x9F * EVERY_BYTE, legal=_pmpcfg_is_legal, rare=True)
pmpcfg2 = Csr("pmpcfg2", 0x3A2, writable=0x9F * EVERY_BYTE, legal=_pmpcfg_is_legal, rare=True)
pmpaddr = [Pmpaddr(index) for index in range(PMP_ENTRIES)]


# -- floating point (Volume I, 20.2) ------------------------------------------------------------
class Fflags(Csr):
    """The flags are those in the cell and those that the host's FPU still holds."""

    def value(self, h: Hart) -> Bits:
        return h[FFLAGS] | h.fpu_flags()

    def put(self, h: Hart, new: Bits) -> None:
        """3.1.6.6: a write makes the floating-point state dirty."""
        h.fpu_clear()
        h[FFLAGS], h[mstatus.FS] = new & 0x1F, const(3, 2)


class Frm(Csr):
    """The dynamic rounding mode; as for the flags, a write makes the state dirty."""

    def put(self, h: Hart, new: Bits) -> None:
        h[FRM], h[mstatus.FS] = new & 7, const(3, 2)


class Fcsr(Csr):
    """frm (7:5) above fflags (4:0); it keeps nothing itself."""

    def value(self, h: Hart) -> Bits:
        return frm.value(h) << 5 | fflags.value(h)

    def put(self, h: Hart, new: Bits) -> None:
        fflags.put(h, new)
        frm.put(h, new.shr(5))


fflags, frm = Fflags("fflags", 0x001), Frm("frm", 0x002)
fcsr = Fcsr("fcsr", 0x003, of=fflags)

# -- all of them --------------------------------------------------------------------------------
CSRS = {c.number: c for c in (*list(globals().values()), *pmpaddr) if isinstance(c, Csr)}

# Registers that read zero and ignore writes (3.1.10: no event counters; 3.7.1: 16 of the 64), as
# ranges: one test of each. The name of the first number has this index.
ZERO_RANGES = (
    ("mhpmevent", 3, range(0x323, 0x340)),
    ("mhpmcounter", 3, range(0xB03, 0xB20)),
    ("hpmcounter", 3, range(0xC03, 0xC20)),
    ("pmpaddr", PMP_ENTRIES, range(0x3B0 + PMP_ENTRIES, 0x3F0)),
    ("pmpcfg", 4, range(0x3A4, 0x3B0, 2)),  # 3.7.1: on RV64 the odd ones do not exist
)
rv64.csrs.update(CSRS)
rv64.csrs.update(
    (n, Csr(f"{name}{first + n - numbers.start}", n, of=mhartid, window=0))
    for name, first, numbers in ZERO_RANGES
    for n in numbers
)

# 3.4 Reset; what is not here is zero. pc and mhartid are the board's. MXL, UXL, SXL are 2: 64 bits.
RESET = {
    PRIV: 3,
    misa.cell: 2 << 62 | sum(1 << ord(letter) - ord("A") for letter in "IMAFDCSU"),
    mstatus.cell: 2 << 34 | 2 << 32,
    MTIMECMP: 2**64 - 1,
    STIMECMP: 2**64 - 1,
    RESERVED: 2**64 - 1,
}
