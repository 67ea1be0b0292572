"""Virtual memory: Volume II, 4.3.2 and 4.4 - 4.6, each reason to fault, each level."""

from itertools import product

import pytest

from auberge.bits.bits import Bits
from auberge.engine.exits import Spent
from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import CODE, DATA, NOP, RAM, TABLES, Bench, M, S, Trap, U

pytestmark = pytest.mark.usefixtures("each_engine")

V, R, W, X, USER, G, A, D = (1 << n for n in range(8))
RWX, USED = R | W | X, A | D
XL, MPRV, SUM, MXR, ADUE = 2 << 34 | 2 << 32, 1 << 17, 1 << 18, 1 << 19, 1 << 61
PBMTE, NAPOT = 1 << 62, 1 << 63
MPP = 11
LEVELS = {8: 3, 9: 4, 10: 5}  # satp.MODE of Sv39, Sv48, Sv57
ACCESSES = ("fetch", "load", "store")
PAGE_FAULT = {"fetch": 12, "load": 13, "store": 15}
ACCESS_FAULT = {"fetch": 1, "load": 5, "store": 7}
KIND = {"fetch": X, "load": R, "store": W}
VALUE = 0x1122_3344_5566_7788
AT = 0x1_2345_6000  # where the tests' page is mapped: a different index at each level of Sv39
MODES = pytest.mark.parametrize("mode", LEVELS)
EACH_ACCESS = pytest.mark.parametrize("access", ACCESSES)
EACH_LEVEL = pytest.mark.parametrize(
    ("mode", "level"), [(mode, level) for mode, n in LEVELS.items() for level in range(n)]
)


class Paged(Bench):
    """A bench in S-mode with page tables, in which `va` is the page at DATA."""

    def __init__(self, mode: int = 8, va: int = AT, **cells: int) -> None:
        super().__init__(**{"priv": S, "satp": mode << 60 | TABLES >> 12} | cells)
        self.mode, self.va, self.priv = mode, va, self["priv"]
        self.tables = TABLES
        self.map(va, DATA, V | RWX | USED)

    def entry(self, va: int, level: int) -> int:
        """Where the PTE of `va` is at a level; tables are made on the way."""
        table = TABLES
        for above in range(LEVELS[self.mode] - 1, level, -1):
            at = table + 8 * (va >> 12 + 9 * above & 511)
            if not self.pte(at):
                self.tables += 4096
                self.set_pte(at, self.tables >> 2 | V)
            table = self.pte(at) >> 10 << 12
        return table + 8 * (va >> 12 + 9 * level & 511)

    def map(self, va: int, pa: int, flags: int, level: int = 0) -> None:
        self.set_pte(self.entry(va, level), pa >> 2 | flags)

    def pte(self, at: int) -> int:
        return int.from_bytes(self.ram.read(at, 8), "little")

    def set_pte(self, at: int, value: int) -> None:
        self.ram.write(at, value.to_bytes(8, "little"))
        self.hart.request("sfence")

    def change(self, level: int = 0, clear: int = 0, to: int = 0) -> None:
        """Clear and set bits of the PTE of the page at a level."""
        at = self.entry(self.va, level)
        self.set_pte(at, self.pte(at) & ~clear | to)

    def access(self, access: str, va: int | None = None) -> Trap | None:
        """Fetch at, load from, or store to a virtual address, in the mode that is set."""
        va = self.va if va is None else va
        if access == "fetch":
            self["pc"], self["priv"] = va, self.priv
            assert self.step() == Spent()
            return self.trap(va)
        # The instruction itself is fetched in M, where nothing is translated: MPRV does the rest.
        status = self["mstatus"]
        self["mstatus"] = status & ~(3 << MPP) | self.priv << MPP | MPRV
        self["priv"] = M
        self.hart.x[10] = va
        if access == "load":
            trap = self.insn("ld", rd=11, rs1=10, imm=0)
        else:
            trap = self.insn("sd", rs2=11, rs1=10, imm=0)
        self["mstatus"] = status
        return trap

    def page_fault(self, access: str, va: int | None = None) -> bool:
        va = self.va if va is None else va
        return self.access(access, va) == Trap(M, PAGE_FAULT[access], va)


