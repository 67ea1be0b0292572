"""Traps, interrupts, and what returns from them. Sections: Volume II, version 20211203."""

from auberge.bits.bits import Bits, const, select
from auberge.isa.hart import FETCH, LOAD, STORE, Hart
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv.csrs import (
    CAUSE,
    HOSTED,
    MTIMECMP,
    PC,
    STIMECMP,
    TVAL,
    M,
    Priv,
    S,
    U,
    mcause,
    medeleg,
    menvcfg,
    mepc,
    mideleg,
    mie,
    minstret,
    mip,
    mstatus,
    mtval,
    mtvec,
    scause,
    sepc,
    stval,
    stvec,
)

# 3.1.15, table 3.6
ILLEGAL = 2
ACCESS_FAULT = {FETCH: 1, LOAD: 5, STORE: 7}
PAGE_FAULT = {FETCH: 12, LOAD: 13, STORE: 15}
MEI, MSI, MTI, SEI, SSI, STI = 11, 3, 7, 9, 1, 5

machine = rv64.extension("Sm", "1.12", "Machine-Level ISA")


def illegal(h: Hart) -> None:
    """3.1.16: mtval is given the faulting instruction."""
    h.trap(ILLEGAL, h.word)


def illegal_when(h: Hart, wrong: Bits) -> None:
    """An illegal-instruction exception on the path where `wrong` holds."""
    with h.when(wrong):
        illegal(h)


@rv64.routine("trap_entry")
def trap_entry(h: Hart) -> None:
    """3.1.6.1, 3.1.7, 3.1.8: take the trap of CAUSE and TVAL, in S where M delegated it."""
    cause = h[CAUSE]
    interrupt = cause[63]
    delegated = select(interrupt, h[mideleg], h[medeleg]).shr(cause & 63)[0]
    to_s = delegated & h[Priv].ne(M)
    with h.when(~to_s & h[HOSTED][0]):
        h.leave()
    with h.when(~interrupt):  # 3.3.1: what traps does not retire
        minstret.except_this(h)
    with h.when(to_s):
        h[sepc], h[scause], h[stval] = h[PC], cause, h[TVAL]
        h[mstatus.SPP], h[mstatus.SPIE], h[mstatus.SIE] = h[Priv][0], h[mstatus.SIE], const(0, 1)
        h[Priv], h[PC] = S, handler(h[stvec], cause)
    with h.when(~to_s):
        h[mepc], h[mcause], h[mtval] = h[PC], cause, h[TVAL]
        h[mstatus.MPP], h[mstatus.MPIE], h[mstatus.MIE] = h[Priv], h[mstatus.MIE], const(0, 1)
        h[Priv], h[PC] = M, handler(h[mtvec], cause)


def handler(tvec: Bits, cause: Bits) -> Bits:
    """3.1.7, 4.1.2: exceptions go to BASE; in vectored mode interrupts to "BASE+4×cause"."""
    vectored = tvec[0] & cause[63]
    return (tvec & ~3) + select(vectored, cause << 2, const(0, 64))


@rv64.routine("interrupt")
def interrupt(h: Hart) -> None:
    """3.1.9: trap if an interrupt is pending and enabled; for M first, then by priority."""
    pending, to_s, priv = mip.value(h) & h[mie], h[mideleg], h[Priv]
    m_open = (priv.ne(M) | h[mstatus.MIE]) & ~h[HOSTED][0]
    s_open = priv.eq(U) | priv.eq(S) & h[mstatus.SIE]
    for_m = select(m_open, pending & ~to_s, const(0, 64))
    for_s = select(s_open, pending & to_s, const(0, 64))
    ready = select(for_m.ne(0), for_m, for_s)
    for number in (MEI, MSI, MTI, SEI, SSI, STI):
        with h.when(ready[number]):
            h.trap(const(1 << 63 | number, 64))


@rv64.routine("timers")
def timers(h: Hart) -> None:
    """3.2.1 and Sstc, 2.1: a timer's bit of mip says whether time has reached its comparand."""
    now = h.time()
    h[mip.MTI] = ~now.ult(h[MTIMECMP])
    with h.when(h[menvcfg.STCE]):
        h[mip.STI] = ~now.ult(h[STIMECMP])


@rv64.routine("deadline")
def deadline(h: Hart) -> None:
    """The next time at which `timers` will find a comparand reached; all ones if there is none."""
    now, never = h.time(), const(-1, 64)
    machine_timer = select(now.ult(h[MTIMECMP]), h[MTIMECMP], never)
    supervisor_timer = select(h[menvcfg.STCE] & now.ult(h[STIMECMP]), h[STIMECMP], never)
    h.answer(select(machine_timer.ult(supervisor_timer), machine_timer, supervisor_timer))


# 3.3.2 Trap-Return Instructions
@machine.insn("0011000 00010 00000 000 00000 1110011", "mret")
def mret(h: Hart) -> None:
    illegal_when(h, h[Priv].ne(M))
    to = h[mstatus.MPP]
    h[mstatus.MIE], h[mstatus.MPIE], h[mstatus.MPP] = h[mstatus.MPIE], const(1, 1), U
    with h.when(to.ne(M)):
        h[mstatus.MPRV] = const(0, 1)
    h[Priv], h[PC] = to, h[mepc]


@machine.insn("0001000 00010 00000 000 00000 1110011", "sret")
def sret(h: Hart) -> None:
    illegal_when(h, h[Priv].eq(U) | h[Priv].eq(S) & h[mstatus.TSR])
    h[mstatus.SIE], h[mstatus.SPIE], h[mstatus.SPP] = h[mstatus.SPIE], const(1, 1), const(0, 1)
    h[mstatus.MPRV] = const(0, 1)
    h[Priv], h[PC] = h[mstatus.SPP].zext(2), h[sepc]


# 3.3.3 Wait for Interrupt
@machine.insn("0001000 00101 00000 000 00000 1110011", "wfi")
def wfi(h: Hart) -> None:
    """3.1.6.5: it may take for ever, and is therefore illegal in U, and in S where TW is set."""
    illegal_when(h, h[Priv].eq(U) | h[Priv].eq(S) & h[mstatus.TW])
    h.wait()
