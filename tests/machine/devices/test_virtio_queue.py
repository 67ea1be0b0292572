"""Chains as 2.7 has them, and as a hostile driver makes them."""

from struct import pack

import pytest

from auberge.machine.virtio.queue import Queue, QueueError, QueueState
from tests.machine.devices.driver import (
    BASE,
    INDIRECT,
    INDIRECT_DESC,
    NEXT,
    WRITE,
    Driver,
    Memory,
)


class Capture:
    """A device that keeps the chains it is given."""

    device_id, features, queue_sizes, state = 99, 0, (16,), ()

    def __init__(self):
        self.chains = []

    def attach(self, transport):
        pass

    def config(self):
        return b""

    def reset(self):
        pass

    def service(self, index, queue):
        for chain in queue:
            readable = [bytes(view) for view in chain.readable]
            self.chains.append((chain.head, readable, [view.nbytes for view in chain.writable]))
            queue.push(chain.head, 0)


@pytest.fixture
def device():
    return Capture()


@pytest.fixture
def driver(device):
    return Driver(device)


def describe(driver, number, address, length, flags, following=0, table=None):
    """Write one descriptor by hand."""
    entry = (table or driver.rings[0].descriptors) + 16 * number
    driver.put(entry, pack("<QIHH", address, length, flags, following))


@pytest.mark.parametrize("indirect", [False, True])
def test_buffers_come_in_order(driver, device, indirect):
    head, _ = driver.rings[0].add([b"one", b"two"], [4, 5], indirect=indirect)
    driver.rings[0].notify()
    assert device.chains == [(head, [b"one", b"two"], [4, 5])]


def test_an_indirect_table_may_end_a_chain(driver, device):
    ring = driver.rings[0]
    table = BASE + 0x8000
    driver.put(BASE + 0x9000, b"abcdef")
    describe(driver, 0, BASE + 0x9000, 3, NEXT, 5)
    describe(driver, 5, table, 32, INDIRECT | WRITE)
    describe(driver, 0, BASE + 0x9003, 3, NEXT, 1, table=table)
    describe(driver, 1, BASE + 0x9010, 7, WRITE, 0, table=table)
    ring.offer(0)
    ring.notify()
    assert device.chains == [(0, [b"abc", b"def"], [7])]


def test_a_descriptor_of_no_bytes_is_passed_over(driver, device):
    describe(driver, 1, BASE, 0, NEXT, 2)
    describe(driver, 2, BASE + 0x3000, 1, WRITE)
    driver.rings[0].offer(1)
    driver.rings[0].notify()
    assert device.chains == [(1, [], [1])]


END = BASE + 0x40000
TABLE = BASE + 0x8000
HOSTILE = {
    "a loop of one": [(0, BASE, 1, NEXT, 0)],
    "a loop of two": [(0, BASE, 1, NEXT, 1), (1, BASE, 1, NEXT, 0)],
    "next out of the table": [(0, BASE, 1, NEXT, 16)],
    "next far out of the table": [(0, BASE, 1, NEXT, 0xFFFF)],
    "below memory": [(0, BASE - 1, 2, 0, 0)],
    "beyond memory": [(0, END - 1, 2, WRITE, 0)],
    "at the end of memory": [(0, END, 1, 0, 0)],
    "nothing, for ever": [(0, BASE, 0, NEXT, 0)],
    "a huge length": [(0, BASE, 0xFFFF_FFFF, WRITE, 0)],
    "a sum that wraps": [(0, 0xFFFF_FFFF_FFFF_FFFF, 2, 0, 0)],
    "writable before readable": [(0, BASE, 1, NEXT | WRITE, 1), (1, BASE, 1, 0, 0)],
    "indirect and next": [(0, TABLE, 16, INDIRECT | NEXT, 1)],
    "indirect of no bytes": [(0, TABLE, 0, INDIRECT, 0)],
    "indirect of a part of a descriptor": [(0, TABLE, 24, INDIRECT, 0)],
    "indirect longer than any chain": [(0, TABLE, 16 * 17, INDIRECT, 0)],
    "indirect of a huge length": [(0, TABLE, 0xFFFF_FFF0, INDIRECT, 0)],
    "indirect not in memory": [(0, END - 8, 16, INDIRECT, 0)],
}


def broken(driver):
    ring = driver.rings[0]
    ring.offer(0)
    ring.notify()
    assert driver.read(0x70) == 15 | 64
    assert ring.finished() == []
    driver.acknowledge()
    ring.notify()
    assert not driver.irq, "a device that needs a reset looks at nothing"
    driver.start(INDIRECT_DESC)
    driver.rings[0].add([b"still there"])
    driver.rings[0].notify()
    assert driver.mmio.device.chains[-1] == (0, [b"still there"], [])


@pytest.mark.parametrize("descriptors", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_chain_stops_the_device(driver, descriptors):
    for number, *fields in descriptors:
        describe(driver, number, *fields)
    broken(driver)


def test_indirect_inside_indirect_stops_the_device(driver):
    describe(driver, 0, TABLE, 16, INDIRECT)
    describe(driver, 0, TABLE + 16, 16, INDIRECT, table=TABLE)
    describe(driver, 0, BASE, 1, 0, table=TABLE + 16)
    broken(driver)


def test_a_chain_longer_than_the_queue_stops_the_device(driver):
    describe(driver, 0, BASE, 1, NEXT, 1)
    describe(driver, 1, TABLE, 16 * 16, INDIRECT)
    for number in range(16):
        describe(driver, number, BASE, 1, NEXT if number < 15 else 0, number + 1, table=TABLE)
    broken(driver)


def test_next_out_of_an_indirect_table_stops_the_device(driver):
    describe(driver, 0, TABLE, 16, INDIRECT)
    describe(driver, 0, BASE, 1, NEXT, 1, table=TABLE)
    broken(driver)


def test_an_indirect_table_that_was_not_negotiated_stops_the_device(device):
    driver = Driver(device, features=0)
    describe(driver, 0, TABLE, 16, INDIRECT)
    broken(driver)


@pytest.mark.parametrize("head", [16, 0xFFFF])
def test_a_head_out_of_the_table_stops_the_device(driver, head):
    driver.rings[0].offer(head)
    broken(driver)


def test_more_chains_than_the_ring_has_stop_the_device(driver):
    describe(driver, 0, BASE, 1, 0)
    driver.rings[0].added = 16  # and broken() adds one
    broken(driver)


def test_a_wrapped_ring_stops_the_device(driver):
    driver.rings[0].request([b"x"])
    describe(driver, 0, BASE, 1, 0)
    driver.rings[0].added = 0xFFFE
    broken(driver)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (QueueState(size=0), "queue size 0 is not a power of two up to 16"),
        (QueueState(size=12), "queue size 12 is not a power of two up to 16"),
        (QueueState(size=32), "queue size 32 is not a power of two up to 16"),
        (QueueState(16, True, 8, 0, 0), "a part of the queue is not aligned"),
        (QueueState(16, True, 0, 0, 0), "256 bytes at 0x0 are not in memory"),
    ],
)
def test_a_queue_says_what_is_wrong_with_it(state, line):
    with pytest.raises(QueueError) as error:
        Queue(Memory(), state, 0, 16)
    assert str(error.value) == line