def test_a_load_and_a_store_reach_the_page() -> None:
    for mode in LEVELS:
        bench = Paged(mode)
        bench.ram.write(DATA, VALUE.to_bytes(8, "little"))
        assert bench.access("load") is None
        assert bench.hart.x[11] == VALUE
        assert bench.access("store", AT + 16) is None
        assert bench.ram.read(DATA + 16, 8) == VALUE.to_bytes(8, "little")


def test_a_fetch_executes_the_page() -> None:
    for mode in LEVELS:
        bench = Paged(mode)
        bench.put(rv64["addi"].encode(rd=5, rs1=0, imm=7), at=DATA + 8)
        assert bench.access("fetch", AT + 8) is None
        assert (bench.hart.x[5], bench["pc"]) == (7, AT + 12)


@MODES
@EACH_ACCESS
def test_bits_above_the_page_numbers_extend_their_sign(mode: int, access: str) -> None:
    top = 12 + 9 * LEVELS[mode]
    high = (1 << 64) - (1 << top - 1)
    bench = Paged(mode, va=high)
    assert bench.access(access, high) is None
    for wrong in (high & ~(1 << 63), high ^ 1 << top, high & (1 << top) - 1, 1 << top, 1 << 63):
        assert bench.page_fault(access, wrong)


@EACH_LEVEL
@EACH_ACCESS
def test_an_invalid_pte_at_any_level(mode: int, level: int, access: str) -> None:
    bench = Paged(mode)
    bench.change(level, clear=V)
    assert bench.page_fault(access)


@EACH_LEVEL
@EACH_ACCESS
def test_reserved_bits_at_any_level(mode: int, level: int, access: str) -> None:
    for bit in (54, 60, 61, 63):  # 4.4.1: reserved; Svpbmt is off, and this is no NAPOT
        bench = Paged(mode)
        bench.change(level, to=1 << bit)
        assert bench.page_fault(access)


@EACH_LEVEL
def test_writable_but_not_readable_is_reserved(mode: int, level: int) -> None:
    for flags, access in product((W, W | X), ACCESSES):
        bench = Paged(mode)
        bench.change(level, clear=R | X, to=flags)
        assert bench.page_fault(access)


@EACH_LEVEL
def test_a_pointer_has_no_a_d_or_u(mode: int, level: int) -> None:
    for bit, access in product((A, D, USER), ACCESSES):
        bench = Paged(mode)
        bench.change(level, clear=0 if level else RWX | USED, to=bit)
        assert bench.page_fault(access)


@MODES
@EACH_ACCESS
def test_a_pointer_at_the_last_level(mode: int, access: str) -> None:
    bench = Paged(mode)
    bench.change(0, clear=RWX | USED)
    assert bench.page_fault(access)


@EACH_LEVEL
def test_a_leaf_at_any_level_is_a_page_of_its_size(mode: int, level: int) -> None:
    size = 1 << 12 + 9 * level
    bench = Paged(mode)
    bench.map(AT, DATA & -size, V | RWX | USED, level)
    bench.ram.write(DATA + 8, VALUE.to_bytes(8, "little"))
    assert bench.access("load", (AT & -size) + (DATA + 8) % size) is None
    assert bench.hart.x[11] == VALUE


@EACH_LEVEL
@EACH_ACCESS
def test_a_superpage_is_aligned(mode: int, level: int, access: str) -> None:
    bench = Paged(mode)
    for bit in range(10, 10 + 9 * level):
        bench.map(AT, 0, V | RWX | USED | 1 << bit, level)
        assert bench.page_fault(access)


