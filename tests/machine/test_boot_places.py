"""Kernel, initrd and device tree never meet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.boot import PAGE, REACH, ROOM, place
from auberge.machine.kernel import Kernel
from auberge.refusal import Refusal

BASE, MIB = 0x8000_0000, 1 << 20


def kernel(size):
    start = BASE + 2 * MIB
    return Kernel("K", start, start, start + size, False, None, lambda ram: None)


def test_they_are_at_the_end_of_a_small_memory():
    places = place(kernel(20 * MIB), 5 * MIB + 1, 3000, BASE, 128 * MIB)
    assert places.device_tree == BASE + 128 * MIB - ROOM - PAGE
    assert places.initrd == places.device_tree - 5 * MIB - PAGE


def test_they_stay_in_reach_in_a_large_one():
    places = place(kernel(20 * MIB), 5 * MIB, 3000, BASE, 8192 * MIB)
    assert places.device_tree == BASE + REACH - ROOM - PAGE


def test_an_initrd_larger_than_the_reach_goes_to_the_end():
    places = place(kernel(20 * MIB), 600 * MIB, 3000, BASE, 2048 * MIB)
    assert places.initrd == BASE + 1448 * MIB - ROOM - PAGE


@pytest.mark.parametrize(
    "initrd, line",
    [
        (9 * MIB, "K: kernel, initrd and device tree need 18 MiB of memory and there are 16;"),
        (0, "K: kernel and device tree need 9 MiB of memory and there are 8;"),
    ],
)
def test_too_little_memory(initrd, line):
    size = 16 * MIB if initrd else 8 * MIB
    with pytest.raises(Refusal) as refusal:
        place(kernel(7 * MIB), initrd, 3000, BASE, size)
    more = 32 if initrd else 16
    assert str(refusal.value) == f"{line} give the machine {more}M or more"


@given(
    st.integers(1, 100 * MIB), st.integers(0, 100 * MIB), st.integers(1, MIB), st.integers(4, 1024)
)
def test_no_two_overlap(kernel_size, initrd_size, tree_size, megabytes):
    try:
        places = place(kernel(kernel_size), initrd_size, tree_size, BASE, megabytes * MIB)
    except Refusal:
        assert kernel_size + initrd_size + tree_size > (megabytes - 2) * MIB - 3 * PAGE - ROOM
        return
    ends = BASE + 2 * MIB + kernel_size, places.initrd + initrd_size, places.device_tree + tree_size
    assert ends[0] <= places.initrd and ends[1] <= places.device_tree
    assert ends[2] <= BASE + megabytes * MIB
    assert places.initrd % PAGE == places.device_tree % PAGE == 0
