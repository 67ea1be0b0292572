"""Physical memory protection: Volume II, 3.7. The grain is 4 KiB."""

from itertools import product

import pytest

from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import ALL, CODE, DATA, RAM, SIZE, TABLES, Bench, M, S, Trap, U

pytestmark = pytest.mark.usefixtures("each_engine")

R, W, X, L = 1, 2, 4, 0x80
TOR, NA4, NAPOT = 0x08, 0x10, 0x18
ACCESS_FAULT = {"fetch": 1, "load": 5, "store": 7}
KIND = {"fetch": X, "load": R, "store": W}
XL, MPRV, MPP = 2 << 34 | 2 << 32, 1 << 17, 11
FULL = (1 << 54) - 1


def napot(base: int, size: int) -> int:
    """The address register of a naturally aligned power of two."""
    return base >> 2 | (size >> 3) - 1


def closed(*entries: tuple[int, int], **cells: int) -> Bench:
    """A bench with these entries (configuration, address) and no others."""
    config = sum(c << 8 * i for i, (c, _) in enumerate(entries))
    parts = {"pmpcfg0": config & ALL, "pmpcfg2": config >> 64, "pmpaddr0": 0}
    parts |= {f"pmpaddr{i}": address for i, (_, address) in enumerate(entries)}
    return Bench(**parts | cells)


def access(bench: Bench, kind: str, pa: int, priv: int) -> Trap | None:
    """One access to physical memory in a mode."""
    if kind == "fetch":
        bench["pc"], bench["priv"] = pa, priv
        bench.step()
        return bench.trap(pa)
    bench["priv"], bench["mstatus"] = M, XL | MPRV | priv << MPP
    bench.hart.x[10] = pa
    if kind == "load":
        return bench.insn("lb", rd=11, rs1=10, imm=0)
    return bench.insn("sb", rs2=11, rs1=10, imm=0)


def allowed(bench: Bench, kind: str, pa: int, priv: int) -> bool:
    trap = access(bench, kind, pa, priv)
    assert trap in (None, Trap(M, ACCESS_FAULT[kind], pa))
    return trap is None


ACCESSES = list(KIND)
EACH = pytest.mark.parametrize(("kind", "priv"), list(product(ACCESSES, (U, S, M))))


@EACH
def test_without_a_match_only_m_passes(kind: str, priv: int) -> None:
    assert allowed(closed(), kind, DATA, priv) == (priv == M)


@EACH
@pytest.mark.parametrize("permissions", [0, R, X, R | W, R | X, R | W | X])
@pytest.mark.parametrize("locked", [0, L])
def test_permissions_bind_s_and_u_and_m_if_locked(
    kind: str, priv: int, permissions: int, locked: int
) -> None:
    bench = closed((locked | NAPOT | permissions, napot(DATA, 4096)))
    passes = bool(permissions & KIND[kind]) or (priv == M and not locked)
    assert allowed(bench, kind, DATA, priv) == passes