@EACH_LEVEL
@EACH_ACCESS
def test_memory_types_are_of_leaves_and_if_they_are_on(mode: int, level: int, access: str) -> None:
    """Volume II, chapter 6."""
    for on, kind in product((0, 1), range(4)):
        bench = Paged(mode, menvcfg=on * PBMTE)
        bench.change(level, to=kind << 61)
        if kind == 0 or level == 0 and on and kind != 3:
            assert bench.access(access) is None
        else:
            assert bench.page_fault(access)


def test_switching_memory_types_off_takes_back_what_used_them() -> None:
    bench = Paged(priv=M, mstatus=XL | MPRV | S << MPP, menvcfg=PBMTE)
    bench.change(0, to=1 << 61)
    bench.hart.x[10] = AT
    load = rv64["lw"].encode(rd=11, rs1=10, imm=0)
    off = rv64["csrrw"].encode(rd=0, csr=0x30A, rs1=0)
    bench.put(load, off, load)
    bench.step(2)
    assert bench.trap(CODE + 8) is None
    bench.step(1)
    assert bench.trap(CODE + 8) == Trap(M, PAGE_FAULT["load"], AT)


@MODES
def test_sixteen_pages_as_one(mode: int) -> None:
    """Volume II, chapter 5: each of the 64 KiB is where its own bits say."""
    at = AT & ~0xFFFF
    bench = Paged(mode, va=at)
    for page in range(16):
        bench.map(at + 4096 * page, DATA & ~0xFFFF | 0x8000, NAPOT | V | RWX | USED)
        bench.ram.write(DATA + 4096 * page, page.to_bytes(8, "little"))
        bench.ram.write(DATA + 4096 * page + 8, NOP.to_bytes(4, "little"))
    for page in range(16):
        assert bench.access("load", at + 4096 * page) is None
        assert bench.hart.x[11] == page
        assert bench.access("store", at + 4096 * page + 16) is None
        assert bench.ram.read(DATA + 4096 * page + 16, 8) == page.to_bytes(8, "little")
        assert bench.access("fetch", at + 4096 * page + 8) is None


@EACH_ACCESS
def test_other_sizes_of_contiguity_are_reserved(access: str) -> None:
    """Chapter 5, table 5.1."""
    for low in set(range(16)) - {8}:
        bench = Paged()
        bench.map(AT, DATA & ~0xFFFF | low << 12, NAPOT | V | RWX | USED)
        assert bench.page_fault(access)


@pytest.mark.parametrize("level", [1, 2])
@EACH_ACCESS
def test_a_superpage_is_not_contiguous_with_others(access: str, level: int) -> None:
    bench = Paged()
    bench.map(AT, 0x8000, NAPOT | V | RWX | USED, level)
    assert bench.page_fault(access)


@pytest.mark.parametrize("fence", ["sfence.vma", "sinval.vma"])
def test_a_fence_of_one_address_covers_its_sixteen_pages(fence: str) -> None:
    bench = Paged(priv=M, mstatus=XL | MPRV | S << MPP)
    at = AT & ~0xFFFF
    for page in range(2):
        bench.map(at + 4096 * page, DATA & ~0xFFFF | 0x8000, NAPOT | V | RWX | USED)
    bench.hart.x[10], bench.hart.x[12] = at, at + 4096
    load = rv64["lw"].encode(rd=11, rs1=12, imm=0)
    bench.put(load, rv64[fence].encode(rs1=10, rs2=0), load)
    bench.step()
    assert bench.hart.x[11] == NOP
    bench.ram.write(bench.entry(at + 4096, 0), (0).to_bytes(8, "little"))
    bench.step(2)
    assert bench.trap(CODE + 8) == Trap(M, PAGE_FAULT["load"], at + 4096)


@MODES
def test_permissions(mode: int) -> None:
    for flags, access in product((R, R | W, X, R | X, RWX), ACCESSES):
        bench = Paged(mode)
        bench.change(0, clear=RWX, to=flags)
        if KIND[access] & flags:
            assert bench.access(access) is None
        else:
            assert bench.page_fault(access)


