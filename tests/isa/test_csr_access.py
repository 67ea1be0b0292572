"""Who may read and write which CSR: every number in every mode. Volume II, 2.1 and 2.2."""

import pytest

from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import CODE, ILLEGAL, M_HANDLER, RAM, Bench, M, S, Trap, U

pytestmark = pytest.mark.usefixtures("each_engine")

FS_ON = 1 << 13
USER = {1, 2, 3, *range(0xC00, 0xC20)}
SUPERVISOR = {
    0x100, 0x104, 0x105, 0x106, 0x10A, 0x140, 0x141, 0x142, 0x143, 0x144, 0x14D, 0x180,
}  # fmt: skip
MACHINE = {
    *range(0xF11, 0xF16), *range(0x300, 0x307), 0x30A, *range(0x340, 0x345),
    *range(0x3A0, 0x3B0, 2), *range(0x3B0, 0x3F0), 0xB00,
    *range(0xB02, 0xB20), 0x320, *range(0x323, 0x340), 0x7A0, 0x7A1, 0x7A2,
}  # fmt: skip
VISIBLE = {U: USER, S: USER | SUPERVISOR, M: USER | SUPERVISOR | MACHINE}


@pytest.mark.slow
@pytest.mark.parametrize("priv", VISIBLE)
@pytest.mark.parametrize("writes", [False, True], ids=["read", "write"])
def test_every_number(priv: int, writes: bool) -> None:
    everything = {"mcounteren": 0xFFFFFFFF, "scounteren": 0xFFFFFFFF, "menvcfg": 1 << 63}
    bench = Bench(**everything)
    state = {name: bench[name] for name in bench.hart.layout.cells}
    wrong = []
    for number in range(4096):
        for name, value in state.items():
            bench[name] = value
        bench["priv"], bench["mstatus"] = priv, FS_ON
        bench.hart.x[10] = 0
        csrrw = rv64["csrrw"].encode(rd=0, csr=number, rs1=10)
        csrrs = rv64["csrrs"].encode(rd=10, csr=number, rs1=0)
        word = csrrw if writes else csrrs
        bench.put(word)
        bench.step()
        legal = number in VISIBLE[priv] and not (writes and number >= 0xC00)
        pc = bench["pc"]
        if legal:
            good = pc == CODE + 4
        else:
            good = pc == M_HANDLER and bench["mcause"] == ILLEGAL and bench["mtval"] == word
        if not good:
            wrong.append(hex(number))
    assert wrong == []


@pytest.mark.parametrize("index", range(32))
@pytest.mark.parametrize("m_enables", [False, True])
@pytest.mark.parametrize("s_enables", [False, True])
def test_counters_need_to_be_enabled(index: int, m_enables: bool, s_enables: bool) -> None:
    bit = 1 << index
    bench = Bench(mcounteren=bit if m_enables else ~bit, scounteren=bit if s_enables else ~bit)
    number = 0xC00 + index
    assert bench.in_mode(M).try_read(number) is None
    assert (bench.in_mode(S).try_read(number) is None) == m_enables
    bench.in_mode(U)
    assert (bench.try_read(number) is None) == (m_enables and s_enables)


@pytest.mark.parametrize("stce", [False, True])
@pytest.mark.parametrize("tm", [False, True])
def test_stimecmp_needs_stce_and_tm(stce: bool, tm: bool) -> None:
    """Sstc, 2.2 and 2.3."""
    bench = Bench(menvcfg=stce << 63, mcounteren=2 if tm else ~2)
    assert bench.in_mode(M).try_read("stimecmp") is None
    assert bench.in_mode(M).try_write("stimecmp", 0) is None
    assert (bench.in_mode(S).try_read("stimecmp") is None) == (stce and tm)
    assert (bench.in_mode(S).try_write("stimecmp", 0) is None) == (stce and tm)


def test_satp_is_illegal_in_s_with_tvm() -> None:
    """3.1.6.5"""
    bench = Bench(mstatus=1 << 20)
    assert bench.in_mode(M).try_read("satp") is None
    assert bench.in_mode(S).try_read("satp") is not None
    assert bench.in_mode(S).try_write("satp", 0) is not None
    assert bench.in_mode(S).try_read("sscratch") is None


def test_a_refused_write_changes_nothing() -> None:
    bench = Bench(priv=S, mscratch=5, mcounteren=0)
    bench.hart.x[10] = 7
    word = rv64["csrrw"].encode(rd=10, csr=0x340, rs1=10)
    assert bench.run(word) == Trap(M, ILLEGAL, word)
    assert (bench["mscratch"], bench.hart.x[10]) == (5, 7)
    assert bench["mepc"] == CODE == RAM


def test_set_of_nothing_is_a_read() -> None:
    """Volume I, 7.1: with rs1=x0 csrrs "will not write to the CSR at all"."""
    bench = Bench()
    assert bench.insn("csrrs", rd=10, csr=0xF14, rs1=0) is None
    assert bench.insn("csrrci", rd=10, csr=0xF14, uimm=0) is None
    assert bench.insn("csrrs", rd=10, csr=0xF14, rs1=11) is not None  # x11 holds 0: it still writes
    assert bench.insn("csrrw", rd=10, csr=0xF14, rs1=0) is not None
