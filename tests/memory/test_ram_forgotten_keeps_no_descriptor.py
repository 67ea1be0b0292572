"""A program that makes machine after machine does not run out of descriptors."""

import os

import pytest

from auberge.memory.ram import PAGE, Ram


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_ram_that_is_forgotten_keeps_no_descriptor() -> None:
    before = open_descriptors()
    for _ in range(50):
        Ram(0, PAGE)
    assert open_descriptors() <= before + 2  # the last one may still be there


def test_closing_gives_it_back_at_once() -> None:
    before = open_descriptors()
    Ram(0, PAGE).close()
    assert open_descriptors() == before


def test_one_that_could_not_be_made_is_forgotten_in_silence() -> None:
    with pytest.raises(ValueError, match="not a whole number of pages"):
        Ram(0, 1)