def test_mxr_makes_executable_pages_readable() -> None:
    for flags, access in product((R, X, R | X), ACCESSES):
        bench = Paged(mstatus=XL | MXR)
        bench.change(0, clear=RWX, to=flags)
        allowed = KIND[access] & flags or access == "load"
        assert (bench.access(access) is None) == bool(allowed)


def test_user_pages() -> None:
    """4.3.1: U needs them; S may with SUM load and store there, and never execute."""
    for priv, user, permit, access in product((U, S), (0, USER), (0, SUM), ACCESSES):
        bench = Paged(priv=priv, mstatus=XL | permit)
        bench.change(0, clear=USER, to=user)
        if priv == U:
            allowed = bool(user)
        else:
            allowed = not user or (bool(permit) and access != "fetch")
        if allowed:
            assert bench.access(access) is None
        else:
            assert bench.page_fault(access)


def test_mprv_does_not_change_fetches() -> None:
    """3.1.6.3: "Instruction address-translation and protection are unaffected"."""
    bench = Paged(mstatus=XL | MPRV | S << MPP, priv=M)
    assert bench.access("fetch", DATA) is None


@EACH_ACCESS
@MODES
def test_machine_mode_is_not_translated(access: str, mode: int) -> None:
    bench = Paged(mode, priv=M)
    assert bench.access(access, DATA) is None


@pytest.mark.parametrize("priv", [U, S])
@EACH_ACCESS
def test_bare_is_not_translated(priv: int, access: str) -> None:
    bench = Paged(satp=TABLES >> 12, priv=priv)
    assert bench.access(access, DATA) is None


# -- accessed and dirty -------------------------------------------------------------------------
@EACH_LEVEL
@EACH_ACCESS
def test_without_adue_a_and_d_must_be_set(mode: int, level: int, access: str) -> None:
    """Svade"""
    for bits in (0, A, D, USED):
        bench = Paged(mode)
        size = 1 << 12 + 9 * level
        va = (AT & -size) + (DATA & (size - 1))
        at = bench.entry(AT, level)
        pte = (DATA & -size) >> 2 | V | RWX | bits
        bench.set_pte(at, pte)
        good = bits == USED or (bits == A and access != "store")
        assert (bench.access(access, va) is None) == good
        assert bench.pte(at) == pte
        if not good:
            assert bench.page_fault(access, va)


@EACH_LEVEL
@EACH_ACCESS
def test_with_adue_hardware_sets_them(mode: int, level: int, access: str) -> None:
    """Svadu"""
    for bits in (0, A, D, USED):
        bench = Paged(mode, menvcfg=ADUE)
        size = 1 << 12 + 9 * level
        at = bench.entry(AT, level)
        pte = (DATA & -size) >> 2 | V | RWX | G | bits
        bench.set_pte(at, pte)
        assert bench.access(access, (AT & -size) + (DATA & (size - 1))) is None
        assert bench.pte(at) == pte | (USED if access == "store" else A)


@EACH_ACCESS
def test_a_page_fault_sets_nothing(access: str) -> None:
    bench = Paged(menvcfg=ADUE)
    bench.change(0, clear=RWX | USED, to={"fetch": R, "load": X, "store": R | X}[access])
    before = bench.pte(bench.entry(AT, 0))
    assert bench.page_fault(access)
    assert bench.pte(bench.entry(AT, 0)) == before


def test_a_load_then_a_store_sets_d_later() -> None:
    bench = Paged(menvcfg=ADUE)
    bench.change(0, clear=USED)
    for access, bits in (("load", A), ("load", A), ("store", USED)):
        assert bench.access(access) is None
        assert bench.pte(bench.entry(AT, 0)) & USED == bits


# -- physical memory ----------------------------------------------------------------------------
@EACH_LEVEL
@EACH_ACCESS
def test_a_table_outside_ram_is_an_access_fault(mode: int, level: int, access: str) -> None:
    bench = Paged(mode)
    if level == LEVELS[mode] - 1:
        bench["satp"] = mode << 60 | 0x1000
    else:
        at = bench.entry(AT, level + 1)
        bench.set_pte(at, 0x1000 << 10 | V)
    assert bench.access(access) == Trap(M, ACCESS_FAULT[access], AT)


