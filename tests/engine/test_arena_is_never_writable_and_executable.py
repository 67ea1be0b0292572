"""No page of this process is writable and executable at once."""

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from auberge.engine.choose import choose
from auberge.memory.arena import Arena
from tests.engine.board import Board

SHOW = """
from tests.engine.board import Board
Board("interpreter", "wfi").finish()
print(open("/proc/self/maps").read())
"""


class Mapping(NamedTuple):
    start: int
    end: int
    permissions: str
    name: str


def mappings(text: str = "") -> list[Mapping]:
    """Those of this process, unless another's are given."""
    found = []
    for line in (text or Path("/proc/self/maps").read_text()).strip().splitlines():
        addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
        start, _, end = addresses.partition("-")
        found.append(Mapping(int(start, 16), int(end, 16), permissions, "".join(name)))
    return found


def test_nothing_is_writable_and_executable() -> None:
    """In a process of its own: here, a library of some other test may have left such a page."""
    shown = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    seen = mappings(shown.stdout)
    assert any("auberge-code" in m.name and "x" in m.permissions for m in seen)
    assert [m for m in seen if "w" in m.permissions and "x" in m.permissions] == []


def test_generated_code_is_in_a_mapping_that_is_not_writable() -> None:
    choose("interpreter")
    ours = [m for m in mappings() if "auberge-code" in m.name]
    assert {m.permissions for m in ours} == {"r-xs"}


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
