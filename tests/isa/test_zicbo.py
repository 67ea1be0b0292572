"""Cache-block operations on every engine: Volume I, 20240411, chapter 19."""

from itertools import product

import pytest

from auberge.engine.exits import Spent
from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import ALL, CODE, DATA, ILLEGAL, Bench, M, S, Trap, U
from tests.isa.test_paging import (
    ACCESS_FAULT,
    AT,
    MPP,
    MPRV,
    PAGE_FAULT,
    RWX,
    USED,
    XL,
    A,
    D,
    Paged,
    R,
    V,
    W,
    X,
)

pytestmark = pytest.mark.usefixtures("each_engine")

CBIE, CBCFE, CBZE = (n << 4 for n in (3, 4, 8))
MANAGEMENT = {"cbo.inval": CBIE, "cbo.clean": CBCFE, "cbo.flush": CBCFE}
FIELDS = MANAGEMENT | {"cbo.zero": CBZE}
ONES = b"\xff" * 192
RS1 = 10
OUTSIDE = 0x1000_0000


def test_a_block_is_zeroed_from_any_address_in_it() -> None:
    bench = Bench()
    for address in (DATA + 64, DATA + 64 + 7, DATA + 127):
        bench.ram.write(DATA, ONES)
        bench.hart.x[RS1] = address
        assert bench.insn("cbo.zero", rs1=RS1) is None
        assert bench.ram.read(DATA, 192) == ONES[:64] + bytes(64) + ONES[:64]


@pytest.mark.parametrize("name", MANAGEMENT)
def test_management_changes_no_memory(name: str) -> None:
    bench = Bench()
    bench.ram.write(DATA, ONES)
    bench.hart.x[RS1] = DATA + 70
    assert bench.insn(name, rs1=RS1) is None
    assert bench.ram.read(DATA, 192) == ONES


@pytest.mark.parametrize("name", FIELDS)
def test_each_mode_needs_the_fields_of_those_above(name: str) -> None:
    field = FIELDS[name]
    word = rv64[name].encode(rs1=RS1)
    fields = [0, field] if field != CBIE else [0, 1 << 4, 3 << 4]
    for priv, by_m, by_s in product((U, S, M), fields, fields):
        bench = Bench(priv=priv, menvcfg=by_m, senvcfg=by_s)
        bench.hart.x[RS1] = DATA
        allowed = priv == M or by_m and (priv == S or by_s)
        assert bench.run(word) == (None if allowed else Trap(M, ILLEGAL, word))


@pytest.mark.parametrize("name", FIELDS)
def test_other_fields_do_not_help(name: str) -> None:
    word = rv64[name].encode(rs1=RS1)
    others = 0xF0 & ~FIELDS[name]
    for by_m, by_s in ((others, 0xF0), (0xF0, others)):
        bench = Bench(priv=U, menvcfg=by_m, senvcfg=by_s)
        bench.hart.x[RS1] = DATA
        assert bench.run(word) == Trap(M, ILLEGAL, word)


def cbo(bench: Paged, name: str, va: int) -> Trap | None:
    """The instruction at CODE in M, where MPRV makes its access one of S."""
    bench["mstatus"], bench["priv"] = XL | MPRV | S << MPP, M
    bench.hart.x[RS1] = va
    return bench.insn(name, rs1=RS1)


@pytest.mark.parametrize("name", FIELDS)
def test_permission_of_the_page(name: str) -> None:
    """A fault is that of a store, and its address the block's."""
    for flags in (R, R | W, X, R | X, RWX):
        bench = Paged()
        bench.change(0, clear=RWX, to=flags)
        allowed = flags & W if name == "cbo.zero" else flags & R
        expected = None if allowed else Trap(M, PAGE_FAULT["store"], AT + 64)
        assert cbo(bench, name, AT + 64 + 5) == expected
    bench = Paged()
    bench.change(0, clear=V)
    assert cbo(bench, name, AT) == Trap(M, PAGE_FAULT["store"], AT)


@pytest.mark.parametrize("name", FIELDS)
def test_accessed_and_dirty(name: str) -> None:
    """Management is no store: the page stays clean."""
    wanted = A | D if name == "cbo.zero" else A
    for update in (False, True):
        bench = Paged(menvcfg=update << 61)
        bench.change(0, clear=USED)
        expected = None if update else Trap(M, PAGE_FAULT["store"], AT)
        assert cbo(bench, name, AT) == expected
        assert bench.pte(bench.entry(AT, 0)) & USED == (wanted if update else 0)


@pytest.mark.parametrize("name", FIELDS)
def test_physical_protection(name: str) -> None:
    bench = Paged(pmpcfg0=0x1F_18, pmpaddr0=DATA >> 2 | 0x1FF, pmpaddr1=(1 << 54) - 1)
    assert cbo(bench, name, AT + 3) == Trap(M, ACCESS_FAULT["store"], AT)


def test_a_device_cannot_be_zeroed() -> None:
    bench = Bench()
    bench.hart.x[RS1] = OUTSIDE + 65
    assert bench.insn("cbo.zero", rs1=RS1) == Trap(M, ACCESS_FAULT["store"], OUTSIDE + 64)
    for name in MANAGEMENT:  # it is in no cache
        assert bench.insn(name, rs1=RS1) is None


def test_zeroing_again_finds_the_page_in_the_tlb() -> None:
    bench = Paged(priv=M, mstatus=XL | MPRV | S << MPP)
    bench.ram.write(DATA, b"\xff" * 4096)
    bench.hart.x[RS1], bench.hart.x[11] = AT, AT + 4095
    bench.put(*(rv64["cbo.zero"].encode(rs1=rs1) for rs1 in (RS1, 11, 11)))
    assert bench.step(3) == Spent()
    assert bench["pc"] == CODE + 12
    assert bench.ram.read(DATA, 4096) == bytes(64) + b"\xff" * (4096 - 128) + bytes(64)


def test_a_reservation_does_not_survive_its_block() -> None:
    """What was reserved is zero now, so that sc finds another value."""
    bench = Bench()
    bench.ram.write(DATA, ONES)
    bench.hart.x[RS1], bench.hart.x[11] = DATA, ALL
    assert bench.insn("lr.d", rd=12, rs1=RS1, aq=0, rl=0) is None
    assert bench.insn("cbo.zero", rs1=RS1) is None
    assert bench.insn("sc.d", rd=13, rs1=RS1, rs2=11, aq=0, rl=0) is None
    assert bench.hart.x[13] == 1
    assert bench.ram.read(DATA, 8) == bytes(8)
