"""The console device with several ports: bytes both ways, control messages, ends, and patience."""

from struct import pack, unpack

import pytest

from auberge.machine.virtio.ports import HELD, RING, ROOM, Ports
from tests.machine.devices.driver import Driver, Memory

READY, ADD, PORT_READY, OPEN = 0, 1, 3, 6


class Bench:
    """Two ports and a driver that has made the first, as Linux's does."""

    def __init__(self):
        self.looked, self.places = [], []
        self.ports = Ports(lambda: self.looked.append(True), 2)
        self.driver = Driver(self.ports, Memory(0x80000), size=RING)
        self.receive, self.transmit, self.hear, self.tell = self.driver.rings[:4]
        self.port = self.ports.ports[0]

    def say(self, number, event, value):
        self.tell.request([pack("<IHH", number, event, value)])

    def heard(self):
        """The control messages since it was asked last; up to three."""
        while len(self.places) < 3:
            self.places.append(self.hear.add(writable=[8])[1][0][0])
        self.hear.notify()
        count = len(self.hear.finished())
        done, self.places = self.places[:count], self.places[count:]
        return [unpack("<IHH", self.driver.get(at, 8)) for at in done]


@pytest.fixture
def bench():
    bench = Bench()
    bench.port.add()
    bench.say(0, READY, 1)
    bench.say(0, PORT_READY, 1)
    bench.say(0, OPEN, 1)
    return bench


def test_its_configuration_says_how_many_ports_there_are():
    driver = Bench().driver
    assert driver.read(0x104) == 2
    assert len(driver.rings) == 6


def test_a_driver_that_works_hears_of_ports_and_of_the_host(bench):
    assert bench.heard() == [(0, ADD, 1)]
    bench.port.open()
    bench.ports.ports[1].add()
    bench.ports.ports[1].add()
    assert bench.heard() == [(0, OPEN, 1), (1, ADD, 1)]
    assert bench.port.ready and bench.port.guest_open and not bench.ports.ports[1].ready


def test_a_port_that_the_host_has_open_says_so_when_it_is_made():
    bench = Bench()
    bench.port.add()
    bench.port.open()
    assert bench.heard() == []
    bench.say(0, READY, 1)
    bench.say(0, PORT_READY, 1)
    assert [bench.driver.get(bench.hear.buffers + 16 * n, 8) for n in (0, 1)] == [
        pack("<IHH", 0, ADD, 1),
        pack("<IHH", 0, OPEN, 1),
    ]


def test_bytes_from_the_guest_wait_until_they_are_taken(bench):
    bench.transmit.request([b"hello, ", b"world"])
    assert bench.port.take(5) == b"hello"
    assert bench.port.take(100) == b", world"
    assert bench.port.take(100) == b""


def test_more_than_is_held_stays_in_the_drivers_buffers(bench):
    for _ in range(3):
        bench.transmit.next_buffer = bench.transmit.buffers
        bench.transmit.add([bytes(0x8000)])
        bench.transmit.notify()
    assert len(bench.transmit.finished()) == 2
    assert len(bench.port.held) == HELD
    assert len(bench.port.take(1)) == 1  # there is room again
    assert len(bench.transmit.finished()) == 1
    assert len(bench.port.held) == HELD - 1 + 0x8000


def test_bytes_for_the_guest_wait_for_its_buffers(bench):
    assert bench.port.give(b"early") == 5
    assert bench.receive.request(writable=[3])[1] == b"ear"
    assert bench.receive.request(writable=[3])[0] == 2
    assert bench.port.give(bytes(ROOM + 1)) == ROOM
    assert bench.port.room == 0


def test_nothing_is_given_to_a_port_that_no_program_has_open(bench):
    bench.port.give(b"unread")
    bench.say(0, OPEN, 0)
    assert bench.port.room == 0 and bench.port.give(b"x") == 0
    bench.say(0, OPEN, 1)
    bench.receive.add(writable=[8])
    bench.receive.notify()
    assert bench.receive.finished() == []  # what the other one did not read is gone
    assert bench.port.opens == 2


def test_an_end_is_told_after_what_comes_before_it(bench):
    bench.heard()
    bench.port.open()
    assert bench.heard() == [(0, OPEN, 1)]
    bench.port.give(b"last")
    bench.port.shut()
    assert bench.port.host_open and bench.port.give(b"more") == 0
    assert bench.receive.request(writable=[8])[0] == 4
    assert not bench.port.host_open


def test_nonsense_is_ignored(bench):
    before = bench.ports.state
    for message in (b"", b"short", pack("<IHH", 7, OPEN, 1), pack("<IHH", 1, OPEN, 1)):
        bench.tell.request([message or b"\0"])
    bench.say(0, 99, 1)
    assert bench.ports.state == before


def test_a_driver_that_begins_again_hears_everything_again(bench):
    bench.port.open()
    bench.driver.start(0)
    assert not bench.port.ready and not bench.port.guest_open
    bench.tell, bench.hear, bench.places = bench.driver.rings[3], bench.driver.rings[2], []
    bench.say(0, READY, 1)
    bench.say(0, PORT_READY, 1)
    assert bench.heard() == [(0, ADD, 1), (0, OPEN, 1)]


def test_it_is_as_its_state_says(bench):
    bench.port.open()
    bench.port.give(b"waiting")
    bench.transmit.request([b"held"])
    again = Ports(lambda: None, 2, bench.ports.state)
    assert again.state == bench.ports.state
    assert again.ports[0].take(10) == b"held"
