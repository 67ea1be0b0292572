"""Reading and writing CSRs. Sections: The RISC-V Instruction Set Manual, Volume II, 20211203.

`csr_read(number)` answers a register's value. `csr_write(number, value, mask)` writes those bits of
`value` that `mask` has, and answers the value before; csrrs and csrrc write ones and zeros. Both
trap before any effect.
"""

from auberge.bits.bits import Bits, const
from auberge.isa.hart import ZERO, Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.csrs import (
    CSRS,
    ZERO_RANGES,
    M,
    Priv,
    S,
    U,
    cycle,
    fcsr,
    fflags,
    frm,
    instret,
    mcounteren,
    menvcfg,
    mip,
    mstatus,
    satp,
    scounteren,
    sip,
    stimecmp,
    time,
)
from auberge.isa.riscv.traps import illegal, illegal_when
from auberge.isa.spec import Csr

READ_ONLY = 0xC00  # 2.1: from here "the top two bits (csr[11:10])" are both set
WRITABLE = {number: csr for number, csr in CSRS.items() if number < READ_ONLY}

zicntr = rv64.extension("Zicntr", "2.0", "Base Counters and Timers")
zihpm = rv64.extension("Zihpm", "2.0", "Hardware Performance Counters")
sstc = rv64.extension("Sstc", "1.0", "Supervisor-mode Timer Interrupts")


def counter_disabled(h: Hart, index: Bits) -> Bits:
    """3.1.11, 4.1.5: below M it needs its bit of mcounteren, and in U that of scounteren too."""
    m_enables, s_enables = h[mcounteren].shr(index)[0], h[scounteren].shr(index)[0]
    return h[Priv].ne(M) & ~m_enables | h[Priv].eq(U) & ~s_enables


def refuse(h: Hart, csr: Csr) -> None:
    """Trap where this register has conditions beside those of its number, and they do not hold."""
    if csr in (cycle, time, instret):
        illegal_when(h, counter_disabled(h, const(csr.number & 31, 64)))
    elif csr is stimecmp:  # Sstc, 2.2 and 2.3
        illegal_when(h, h[Priv].ne(M) & ~(h[menvcfg.STCE] & h[mcounteren.TM]))
    elif csr is satp:  # 3.1.6.5
        illegal_when(h, h[Priv].eq(S) & h[mstatus.TVM])
    elif csr in (fflags, frm, fcsr):  # 3.1.6.6
        illegal_when(h, h[mstatus.FS].eq(0))


def zero_or_illegal(h: Hart, number: Bits) -> None:
    """The registers that are not there: some of them read as zero and ignore writes."""
    for name, _, numbers in ZERO_RANGES:
        offset = number - numbers.start
        here = offset.ult(numbers.stop - numbers.start)
        if numbers.step == 2:
            here = here & ~offset[0]
        with h.when(here):
            if name == "hpmcounter":
                illegal_when(h, counter_disabled(h, number & 31))
            h.answer(ZERO)
    illegal(h)


@rv64.routine("csr_read")
def csr_read(h: Hart, number: Bits) -> None:
    illegal_when(h, h[Priv].ult(number[9:8]))
    for csr in h.cases(number, CSRS, otherwise=lambda h: zero_or_illegal(h, number)):
        refuse(h, csr)
        h.answer(csr.value(h))


@rv64.routine("csr_write")
def csr_write(h: Hart, number: Bits, value: Bits, mask: Bits) -> None:
    illegal_when(h, h[Priv].ult(number[9:8]) | number[11:10].eq(3))
    for csr in h.cases(number, WRITABLE, otherwise=lambda h: zero_or_illegal(h, number)):
        refuse(h, csr)
        old = csr.value(h)
        # 3.1.9: "the signal from the interrupt controller is not used to calculate the value
        # written to SEIP"
        kept = h[mip] if csr in (mip, sip) else old
        if csr.writable:
            csr.put(h, kept & ~mask | value & mask)
        h.answer(old)
