"""Whatever a guest does to registers: no exception, values that fit, state that is whole."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.devices import test_finisher as finisher
from auberge.machine.devices.clint import Clint, ClintState
from auberge.machine.devices.goldfish_rtc import GoldfishRtc, RtcState
from auberge.machine.devices.plic import Plic, PlicState
from auberge.machine.devices.uart16550 import Uart16550, UartState
from auberge.machine.virtio.console import Console
from auberge.machine.virtio.entropy import Entropy
from auberge.machine.virtio.mmio import MmioState, VirtioMmio
from auberge.machine.virtio.ports import Ports
from tests.machine.devices.driver import BASE, Memory
from tests.machine.devices.test_virtio_block import BytesDisk, block


class Pins:
    def __init__(self, log):
        self.log = log

    def set_msip(self, hart, level):
        self.log.append((hart, level))

    def set_mtimecmp(self, hart, value):
        assert 0 <= value < 1 << 64


class World:
    """The outside of a device: what it drives, and a clock that moves with every look."""

    def __init__(self):
        self.log, self.time = [], 1 << 60
        self.memory = Memory(0x8000)
        self.disk = BytesDisk()

    def line(self, level):
        assert level is True or level is False

    def now(self):
        self.time += 1
        return self.time


def virtio(device):
    def make(world, state):
        return VirtioMmio(world.line, world.memory, device(world), state)

    return make


class Kind(NamedTuple):
    make: Callable
    fresh: object
    offsets: list[int]


VIRTIO_OFFSETS = [*range(0, 0x100, 4), *range(0x100, 0x140)]
PLIC_OFFSETS = [0, 4, 40, 380, 0x1000, 0x1004, 0x2000, 0x2080, 0x2088, 0x200000, 0x201004, 0x203004]
KINDS = {
    "uart": Kind(
        lambda world, state: Uart16550(world.line, world.log.append, state=state),
        UartState(),
        list(range(9)),
    ),
    "rtc": Kind(
        lambda world, state: GoldfishRtc(world.line, world.now, state),
        RtcState(),
        list(range(0, 0x24, 4)),
    ),
    "finisher": Kind(
        lambda world, state: finisher.TestFinisher(world.log.append, world.now, state),
        finisher.NOTHING,
        [0, 4],
    ),
    "clint": Kind(
        lambda world, state: Clint(Pins(world.log), world.now, 2, state),
        ClintState(),
        [0, 4, 8, 0x4000, 0x4004, 0x4008, 0xBFF8, 0xBFFC],
    ),
    "plic": Kind(lambda world, state: Plic([world.line] * 4, state), PlicState(), PLIC_OFFSETS),
    "block": Kind(virtio(lambda world: block(world.disk)), MmioState(), VIRTIO_OFFSETS),
    "console": Kind(virtio(lambda world: Console(world.log.append)), MmioState(), VIRTIO_OFFSETS),
    "entropy": Kind(virtio(lambda world: Entropy(bytes)), MmioState(), VIRTIO_OFFSETS),
    "ports": Kind(virtio(lambda world: Ports(lambda: None, 2)), MmioState(), VIRTIO_OFFSETS),
}

VALUES = st.one_of(
    st.integers(0, 16),
    st.sampled_from([BASE, BASE + 0x1000, 0x5555, 0x3333, 0x7777, 0xFFFF_FFFF, 1 << 63]),
    st.integers(0, (1 << 64) - 1),
)


@st.composite
def accesses(draw, kind):
    """[(offset, width, value or None for a read)], all as a bus lets them through."""
    device = kind.make(World(), kind.fresh)
    count = draw(st.integers(1, 40))
    offsets = st.one_of(st.sampled_from(kind.offsets), st.integers(0, device.size - 1))
    widths = st.sampled_from(sorted(device.widths))
    chosen = []
    for _ in range(count):
        width = draw(widths)
        offset = draw(offsets) & -width
        value = draw(VALUES) & (1 << 8 * width) - 1 if draw(st.booleans()) else None
        chosen.append((offset, width, value))
    return chosen


def carry_out(device, chosen):
    answers = []
    for offset, width, value in chosen:
        if value is None:
            answer = device.read(offset, width)
            assert type(answer) is int and 0 <= answer < 1 << 8 * width
            answers.append(answer)
        else:
            device.write(offset, width, value)
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@given(data=st.data())
def test_random_accesses_are_served_and_survive_a_restore(kind, data):
    chosen = data.draw(accesses(kind))
    cut = data.draw(st.integers(0, len(chosen)))
    straight, broken = World(), World()
    whole = kind.make(straight, kind.fresh)
    expected = carry_out(whole, chosen)
    first = kind.make(broken, kind.fresh)
    answers = carry_out(first, chosen[:cut])
    second = kind.make(broken, first.state)
    assert second.state == first.state
    answers += carry_out(second, chosen[cut:])
    assert second.state == whole.state
    assert answers == expected
    assert broken.memory.bytes == straight.memory.bytes
    hash(second.state)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_access_of_every_width_at_every_register(kind):
    device = kind.make(World(), kind.fresh)
    for width in device.widths:
        for offset in kind.offsets:
            at = offset & -width
            for value in (0, (1 << 8 * width) - 1):
                carry_out(device, [(at, width, None), (at, width, value), (at, width, None)])
