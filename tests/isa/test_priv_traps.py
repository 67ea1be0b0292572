"""Trap entry and return, delegation, and what is privileged: Volume II, 3.1.6 - 3.1.8 and 3.3."""

import pytest

from auberge.engine.exits import Hypercall, Idle
from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import CODE, ILLEGAL, M_HANDLER, Bench, M, S, Trap, U

pytestmark = pytest.mark.usefixtures("each_engine")

SIE, MIE, SPIE, MPIE, SPP, MPRV, TVM, TW, TSR = (1 << n for n in (1, 3, 5, 7, 8, 17, 20, 21, 22))
MPP = 11
XL = 2 << 34 | 2 << 32


def illegal(name: str, **operands: int) -> Trap:
    return Trap(M, ILLEGAL, rv64[name].encode(**operands))


@pytest.mark.parametrize(("priv", "cause"), [(U, 8), (S, 9), (M, 11)])
def test_ecall_says_where_it_comes_from(priv: int, cause: int) -> None:
    assert Bench(priv=priv).insn("ecall") == Trap(M, cause, 0)


def test_ebreak_says_where_it_is() -> None:
    assert Bench().insn("ebreak") == Trap(M, 3, CODE)


def test_illegal_instructions_show_themselves() -> None:
    bench = Bench()
    assert bench.run(0xFFFFFFFF) == Trap(M, ILLEGAL, 0xFFFFFFFF)
    assert bench.run(0x00000000) == Trap(M, ILLEGAL, 0)  # a compressed one, in its own 16 bits
    assert bench.run(0xABCD8000) == Trap(M, ILLEGAL, 0x8000)


@pytest.mark.parametrize("priv", [U, S, M])
@pytest.mark.parametrize("enabled", [False, True])
def test_entry_to_m_stacks_mode_and_enable(priv: int, enabled: bool) -> None:
    bench = Bench(priv=priv, mstatus=XL | enabled * MIE)
    bench.insn("ebreak")
    assert bench["mstatus"] == XL | enabled * MPIE | priv << MPP
    assert (bench["priv"], bench["pc"], bench["mepc"]) == (M, M_HANDLER, CODE)


@pytest.mark.parametrize("priv", [U, S])
@pytest.mark.parametrize("enabled", [False, True])
def test_entry_to_s_stacks_mode_and_enable(priv: int, enabled: bool) -> None:
    bench = Bench(priv=priv, medeleg=8, mstatus=XL | MIE | enabled * SIE)
    assert bench.insn("ebreak") == Trap(S, 3, CODE)
    assert bench["mstatus"] == XL | MIE | enabled * SPIE | priv * SPP
    assert (bench["mcause"], bench["mepc"], bench["mtval"]) == (0, 0, 0)


@pytest.mark.parametrize("cause", [2, 3, 8, 9, 11])
@pytest.mark.parametrize("priv", [U, S, M])
def test_a_delegated_exception_goes_to_s_but_never_down(cause: int, priv: int) -> None:
    bench = Bench(priv=priv, medeleg=1 << cause)
    name = {2: "mret", 3: "ebreak"}.get(cause, "ecall")
    if (name == "mret" and priv == M) or (name == "ecall" and cause != 8 + priv):
        return
    trap = bench.insn(name)
    assert trap is not None
    assert (trap.to, trap.cause) == (S if priv < M else M, cause)


def test_what_is_not_delegated_goes_to_m() -> None:
    bench = Bench(priv=U, medeleg=0xB3FF & ~8)
    assert bench.insn("ebreak") == Trap(M, 3, CODE)


@pytest.mark.parametrize("vectored", [False, True])
def test_exceptions_go_to_the_base_in_both_modes(vectored: bool) -> None:
    bench = Bench(mtvec=M_HANDLER | vectored)
    bench.insn("ebreak")
    assert bench["pc"] == M_HANDLER