def test_an_access_across_pages_faults_where_it_is_wrong() -> None:
    """3.1.16: mtval has "the virtual address of the portion" that caused the fault."""
    bench = Paged()
    for access in ("load", "store"):
        assert bench.access(access, AT + 4092) == Trap(M, PAGE_FAULT[access], AT + 4096)
        assert bench.access(access, AT - 4) == Trap(M, PAGE_FAULT[access], AT - 4)
    bench.map(AT + 4096, DATA + 8192, V | RWX | USED)
    bench.ram.write(DATA + 4092, b"\1\2\3\4")
    bench.ram.write(DATA + 8192, b"\5\6\7\x08")
    assert bench.access("load", AT + 4092) is None
    assert bench.hart.x[11] == 0x0807_0605_0403_0201


# -- fences -------------------------------------------------------------------------------------
@pytest.mark.parametrize("fence", ["sfence.vma", "sinval.vma"])
@pytest.mark.parametrize("rs1", [0, 10])
def test_after_a_fence_the_new_tables_count(fence: str, rs1: int) -> None:
    bench = Paged(priv=M, mstatus=XL | MPRV | S << MPP)
    bench.hart.x[10] = AT
    bench.ram.write(DATA + 4096, b"\x55")
    word = rv64["lbu"].encode(rd=11, rs1=10, imm=0)
    bench.put(word, rv64[fence].encode(rs1=rs1, rs2=0), word)
    bench.step(1)
    assert bench.hart.x[11] == NOP
    new = DATA + 4096 >> 2 | V | RWX | USED
    bench.ram.write(bench.entry(AT, 0), new.to_bytes(8, "little"))
    bench.step(2)
    assert bench.hart.x[11] == 0x55


@pytest.mark.parametrize("fence", ["sfence.vma", "sinval.vma"])
def test_a_fence_of_one_address_covers_its_superpage(fence: str) -> None:
    """4.2.1: it invalidates "all address-translation cache entries that contain leaf page table
    entries corresponding to the virtual address in rs1", however many pages one has become."""
    bench = Paged(priv=M, mstatus=XL | MPRV | S << MPP)
    va = 0x4000_0000
    bench.map(va, RAM, V | RWX | USED, level=1)
    bench.hart.x[10], bench.hart.x[12] = va + (DATA - RAM), va + (DATA - RAM) + 4096
    first = rv64["lw"].encode(rd=11, rs1=10, imm=0)
    second = rv64["lw"].encode(rd=13, rs1=12, imm=0)
    bench.put(first, second, rv64[fence].encode(rs1=10, rs2=0), second)
    bench.step(2)
    assert bench.hart.x[13] == NOP
    bench.ram.write(bench.entry(va, 1), (0).to_bytes(8, "little"))
    bench.step(2)
    assert bench.trap(CODE + 12) == Trap(M, PAGE_FAULT["load"], bench.hart.x[12])


@pytest.mark.parametrize("writable", [False, True])
def test_a_lost_race_for_the_dirty_bit_walks_again(
    writable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.3.2, step 7: "if the comparison fails, return to step 2"."""
    monkeypatch.setattr(Bench, "engine_name", "reference")  # natively nothing can come between
    bench = Paged(menvcfg=ADUE)
    bench.change(0, clear=USED)
    engine, at = bench.engine, bench.entry(AT, 0)
    swap, rival = engine.swap, DATA >> 2 | V | R | W * writable
    rivals = [rival]

    def lose(place: Bits, size: int, old: Bits, new: Bits) -> Bits:
        if rivals:
            bench.ram.write(at, rivals.pop().to_bytes(8, "little"))
        return swap(place, size, old, new)

    monkeypatch.setattr(engine, "swap", lose)
    if writable:
        assert bench.access("store") is None
        assert bench.pte(at) == rival | USED
    else:
        assert bench.page_fault("store")
        assert bench.pte(at) == rival
