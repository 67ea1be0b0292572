"""The console device: bytes both ways, a window that changes size."""

import pytest

from auberge.machine.virtio.console import Console, ConsoleState
from tests.machine.devices.driver import CONFIG_CHANGE, EVENT_IDX, USED_BUFFER, Driver


class Bench:
    """A console between a driver and a bytearray."""

    def __init__(self, **state):
        self.out, self.spaces = bytearray(), []
        self.console = Console(self.out.extend, lambda: self.spaces.append(True), **state)


@pytest.fixture
def bench():
    bench = Bench()
    bench.driver = Driver(bench.console, features=EVENT_IDX)
    bench.receive, bench.transmit = bench.driver.rings
    return bench


def test_what_is_transmitted_goes_to_the_sink(bench):
    assert bench.transmit.request([b"hello, ", b"world\n"]) == (0, b"")
    assert bench.out == b"hello, world\n"


def test_what_is_received_fills_the_buffers_that_wait(bench):
    _, first = bench.receive.add(writable=[4])
    _, second = bench.receive.add(writable=[4, 4])
    bench.receive.add(writable=[4])
    bench.receive.notify()
    assert bench.receive.finished() == []
    assert not bench.driver.irq
    assert bench.console.receive(b"abcdefgh!") == 9
    assert bench.receive.finished() == [(0, 4), (1, 5)]
    assert bench.driver.get(first[0][0], 4) == b"abcd"
    assert bench.driver.get(second[0][0], 4) + bench.driver.get(second[1][0], 1) == b"efgh!"
    assert bench.driver.acknowledge() == USED_BUFFER


def test_what_comes_early_waits_for_buffers(bench):
    bench.console.receive(b"early")
    assert bench.receive.request(writable=[16])[0] == 5


def test_what_comes_before_the_driver_waits_for_it():
    bench = Bench()
    bench.console.receive(b"early")
    driver = Driver(bench.console)
    assert driver.rings[0].request(writable=[16])[0] == 5


def test_the_host_is_told_to_wait_and_when_to_go_on(bench):
    assert bench.console.receive(bytes(0x10005)) == 0x10000
    assert bench.console.receive(b"x") == 0
    for _ in range(16):
        assert bench.spaces == []
        assert bench.receive.request(writable=[0x1000])[0] == 0x1000
    assert bench.spaces == [True]
    assert bench.console.receive(b"x") == 1


def test_its_configuration_is_the_size_of_the_window(bench):
    assert [bench.driver.read(0x100, 2), bench.driver.read(0x102, 2)] == [80, 24]
    generation = bench.driver.read(0xFC)
    bench.console.resize(132, 50)
    assert bench.driver.acknowledge() == CONFIG_CHANGE
    assert bench.driver.read(0xFC) != generation
    assert bench.driver.read(0x100, 4) == 50 << 16 | 132
    bench.console.resize(132, 50)
    assert not bench.driver.irq
    bench.console.resize(-1, 1 << 20)
    assert bench.driver.read(0x100, 4) == 0xFFFF << 16


def test_an_emergency_write_needs_no_queue():
    bench = Bench()
    driver = Driver(bench.console, start=False)
    driver.write(0x108, ord("!"))
    driver.write(0x100, 0xFFFF)
    assert bench.out == b"!"
    assert driver.read(0x108) == 0


def test_an_endless_request_is_cut(bench):
    ring = bench.transmit
    part = (ring.descriptors, 0x30000, 0)
    ring.table(ring.descriptors, [part] * 16, 0)
    ring.offer(0)
    ring.notify()
    assert len(bench.out) == 0x100000
    assert ring.finished() == [(0, 0)]


def test_a_restored_console_goes_on(bench):
    bench.console.resize(100, 30)
    bench.receive.add(writable=[3])
    bench.console.receive(b"abcdef")
    twin = Bench(state=bench.console.state)
    assert twin.console.state == ConsoleState(100, 30, b"def", False)
    driver = bench.driver.restored(twin.console)
    for each in bench.driver, driver:
        each.acknowledge()
        each.rings[0].set_used_event(1)
        each.rings[0].add(writable=[8])
        each.rings[0].notify()
        assert each.acknowledge() == USED_BUFFER
    assert driver.memory.bytes == bench.driver.memory.bytes
    assert driver.mmio.state == bench.driver.mmio.state
    assert twin.console.state == bench.console.state
