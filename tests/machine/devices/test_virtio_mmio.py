"""The virtio-mmio transport: 4.2 of virtio 1.2, register by register."""

import pytest

from auberge.machine.virtio.entropy import Entropy
from tests.machine.devices.driver import (
    BASE,
    CONFIG_CHANGE,
    EVENT_IDX,
    INDIRECT_DESC,
    ISR,
    NEEDS_RESET,
    NOTIFY,
    STATUS,
    USED_BUFFER,
    VERSION_1,
    Driver,
    Memory,
    Ring,
)


def entropy():
    return Entropy(lambda count: bytes(range(1, 256))[:count])


@pytest.fixture
def driver():
    return Driver(entropy())


def cold():
    return Driver(entropy(), start=False)


def test_it_says_what_it_is():
    driver = cold()
    assert [driver.read(offset) for offset in (0, 4, 8)] == [0x74726976, 2, 4]


def test_it_offers_the_features_of_a_modern_ring():
    assert cold().offered() == INDIRECT_DESC | EVENT_IDX | VERSION_1 | 1 << 40
    driver = cold()
    driver.write(0x14, 2)
    assert driver.read(0x10) == 0


def test_features_without_version_1_are_not_accepted():
    assert not cold().negotiate(0)
    assert not cold().negotiate(VERSION_1 | 1 << 50)
    assert cold().negotiate(VERSION_1)


def test_features_are_settled_by_features_ok():
    driver = cold()
    driver.negotiate(VERSION_1)
    driver.write(0x24, 0)
    driver.write(0x20, 0xFFFF_FFFF)
    assert driver.mmio.state.driver_features == VERSION_1


def test_a_status_bit_is_cleared_by_reset_only(driver):
    driver.write(STATUS, 1)
    assert driver.read(STATUS) == 15
    driver.write(STATUS, 0)
    assert driver.read(STATUS) == 0


def test_driver_ok_needs_features_ok():
    driver = cold()
    driver.write(STATUS, 7)
    assert driver.read(STATUS) == 3


def test_the_driver_cannot_say_that_the_device_needs_a_reset():
    driver = cold()
    driver.write(STATUS, 1 | NEEDS_RESET)
    assert driver.read(STATUS) == 1


def test_a_reset_forgets_everything(driver):
    driver.rings[0].request(writable=[8])
    driver.write(STATUS, 0)
    assert driver.mmio.state == cold().mmio.state
    assert not driver.irq
    driver.start()
    assert driver.rings[0].request(writable=[4]) == (4, b"\1\2\3\4")


def test_a_queue_keeps_its_place_while_ready(driver):
    driver.write(0x38, 4)
    driver.write(0x80, 0)
    assert driver.mmio.state.queues[0].size == 16
    assert driver.mmio.state.queues[0].descriptors == BASE
    assert driver.read(0x44) == 1


def test_queues_that_do_not_exist(driver):
    driver.write(0x30, 1)
    assert (driver.read(0x34), driver.read(0x44)) == (0, 0)
    for register in (0x38, 0x44, 0x80, 0x84, 0xC0):
        driver.write(register, 1)
    driver.write(NOTIFY, 1)
    driver.write(NOTIFY, 0xFFFF_FFFF)
    assert driver.read(STATUS) == 15


def test_a_request_interrupts_until_acknowledged(driver):
    driver.rings[0].request(writable=[8])
    assert driver.irq
    assert driver.acknowledge() == USED_BUFFER
    assert not driver.irq
    assert driver.read(ISR) == 0


def test_nothing_happens_before_driver_ok():
    driver = cold()
    driver.negotiate(VERSION_1)
    ring = Ring(driver, 0, 16, BASE)
    driver.set_up(ring)
    ring.add(writable=[8])
    ring.notify()
    assert ring.finished() == []
    driver.write(STATUS, 15)
    assert ring.finished() == [(0, 8)], "what was available is served at DRIVER_OK"
    assert driver.irq


def test_a_queue_made_ready_later_is_served(driver):
    driver.write(0x44, 0)
    assert driver.read(0x44) == 0
    driver.rings[0].notify()
    driver.start()
    driver.write(0x44, 0)
    driver.set_up(driver.rings[0])
    assert driver.rings[0].request(writable=[1]) == (1, b"\1")


def test_a_queue_alone_is_reset():
    driver = Driver(entropy(), features=1 << 40)
    driver.rings[0].request(writable=[8])
    driver.write(0xC0, 1)
    assert driver.read(0xC0) == 0
    assert driver.read(0x44) == 0
    driver.rings[0].taken = driver.rings[0].added = 0
    driver.set_up(driver.rings[0])
    assert driver.rings[0].request(writable=[2]) == (2, b"\1\2")


