"""A look at a page walk says what the hart would find, and leaves everything as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.engine.choose import choose
from auberge.machine.debug.translation import physical
from auberge.machine.debug.walk import Allowed, Cached, Fault, Level, translate
from tests.isa.bench import CODE, DATA, ILLEGAL, RAM, SIZE, Bench, M, S, U
from tests.isa.test_paging import (
    ACCESSES,
    ADUE,
    AT,
    LEVELS,
    MXR,
    NAPOT,
    PBMTE,
    RWX,
    SUM,
    USED,
    USER,
    A,
    D,
    G,
    Paged,
    R,
    V,
    W,
    X,
)

HERE = 1 << 37 | DATA - RAM
"""An address that superpages of the whole RAM, up to level 2, map to the page at DATA."""


def look(bench, gva=AT):
    return translate(bench.hart, bench.ram, bench.clock, gva)


def everything(bench):
    size = bench.hart.layout.size
    words = bytes(memoryview(bench.hart._map)[:size])
    return words, bytes(bench.ram.view)


flags = st.sets(st.sampled_from([V, R, W, X, USER, G, A, D])).map(sum)
likely = st.sampled_from([V | RWX | USED, V | R | A, V | X | A, V | R | W | USED | USER, V | RWX])
entries = st.one_of(
    likely,
    flags,
    st.tuples(likely, st.sampled_from([0, NAPOT | 8 << 10, NAPOT, 1 << 61, 3 << 61, 1 << 54])).map(
        lambda pair: pair[0] | pair[1]
    ),
)


@settings(max_examples=300)
@given(
    mode=st.sampled_from(sorted(LEVELS)),
    level=st.integers(0, 4),
    entry=entries,
    priv=st.sampled_from([U, S]),
    status=st.sampled_from([0, SUM, MXR, SUM | MXR]),
    envcfg=st.sampled_from([0, ADUE, PBMTE, ADUE | PBMTE]),
    offset=st.sampled_from([0, 8, 4088]),
)
def test_what_the_hart_would_find(mode, level, entry, priv, status, envcfg, offset):
    level %= LEVELS[mode]
    entry |= (RAM if level else DATA) >> 2

    def paged():
        bench = Paged(mode, HERE, priv=priv, menvcfg=envcfg)
        bench["mstatus"] |= status
        bench.set_pte(bench.entry(HERE, level), entry)
        return bench

    bench, gva = paged(), HERE + offset
    before = everything(bench)
    found = look(bench, gva)
    assert everything(bench) == before
    if found.gpa is not None:
        assert physical(bench.ram, bench["satp"], gva) == found.gpa
    in_ram = found.gpa is not None and 0 <= found.gpa - RAM < SIZE
    assert found.hva == (bench.ram.address + found.gpa - RAM if in_ram else None)
    for access in ACCESSES:
        said = getattr(found, access)
        if isinstance(said, Fault):
            assert paged().access(access, gva).cause == said.cause
            continue
        assert said == Allowed(found.gpa)
        if in_ram:
            trap = paged().access(access, gva)
            assert trap is None or trap.cause == ILLEGAL  # a word that was fetched there


def test_the_levels_with_their_entries():
    bench = Paged(8)
    found = look(bench, AT + 0x123)
    at = [bench.entry(AT, level) for level in (2, 1, 0)]
    assert found.levels == tuple(
        Level(level, place, bench.pte(place)) for level, place in zip((2, 1, 0), at, strict=True)
    )
    assert [each.flags for each in found.levels] == ["-------V", "-------V", "DA--XWRV"]
    assert (found.mode, found.page_size, found.gpa) == ("Sv39", 4096, DATA + 0x123)


@pytest.mark.parametrize(("level", "size"), [(0, 4096), (1, 2 << 20), (2, 1 << 30)])
def test_the_size_of_a_page(level, size):
    bench = Paged(8)
    bench.set_pte(bench.entry(AT, level), V | RWX | USED)
    assert look(bench).page_size == size


def test_a_napot_page_and_a_memory_type():
    bench = Paged(8, menvcfg=PBMTE)
    bench.change(to=NAPOT | 8 << 10 | 1 << 61)
    found = look(bench)
    assert (found.page_size, found.levels[-1].flags) == (1 << 16, "N NC DA--XWRV")


def test_what_nobody_may_use_is_found_all_the_same():
    bench = Paged(8, priv=U)
    bench.change(clear=A | D)
    found = look(bench)
    assert (found.gpa, found.fault) == (DATA, None)
    faults = [found.fetch, found.load, found.store]
    assert [each.name for each in faults] == [
        "instruction page fault",
        "load page fault",
        "store/AMO page fault",
    ]


def test_what_is_mapped_nowhere():
    bench = Paged(8)
    assert look(bench, 0).fault == Fault(13)
    found = look(bench, 1 << 60)
    assert (found.levels, found.gpa, found.hva, found.page_size) == ((), None, None, None)
    assert found.fault.name == "load page fault"


def test_machine_mode_is_shown_what_a_supervisor_would_see():
    bench = Paged(8, priv=M)
    found = look(bench)
    assert (found.gpa, found.load, found.mode) == (DATA, Allowed(AT), "Sv39")
    bare = look(Bench(priv=M), DATA)
    assert (bare.gpa, bare.levels, bare.page_size, bare.mode) == (DATA, (), None, "Bare")


def test_what_pmp_denies_is_found_and_faults():
    bench = Paged(8)
    bench["pmpcfg0"] = 0
    found = look(bench)
    assert (found.gpa, found.load, found.fetch) == (DATA, Fault(5), Fault(1))


@pytest.fixture
def native(monkeypatch):
    monkeypatch.setattr(Bench, "engine_name", "interpreter")


@pytest.mark.parametrize("access", ["load", "store"])
def test_what_the_tlb_holds(native, access):
    bench = Paged(8)
    assert look(bench).tlb == ()
    assert bench.access(access) is None
    where = bench.ram.address + DATA - RAM
    (entry,) = look(bench).tlb
    assert entry == Cached(access, entry.bank, True, where)
    assert look(bench, AT + 4095).tlb[0].hva == where + 4095
    assert look(bench, AT + (512 << 12)).tlb == ()  # the same place, of another page
    bench.hart["request_sfence"] = 0
    bench.hart["pc"], bench.hart["mstatus"] = CODE, bench["mstatus"] ^ SUM
    bench.step(1)
    assert look(bench).tlb == (entry._replace(in_force=False),)
    bench.change()
    bench.step(1)  # takes the flush that this asked for
    assert look(bench).tlb == ()


def test_a_bank_that_is_in_force(native):
    bench = Paged(8)
    bench["pc"] = AT
    bench.step(1)
    found = look(bench).tlb
    assert found == (Cached("fetch", found[0].bank, True, None),)


def test_other_engines_have_no_tlb():
    assert choose("reference").name == "reference"
    bench = Paged(8)
    bench.access("load")
    assert look(bench).tlb == ()