@pytest.mark.parametrize("size", [4096, 8192, 1 << 17])
def test_napot_covers_its_power_of_two(size: int) -> None:
    bench = closed((NAPOT | R, napot(DATA, size)))
    for offset in (0, size // 2, size - 1):
        assert allowed(bench, "load", DATA + offset, S)
    assert not allowed(bench, "load", DATA - 1, S)
    if DATA + size < RAM + SIZE:
        assert not allowed(bench, "load", DATA + size, S)


def test_napot_is_never_less_than_a_page() -> None:
    bench = closed((NAPOT | R, DATA >> 2))  # asks for eight bytes
    assert allowed(bench, "load", DATA + 4095, S)
    assert not allowed(bench, "load", DATA + 4096, S)


def test_all_ones_cover_everything() -> None:
    bench = closed((NAPOT | R, FULL))
    assert allowed(bench, "load", RAM, S)
    assert allowed(bench, "load", RAM + SIZE - 1, U)


def test_tor_covers_from_the_address_below() -> None:
    bench = closed((0, DATA >> 2), (TOR | R, DATA + 8192 >> 2))
    inside = [DATA, DATA + 8191]
    outside = [DATA - 1, DATA + 8192]
    assert all(allowed(bench, "load", pa, S) for pa in inside)
    assert not any(allowed(bench, "load", pa, S) for pa in outside)


def test_the_first_tor_covers_from_zero() -> None:
    bench = closed((TOR | R, DATA >> 2))
    assert allowed(bench, "load", RAM, S)
    assert allowed(bench, "load", DATA - 1, S)
    assert not allowed(bench, "load", DATA, S)


def test_tor_ignores_bits_below_the_grain() -> None:
    bench = closed((0, DATA >> 2 | 0x3FF), (TOR | R, DATA + 4096 >> 2 | 0x3FF))
    assert allowed(bench, "load", DATA, S)
    assert not allowed(bench, "load", DATA + 4096, S)


def test_an_empty_tor_matches_nothing() -> None:
    bench = closed((0, DATA + 4096 >> 2), (TOR | R, DATA >> 2), (NAPOT | W | R, FULL))
    assert allowed(bench, "store", DATA, S)


def test_the_lowest_match_decides() -> None:
    bench = closed((NAPOT, napot(DATA, 4096)), (NAPOT | R | W, FULL))
    assert not allowed(bench, "load", DATA, S)
    assert allowed(bench, "load", DATA + 4096, S)
    bench = closed((NAPOT | R | W, FULL), (NAPOT, napot(DATA, 4096)))
    assert allowed(bench, "load", DATA, S)


@pytest.mark.parametrize("index", range(16))
def test_all_sixteen_entries_count(index: int) -> None:
    bench = closed(*[(0, 0)] * index, (NAPOT | R, napot(DATA, 4096)))
    assert allowed(bench, "load", DATA, S)
    assert not allowed(bench, "load", DATA + 4096, S)


# -- the registers ------------------------------------------------------------------------------
def test_an_address_reads_as_its_mode_says() -> None:
    """3.7.1: G is 10; the low bits read as ones for NAPOT, else as zeros, and are kept."""
    bench = closed()
    bench.write("pmpaddr0", 0x123456 << 10 | 0x2AA)
    assert bench.read("pmpaddr0") == 0x123456 << 10
    bench.write("pmpcfg0", NAPOT)
    assert bench.read("pmpaddr0") == 0x123456 << 10 | 0x3FF
    bench.write("pmpcfg0", TOR)
    assert bench.read("pmpaddr0") == 0x123456 << 10
    bench.write("pmpaddr0", 0x123456 << 10)
    bench.write("pmpcfg0", NAPOT)
    assert bench.read("pmpaddr0") == 0x123456 << 10 | 0x1FF


def test_software_finds_the_grain() -> None:
    """3.7.1: write zero to pmp0cfg and ones to pmpaddr0; the first one is bit G."""
    bench = closed()
    bench.write("pmpcfg0", 0)
    bench.write("pmpaddr0", ALL)
    value = bench.read("pmpaddr0")
    assert 1 << (value & -value).bit_length() - 1 + 2 == 4096


def test_configurations_are_legal_byte_by_byte() -> None:
    """Bits 6:5 are zero; W without R is reserved and drops W; NA4 cannot be selected."""
    bench = closed()
    legal = {0x7F: 0x1F, W: 0, W | X: X, R | W: R | W, NA4 | R: NAPOT | R, TOR: TOR, 0x60: 0}
    for written, read in legal.items():
        for byte in (0, 3, 7):
            bench.write("pmpcfg0", written << 8 * byte)
            assert bench.read("pmpcfg0") == read << 8 * byte


def test_a_locked_entry_stays() -> None:
    bench = closed()
    bench.write("pmpaddr1", DATA >> 2)
    bench.write("pmpcfg0", (L | NAPOT | R) << 8)
    bench.write("pmpcfg0", 0x0707_0707_0707_0707)
    assert bench.read("pmpcfg0") == 0x0707_0707_0707_0707 & ~0xFF00 | (L | NAPOT | R) << 8
    bench.write("pmpaddr1", 0)
    assert bench["pmpaddr1"] == DATA >> 2
    bench.write("pmpaddr0", 0x1234 << 10)
    assert bench["pmpaddr0"] == 0x1234 << 10


@pytest.mark.parametrize("index", [0, 6, 7, 14])
def test_the_address_below_a_locked_tor_stays(index: int) -> None:
    bench = closed()
    above = index + 1
    bench.write(f"pmpcfg{above // 8 * 2}", (L | TOR) << 8 * (above % 8))
    bench.write(f"pmpaddr{index}", ALL)
    assert bench[f"pmpaddr{index}"] == 0
    bench.write(f"pmpaddr{above}", ALL)
    assert bench[f"pmpaddr{above}"] == 0


# -- with paging (3.7.2) ------------------------------------------------------------------------
V, PTE_RWX, PTE_USER, ACCESSED, DIRTY = 1, 14, 16, 64, 128
GIGAPAGE = RAM >> 2 | V | PTE_RWX


def paged(*entries: tuple[int, int], bits: int = ACCESSED | DIRTY, **cells: int) -> Bench:
    """Sv39 that maps RAM where it is, by one leaf in the table at TABLES."""
    bench = closed(*entries, satp=8 << 60 | TABLES >> 12, **cells)
    bench.ram.write(TABLES + 16, (GIGAPAGE | bits).to_bytes(8, "little"))
    return bench


@pytest.mark.parametrize("kind", ACCESSES)
@pytest.mark.parametrize("priv", [U, S])
def test_the_walk_reads_as_s(kind: str, priv: int) -> None:
    user = PTE_USER if priv == U else 0
    everything = (NAPOT | R | W | X, FULL)
    bench = paged(everything, bits=ACCESSED | DIRTY | user)
    assert allowed(bench, kind, DATA, priv)
    bench = paged((NAPOT | X, napot(TABLES, 4096)), everything, bits=ACCESSED | DIRTY | user)
    assert not allowed(bench, kind, DATA, priv)


@pytest.mark.parametrize("kind", ACCESSES)
def test_the_page_is_checked_as_the_access(kind: str) -> None:
    for permissions in (0, R, X, R | W, R | X):
        bench = paged((NAPOT | permissions, napot(DATA, 4096)), (NAPOT | R | W | X, FULL))
        assert allowed(bench, kind, DATA, S) == bool(permissions & KIND[kind])
        assert allowed(bench, kind, DATA + 4096, S)


@pytest.mark.parametrize("kind", ACCESSES)
def test_an_update_of_a_pte_needs_to_write_it(kind: str) -> None:
    """Svadu: an access fault "corresponding to the original access type"."""
    read_only, everything = (NAPOT | R, napot(TABLES, 4096)), (NAPOT | R | W | X, FULL)
    bench = paged(read_only, everything, bits=0, menvcfg=1 << 61)
    assert not allowed(bench, kind, DATA, S)
    assert bench.ram.read(TABLES + 16, 8) == GIGAPAGE.to_bytes(8, "little")
    bench = paged(read_only, everything, menvcfg=1 << 61)
    assert allowed(bench, kind, DATA, S)


@pytest.mark.parametrize("kind", ["load", "store"])
def test_a_refused_page_sets_no_accessed_bit(kind: str) -> None:
    bench = paged((NAPOT, napot(DATA, 4096)), (NAPOT | R | W | X, FULL), bits=0, menvcfg=1 << 61)
    assert not allowed(bench, kind, DATA, S)
    assert bench.ram.read(TABLES + 16, 8) == GIGAPAGE.to_bytes(8, "little")


def test_closing_memory_takes_effect_at_once() -> None:
    bench = closed((NAPOT | R, FULL), mstatus=XL | MPRV | S << MPP)
    bench.hart.x[10] = DATA
    load = rv64["lb"].encode(rd=11, rs1=10, imm=0)
    close = rv64["csrrwi"].encode(rd=0, csr=0x3A0, uimm=0)
    bench.put(load, load, close, load)
    bench.step(4)
    assert bench.trap(CODE + 12) == Trap(M, ACCESS_FAULT["load"], DATA)
