"""No page of this process is writable and executable at once."""

import ctypes
import mmap
from typing import NamedTuple

import pytest

from auberge.engine.choose import choose
from auberge.memory.arena import Arena
from tests.engine.board import Board


class Mapping(NamedTuple):
    start: int
    end: int
    permissions: str
    name: str


def mappings() -> list[Mapping]:
    found = []
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
            start, _, end = addresses.partition("-")
            found.append(Mapping(int(start, 16), int(end, 16), permissions, "".join(name).strip()))
    return found


def test_nothing_is_writable_and_executable() -> None:
    Board("interpreter", "wfi").finish()
    both = [m for m in mappings() if "w" in m.permissions and "x" in m.permissions]
    assert both == []


def test_generated_code_is_in_a_mapping_that_is_not_writable() -> None:
    choose("interpreter")
    ours = [m for m in mappings() if "auberge-code" in m.name]
    assert {m.permissions for m in ours} == {"rw-s", "r-xs"}


def test_ram_and_decoded_code_are_not_executable() -> None:
    b = Board("interpreter", "wfi")
    b.finish()
    for address in (b.ram.address, b["scratch"], b["code_pages"], b.hart.address):
        (mapping,) = [m for m in mappings() if m.start <= address < m.end]
        assert "x" not in mapping.permissions


def test_what_is_added_is_at_the_address_given() -> None:
    arena = Arena(2 * mmap.PAGESIZE)
    first, second = arena.add(b"one"), arena.add(b"two")
    assert first % mmap.PAGESIZE == second % mmap.PAGESIZE == 0
    assert (ctypes.string_at(first, 3), ctypes.string_at(second, 3)) == (b"one", b"two")


def test_an_arena_that_is_full() -> None:
    arena = Arena(100)
    arena.add(bytes(mmap.PAGESIZE - 96))
    with pytest.raises(MemoryError) as error:
        arena.add(bytes(100))
    assert str(error.value) == f"100 bytes of code do not fit an arena of {mmap.PAGESIZE}"
