"""The debugger's translation agrees with the guest's, and has no side effects."""

import pytest

from auberge.machine.debug.translation import physical
from auberge.memory.ram import Ram

RAM, ROOT = 0x8000_0000, 0x8001_0000
LEVELS = {8: 3, 9: 4, 10: 5}


@pytest.fixture
def ram():
    return Ram(RAM, 1 << 20)


def put(ram, at, value):
    ram.write(at, value.to_bytes(8, "little"))


def tables(ram, mode, va, level, pte):
    """Tables whose entry for `va` at `level` is `pte`; the satp."""
    table = ROOT
    for above in range(LEVELS[mode] - 1, level, -1):
        following = table + 4096
        put(ram, table + 8 * (va >> 12 + 9 * above & 511), following >> 2 | 1)
        table = following
    put(ram, table + 8 * (va >> 12 + 9 * level & 511), pte)
    return mode << 60 | 7 << 44 | ROOT >> 12


@pytest.mark.parametrize("mode", LEVELS)
def test_each_level(ram, mode):
    for level in range(LEVELS[mode]):
        for sign in (0, 1):
            top = 12 + 9 * LEVELS[mode] - 1
            va = 0x12_3456_7ABC if not sign else (1 << 64) - (1 << top) + 0x12_3456_7ABC
            size = 1 << 12 + 9 * level
            base = 0x8001_2345_6000 // size * size
            satp = tables(ram, mode, va, level, base >> 2 | 3)
            before = ram.read(RAM, 1 << 20)
            assert physical(ram, satp, va) == base + va % size
            assert ram.read(RAM, 1 << 20) == before
            put(ram, ROOT, 0)


def test_a_napot_of_64_kib(ram):
    satp = tables(ram, 8, 0x5000, 0, 1 << 63 | (0x8002_0000 | 0x8000) >> 2 | 3)
    assert physical(ram, satp, 0x5123) == 0x8002_5123


def test_nothing_is_there(ram):
    satp = tables(ram, 8, 0x5000, 0, 0)
    assert physical(ram, satp, 0x5000) is None
    satp = tables(ram, 8, 0x5000, 0, 0x8002_0000 >> 2 | 1)  # no leaf at the last level
    assert physical(ram, satp, 0x5000) is None
    assert physical(ram, satp, 1 << 39) is None  # its sign is not extended
    assert physical(ram, satp, (1 << 64) - (1 << 40)) is None
    assert physical(ram, 8 << 60, 0x5000) is None  # tables that are in no RAM
    assert physical(ram, 0, 0x5000) == 0x5000