def test_registers_are_32_bits_wide(driver):
    assert driver.read(0, 1) == driver.read(0, 2) == driver.read(0, 8) == 0
    driver.write(STATUS, 0, 1)
    driver.write(STATUS, 0, 8)
    assert driver.read(STATUS) == 15


def test_there_is_no_shared_memory(driver):
    driver.write(0xAC, 0)
    assert [driver.read(offset) for offset in (0xB0, 0xB4, 0xB8, 0xBC)] == [0xFFFF_FFFF] * 4


def test_beyond_the_configuration_space_there_is_nothing(driver):
    assert [driver.read(0x100, width) for width in (1, 2, 4, 8)] == [0] * 4
    assert driver.read(0xFF8, 8) == 0
    driver.write(0xFF8, 1, 8)


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (0x38, 0),
        (0x38, 3),
        (0x38, 0x8000_0000),
        (0x80, 0x8000_0008),
        (0x90, 0x8000_0001),
        (0xA0, 0x8000_0002),
        (0x84, 1),
        (0x94, 0xFFFF_FFFF),
        (0xA0, 0x8004_0000 - 8),
        (0x90, 0x7FFF_FFFE),
    ],
)
def test_a_queue_that_cannot_be_stops_the_device(driver, register, value):
    ring = driver.rings[0]
    driver.write(0x44, 0)
    driver.write(register, value)
    driver.acknowledge()
    driver.write(0x44, 1)
    assert driver.read(STATUS) == 15 | NEEDS_RESET
    assert driver.acknowledge() == CONFIG_CHANGE
    ring.add(writable=[8])
    ring.notify()
    assert ring.finished() == []
    driver.start()
    assert driver.rings[0].request(writable=[1]) == (1, b"\1")


def test_with_event_index_interrupts_come_when_asked_for():
    driver = Driver(entropy(), features=EVENT_IDX)
    ring = driver.rings[0]
    ring.set_used_event(2)
    for count in range(1, 5):
        ring.request(writable=[1])
        assert driver.acknowledge() == (USED_BUFFER if count == 3 else 0)
        assert ring.avail_event() == count


def test_without_event_index_a_flag_suppresses_interrupts(driver):
    driver.put(driver.rings[0].available, b"\1\0")
    driver.rings[0].request(writable=[1])
    assert not driver.irq
    driver.put(driver.rings[0].available, b"\0\0")
    driver.rings[0].request(writable=[1])
    assert driver.irq


@pytest.mark.slow
@pytest.mark.parametrize("features", [0, EVENT_IDX])
def test_the_ring_goes_round_many_times(features):
    driver = Driver(entropy(), features=features, memory=Memory())
    ring = driver.rings[0]
    for number in range(70000):
        ring.set_used_event(number & 0xFFFF)
        ring.free = 0
        ring.next_buffer = ring.buffers
        ring.add(writable=[1])
        ring.notify()
    assert ring.added == 70000 & 0xFFFF
    assert driver.mmio.state.queues[0].last_available == ring.added
    assert driver.mmio.state.queues[0].used_index == ring.added
    assert driver.read(STATUS) == 15


def test_a_driver_that_never_stops_is_served_in_parts():
    """Another hart that adds a chain whenever one is done must not keep the device for itself."""
    calls = []

    def feed(count):
        calls.append(count)
        ring.offer(0)
        return bytes(count)

    driver = Driver(Entropy(feed))
    ring = driver.rings[0]
    ring.add(writable=[1])
    driver.put(ring.available, b"\1\0")
    ring.notify()
    assert len(calls) == 4 * ring.size
    assert driver.irq, "the driver is told though it asked not to be"
    driver.acknowledge()
    assert len(calls) == 8 * ring.size


def test_a_restored_transport_goes_on_as_the_first_would(driver):
    driver.rings[0].request(writable=[8])
    driver.rings[0].add(writable=[3])
    twin = driver.restored(entropy())
    assert twin.mmio.state == driver.mmio.state
    assert twin.levels == [True]
    for each in driver, twin:
        each.rings[0].notify()
        assert each.acknowledge() == USED_BUFFER
    assert twin.mmio.state == driver.mmio.state
    assert twin.memory.bytes == driver.memory.bytes


def test_a_queue_of_a_restored_transport_begins_again_when_made_ready(driver):
    driver.rings[0].request(writable=[8])
    twin = driver.restored(entropy())
    twin.write(0x44, 0)
    twin.rings[0].added = twin.rings[0].taken = 0
    twin.set_up(twin.rings[0])
    assert twin.rings[0].request(writable=[1]) == (1, b"\1")


def test_a_restored_transport_still_needs_its_reset(driver):
    driver.rings[0].offer(99)
    driver.rings[0].notify()
    twin = driver.restored(entropy())
    assert twin.read(STATUS) == 15 | NEEDS_RESET
    assert twin.mmio.state == driver.mmio.state
