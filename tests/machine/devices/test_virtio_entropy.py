"""The entropy device: some bytes for every request, never all that a hostile one asks for."""

from auberge.machine.virtio.entropy import Entropy
from tests.machine.devices.driver import Driver


def counted(count):
    return bytes(index % 251 for index in range(count))


def test_buffers_are_filled_from_the_source():
    driver = Driver(Entropy(counted))
    assert driver.rings[0].request(writable=[5, 3]) == (8, counted(5) + counted(3))


def test_a_huge_request_gets_one_page():
    asked = []

    def source(count):
        asked.append(count)
        return bytes(count)

    driver = Driver(Entropy(source))
    assert driver.rings[0].request(writable=[0x8000, 0x100])[0] == 4096
    assert sum(asked) == 4096


def test_a_request_without_a_buffer_gets_nothing():
    driver = Driver(Entropy(counted))
    assert driver.rings[0].request([b"for you"]) == (0, b"")


def test_its_state_is_nothing():
    assert Entropy(counted, Entropy(counted).state).state == ()
