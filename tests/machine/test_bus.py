"""The bus finds the device of an address, and lets nothing through that a device must not see."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.bus import Bus, Region


class Registers:
    """Remembers each access."""

    def __init__(self):
        self.seen = []

    def read(self, offset, width):
        self.seen.append(("read", offset, width))
        return offset + 1

    def write(self, offset, width, value):
        self.seen.append(("write", offset, width, value))


def region(device, base, size, widths=(1, 2, 4, 8), name="it"):
    return Region(name, base, size, frozenset(widths), device.read, device.write)


def test_an_address_becomes_an_offset():
    device = Registers()
    bus = Bus([region(device, 0x10000000, 0x100)])
    assert bus.read(0x10000004, 4) == 5
    assert bus.write(0x10000008, 8, 7) is True
    assert device.seen == [("read", 4, 4), ("write", 8, 8, 7)]


@pytest.mark.parametrize(
    "address, width",
    [
        (0x0FFFFFFF, 1),  # before it
        (0x10000100, 1),  # after it, in its page
        (0x10001000, 1),  # in the next page
        (0x10000001, 2),  # misaligned
        (0x10000000, 8),  # a width it does not have
        (0, 1),
        (2**64 - 1, 1),
    ],
)
def test_nobody_answers(address, width):
    device = Registers()
    bus = Bus([region(device, 0x10000000, 0x100, (1, 2, 4))])
    assert bus.read(address, width) is None
    assert bus.write(address, width, 1) is False
    assert device.seen == []


def test_the_last_access_must_fit():
    device = Registers()
    bus = Bus([region(device, 0x1000, 6, (4,))])
    assert bus.read(0x1000, 4) == 1
    assert bus.read(0x1004, 4) is None


@given(st.integers(0, 0x5000), st.sampled_from([1, 2, 4, 8]))
def test_only_what_is_promised_reaches_a_device(address, width):
    first, second = Registers(), Registers()
    bus = Bus([region(second, 0x3800, 0x801, (4, 8)), region(first, 0x1000, 0x1800, (1, 2))])
    answer = bus.read(address, width)
    assert bus.write(address, width, 0) is (answer is not None)
    for device, size, widths in ((first, 0x1800, (1, 2)), (second, 0x801, (4, 8))):
        for _, offset, seen_width, *_ in device.seen:
            assert seen_width == width in widths
            assert 0 <= offset <= size - width and offset % width == 0


def test_two_regions_in_one_page_are_an_error_of_the_board():
    device = Registers()
    regions = [region(device, 0x1000, 16, name="a"), region(device, 0x1010, 16, name="b")]
    with pytest.raises(ValueError) as error:
        Bus(regions)
    assert str(error.value) == "b shares a page with a"


def test_counting():
    device, counts = Registers(), {}
    bus = Bus([region(device, 0x1000, 16, name="uart").counted(counts)])
    assert counts == {"uart": 0}
    bus.read(0x1000, 1)
    bus.write(0x1000, 1, 1)
    bus.read(0x1010, 1)
    assert counts == {"uart": 2}


def test_a_look_up_is_a_small_part_of_three_microseconds():
    class Quick:
        def read(self, offset, width):
            return 0

        write = None

    bus = Bus([region(Quick(), 0x0C000000, 0x600000), region(Registers(), 0x10000000, 0x100)])
    best = 1.0
    for _ in range(20):
        begin = time.perf_counter()
        for _ in range(1000):
            bus.read(0x0C201004, 4)
        best = min(best, (time.perf_counter() - begin) / 1000)
    assert best < 1.5e-6  # 0.3 us on a quiet host of 2023; the bound is for noisy ones