@pytest.mark.parametrize("to", [U, S, M])
@pytest.mark.parametrize("mpie", [False, True])
def test_mret(to: int, mpie: bool) -> None:
    """3.3.2 and 3.1.6.3: MPP becomes U, MPIE is set, MPRV is cleared when leaving M."""
    bench = Bench(mepc=CODE + 64, mstatus=XL | to << MPP | mpie * MPIE | MPRV)
    assert bench.insn("mret") is None
    assert bench["mstatus"] == XL | mpie * MIE | MPIE | (MPRV if to == M else 0)
    assert (bench["priv"], bench["pc"]) == (to, CODE + 64)


@pytest.mark.parametrize("priv", [S, M])
@pytest.mark.parametrize("to", [U, S])
@pytest.mark.parametrize("spie", [False, True])
def test_sret(priv: int, to: int, spie: bool) -> None:
    bench = Bench(priv=priv, sepc=CODE + 64, mstatus=XL | to * SPP | spie * SPIE | MPRV)
    assert bench.insn("sret") is None
    assert bench["mstatus"] == XL | spie * SIE | SPIE
    assert (bench["priv"], bench["pc"]) == (to, CODE + 64)


# instruction: in which mode it is legal, and the bit of mstatus that makes it illegal in S
PRIVILEGED = {
    "mret": (M, 0),
    "sret": (S, TSR),
    "wfi": (S, TW),
    "sfence.vma": (S, TVM),
    "sinval.vma": (S, TVM),
    "sfence.w.inval": (S, 0),
    "sfence.inval.ir": (S, 0),
}


@pytest.mark.parametrize("name", PRIVILEGED)
@pytest.mark.parametrize("priv", [U, S, M])
@pytest.mark.parametrize("status", [0, TVM | TW | TSR])
def test_privileged_instructions(name: str, priv: int, status: int) -> None:
    lowest, forbids = PRIVILEGED[name]
    operands = {"rs1": 0, "rs2": 0} if name.endswith(".vma") else {}
    bench = Bench(priv=priv, mstatus=XL | 3 << MPP | status)
    bench["mepc"] = bench["sepc"] = CODE + 4
    bench.put(rv64[name].encode(**operands))
    out = bench.step()
    if priv < lowest or (priv == S and status & forbids):
        assert bench.trap(CODE) == illegal(name, **operands)
    else:
        assert bench["pc"] == CODE + 4
        assert isinstance(out, Idle) == (name == "wfi")


def test_wfi_goes_on_if_an_enabled_interrupt_is_pending() -> None:
    """3.3.3: whatever the global enables and delegation say."""
    bench = Bench(mie=2, mip=2)
    bench.put(rv64["wfi"].encode())
    bench.step(3)
    assert bench["pc"] == CODE + 12
    bench = Bench(mie=1 << 11, lines=1 << 11)
    bench.put(rv64["wfi"].encode())
    bench.step(3)
    assert bench["pc"] == CODE + 12


# -- a host in the place of M -------------------------------------------------------------------
@pytest.mark.parametrize("name", ["ecall", "ebreak"])
def test_hosted_a_trap_bound_for_m_leaves_everything_as_it_is(name: str) -> None:
    bench = Bench(hosted=1, priv=S, medeleg=0)
    before = bench.hart.visible()
    bench.put(rv64[name].encode())
    assert bench.step(3) == Hypercall()
    assert bench.hart.visible() == before
    assert (bench["cause"], bench["tval"]) == ((9, 0) if name == "ecall" else (3, CODE))


def test_hosted_delegated_traps_are_the_supervisor_s() -> None:
    bench = Bench(hosted=1, priv=U, medeleg=0xB1FF)
    assert bench.insn("ecall") == Trap(S, 8, 0)


def test_hosted_interrupts_for_m_stay_pending() -> None:
    bench = Bench(hosted=1, priv=S, mie=0xAAA, lines=0x808, mideleg=0x222)
    bench.step(5)
    assert bench["pc"] == CODE + 20
