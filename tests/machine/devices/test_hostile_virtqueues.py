"""Random rings and descriptor tables: no exception, no hang, usable after a reset."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.virtio.block import Block
from auberge.machine.virtio.console import Console
from auberge.machine.virtio.entropy import Entropy
from auberge.machine.virtio.net import Counts, Net
from auberge.machine.virtio.ports import HELD, Ports
from tests.machine.devices.driver import BASE, EVENT_IDX, INDIRECT_DESC, Driver, Memory
from tests.machine.devices.test_virtio_block import BytesDisk, block
from tests.machine.devices.test_virtio_net import Cable

SIZE = 0x40000
QUEUE = 8


def addresses():
    inside = st.integers(0, 0x40).map(lambda number: BASE + 0x10 * number)
    odd = st.sampled_from([0, BASE - 1, BASE + SIZE - 1, BASE + SIZE, (1 << 64) - 1])
    return st.one_of(inside, inside, inside, odd, st.integers(0, (1 << 64) - 1))


def lengths():
    usual = st.sampled_from([0, 1, 16, 17, 32, 512, 1024])
    odd = st.sampled_from([SIZE, SIZE + 1, 0xFFFF_FFF0, 0xFFFF_FFFF])
    return st.one_of(usual, usual, odd)


def descriptors():
    return st.builds(
        lambda address, length, flags, following: pack("<QIHH", address, length, flags, following),
        addresses(),
        lengths(),
        st.one_of(st.integers(0, 7), st.sampled_from([0, 1, 2, 3]), st.integers(0, 0xFFFF)),
        st.one_of(st.integers(0, QUEUE), st.integers(0, 0xFFFF)),
    )


def rings():
    index = st.one_of(st.integers(0, QUEUE + 1), st.integers(0, 0xFFFF))
    heads = st.lists(st.integers(0, QUEUE), min_size=QUEUE, max_size=QUEUE)
    words = st.tuples(st.integers(0, 1), index, heads, st.integers(0, 0xFFFF))
    return words.map(lambda w: pack(f"<HH{QUEUE}HH", w[0], w[1], *w[2], w[3]))


def requests():
    """The first bytes of memory, which readable buffers mostly show: block request headers."""
    kinds = st.sampled_from([0, 1, 4, 8, 11, 13, 99])
    sectors = st.one_of(st.integers(0, 70), st.integers(0, (1 << 64) - 1))
    return st.builds(lambda kind, sector: pack("<IIQ", kind, 0, sector), kinds, sectors)


def with_frames(net):
    """A network device at which frames wait."""
    for size in (60, 3000):
        net.receive([bytes(size)], 14, 6)
    return net


def with_a_port():
    """A device with one port, which the host has open."""
    ports = Ports(lambda: None, 1)
    ports.ports[0].add()
    ports.ports[0].open()
    return ports


DEVICES = {
    "block": lambda: block(BytesDisk()),
    "console": lambda: Console(lambda data: None),
    "entropy": lambda: Entropy(bytes),
    "net": lambda: with_frames(Net(bytes(6), Cable(), Counts(), lambda: 0)),
    "ports": with_a_port,
}


@pytest.mark.slow
@pytest.mark.parametrize("make", DEVICES.values(), ids=DEVICES.keys())
@given(
    features=st.sampled_from([0, INDIRECT_DESC, EVENT_IDX, INDIRECT_DESC | EVENT_IDX]),
    table=st.lists(descriptors(), min_size=QUEUE, max_size=QUEUE),
    inner=st.lists(descriptors(), max_size=8),
    ring=rings(),
    header=requests(),
    place=st.sampled_from([0, 0x3000, 0x8000]),
    index=st.sampled_from([0, 0, 1, 2, 3]),
    again=rings(),
)
def test_a_hostile_queue(make, features, table, inner, ring, header, place, index, again):
    driver = Driver(make(), memory=Memory(SIZE), features=features, size=QUEUE)
    before = driver.mmio.state
    start = BASE + 0x10000 * min(index, len(driver.rings) - 1)
    driver.put(BASE + place, header * 4)
    driver.put(BASE + 0x100, b"".join(inner))
    driver.put(start, b"".join(table))
    for words in (ring, again):
        driver.put(start + 0x1000, words)
        driver.write(0x50, index)
        if isinstance(driver.mmio.device, Console):
            driver.mmio.device.receive(b"typed")
        if isinstance(driver.mmio.device, Ports):
            port = driver.mmio.device.ports[0]
            port.give(b"given")
            assert len(port.take(1 << 20)) <= HELD + 0x8000
    # Stopped for good, or still in order: nothing in between.
    status = driver.read(0x70)
    assert status in (15, 15 | 64)
    assert driver.mmio.state.queues[0].size == before.queues[0].size
    driver.acknowledge()
    driver.start(INDIRECT_DESC)
    last = driver.rings[-1]
    request = [pack("<IIQ", 0, 0, 0)] if isinstance(driver.mmio.device, Block) else [b"x"]
    last.add(request, [512, 1])
    last.notify()
    assert [head for head, _ in last.finished()] == [0]
    assert driver.read(0x70) == 15
