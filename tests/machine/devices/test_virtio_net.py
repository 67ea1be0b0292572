"""The network device: frames both ways, checksums, merged buffers, and what must wait or go."""

from struct import pack, unpack_from

import pytest

from auberge.machine.net.packet import checksum
from auberge.machine.virtio.net import CHECKED, Counts, Net, NetState
from tests.machine.devices.driver import BASE, EVENT_IDX, Driver

MAC = b"\x52\x54\x00\x12\x34\x56"
CSUM, GUEST_CSUM, MTU, MRG = 1, 2, 8, 1 << 15
PLAIN = bytes(12)


class Cable:
    """A link that keeps what it gets."""

    def __init__(self):
        self.frames, self.flushes, self.nic = [], 0, None

    def plug(self, nic):
        self.nic = nic

    def transmit(self, frame, checksum_at, checksum_offset):
        self.frames.append((frame, checksum_at, checksum_offset))

    def flush(self):
        self.flushes += 1


class Bench:
    def __init__(self, features=0):
        self.cable = Cable()
        self.counts = Counts()
        self.time = 0
        self.net = Net(MAC, self.cable, self.counts, self.now_ns)
        self.driver = Driver(self.net, start=False)
        self.driver.offered = lambda: features & 0xFF_FFFF  # as if no more were offered
        self.driver.start(features)
        self.receive, self.transmit = self.driver.rings
        # a driver makes buffers available at once, and is asked about its features then
        self.receive.notify()

    def now_ns(self):
        self.time += 5
        return self.time

    def got(self, parts):
        """What is in the buffers of one frame."""
        return b"".join(self.driver.get(address, size) for address, size in parts)


@pytest.fixture
def bench():
    return Bench(CSUM | GUEST_CSUM | MTU | MRG)


def test_its_configuration(bench):
    assert bench.net.config() == MAC + pack("<HHH", 1, 1, 65520)
    assert bench.cable.nic is bench.net


def test_a_frame_is_transmitted_however_it_is_laid_out(bench):
    frame = bytes(range(60))
    bench.transmit.request([PLAIN, frame])
    bench.transmit.request([PLAIN[:5], PLAIN[5:] + frame[:7], frame[7:]])
    assert bench.cable.frames == [(frame, 0, 0)] * 2
    assert bench.cable.flushes == 3  # one of them when the driver began
    assert (bench.counts.sent, bench.counts.sent_bytes) == (2, 120)
    assert bench.counts.python_ns > 0


def test_a_checksum_that_is_wanted_is_passed_on(bench):
    header = pack("<BBHHHHH", 1, 0, 0, 0, 34, 16, 0)
    bench.transmit.request([header, bytes(60)])
    assert bench.cable.frames == [(bytes(60), 34, 16)]


@pytest.mark.parametrize(
    "header, size",
    [
        (PLAIN, 13),
        (PLAIN, 14 + 4 + 65536),
        (PLAIN[:11], 0),
        (pack("<BBHHHHH", 1, 0, 0, 0, 34, 25, 0), 60),
        (pack("<BBHHHHH", 1, 0, 0, 0, 0, 16, 0), 60),
        (pack("<BBHHHHH", 1, 0, 0, 0, 0xFFFF, 0xFFFF, 0), 60),
    ],
)
def test_what_is_no_frame_is_dropped_and_counted(bench, header, size):
    readable = [header, bytes(size)] if size else [header]
    assert bench.transmit.request(readable) == (0, b"")
    assert bench.cable.frames == []
    assert bench.counts.dropped == 1


def test_a_frame_is_received(bench):
    _, parts = bench.receive.add(writable=[1600])
    assert bench.net.receive([b"ab", b"cd" * 20], 0, 0)
    assert bench.receive.finished() == [(0, 54)]
    assert bench.got(parts)[:54] == pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1) + b"ab" + b"cd" * 20
    assert bench.driver.irq
    assert (bench.counts.received, bench.counts.received_bytes) == (1, 42)


def test_a_long_frame_takes_several_buffers(bench):
    buffers = [bench.receive.add(writable=[100])[1] for _ in range(4)]
    frame = bytes(range(256))
    bench.net.receive([frame], 0, 0)
    assert [written for _, written in bench.receive.finished()] == [100, 100, 68]
    data = b"".join(bench.got(parts) for parts in buffers[:3])
    assert unpack_from("<H", data, 10) == (3,)
    assert data[12:268] == frame


def test_a_frame_waits_whole_for_enough_buffers():
    bench = Bench(MRG | EVENT_IDX)
    buffers = [bench.receive.add(writable=[100])[1] for _ in range(2)]
    bench.receive.notify()
    frame = bytes(range(256))
    bench.net.receive([frame], 0, 0)
    assert bench.receive.finished() == []
    assert bench.receive.avail_event() == 2  # the next buffer is heard of
    buffers.append(bench.receive.add(writable=[100])[1])
    bench.receive.notify()
    assert [written for _, written in bench.receive.finished()] == [100, 100, 68]
    assert b"".join(bench.got(parts) for parts in buffers)[12:268] == frame


def test_without_merged_buffers_a_frame_that_is_too_long_is_dropped():
    bench = Bench()
    bench.receive.add(writable=[100])
    bench.receive.add(writable=[100])
    bench.net.receive([bytes(89)], 0, 0)
    assert bench.receive.finished() == [(0, 0)]
    bench.net.receive([bytes(88)], 0, 0)
    assert bench.receive.finished() == [(1, 100)]
    assert (bench.counts.dropped, bench.counts.received) == (1, 1)


def test_a_checksum_is_left_to_a_driver_that_wants_it(bench):
    _, parts = bench.receive.add(writable=[200])
    bench.net.receive([bytes(range(60))], 14, 6)
    data = bench.got(parts)
    assert data[:12] == pack("<BBHHHHH", 1, 0, 0, 0, 14, 6, 1)
    assert data[12:72] == bytes(range(60))


def test_a_checksum_is_completed_for_a_driver_that_does_not():
    bench = Bench(MRG)
    _, parts = bench.receive.add(writable=[200])
    bench.net.receive([bytes(range(60))], 14, 6)
    data = bench.got(parts)
    assert data[:12] == pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1)
    pseudo = int.from_bytes(bytes([20, 21]), "big")
    assert checksum(data[26:72], pseudo) == 0


@pytest.mark.parametrize("features, flags", [(MRG | GUEST_CSUM, 2), (MRG, 0)])
def test_a_checksum_that_is_right_need_not_be_looked_at(features, flags):
    bench = Bench(features)
    _, parts = bench.receive.add(writable=[200])
    bench.net.receive([bytes(range(60))], CHECKED, 0)
    data = bench.got(parts)
    assert data[:12] == pack("<BBHHHHH", flags, 0, 0, 0, 0, 0, 1)
    assert data[12:72] == bytes(range(60))


@pytest.mark.parametrize("size, few", [(60, 128), (1 << 15, 32)])
def test_it_is_crowded_long_before_anything_is_dropped(bench, size, few):
    for _ in range(few):
        assert not bench.net.is_crowded
        bench.net.receive([bytes(size)], 0, 0)
    bench.net.receive([bytes(size)], 0, 0)
    assert bench.net.is_crowded and bench.counts.dropped == 0
    bench.net.reset()
    assert not bench.net.is_crowded


def test_too_many_frames_that_wait_are_dropped(bench):
    taken = [bench.net.receive([bytes(60)], 0, 0) for _ in range(600)]
    assert taken == [True] * 512 + [False] * 88
    assert bench.counts.dropped == 88


def test_too_long_frames_that_wait_are_dropped(bench):
    taken = [bench.net.receive([bytes(1 << 16)], 0, 0) for _ in range(70)]
    assert taken == [True] * 64 + [False] * 6


def test_a_reset_forgets_what_waits_and_a_state_keeps_it(bench):
    bench.net.receive([b"x" * 60], 0, 0)
    restored = Net(MAC, Cable(), Counts(), bench.now_ns, bench.net.state)
    assert restored.state == bench.net.state == NetState(((b"x" * 60, 0, 0),))
    bench.net.reset()
    assert bench.net.state.waiting == ()


def test_the_mtu_is_what_the_driver_agreed_to(bench):
    assert bench.net.mtu == 65520
    assert Bench(MRG).net.mtu == 1500
    bench.net.reset()
    assert bench.net.mtu == 1500


def test_an_answer_while_transmitting(bench):
    """A link may answer a frame at once, from inside the notification."""
    _, parts = bench.receive.add(writable=[100])
    bench.cable.transmit = lambda frame, at, offset: bench.net.receive([frame[::-1]], 0, 0)
    bench.transmit.request([PLAIN, bytes(range(60))])
    assert bench.got(parts)[12:72] == bytes(range(60))[::-1]


def test_a_buffer_without_room_takes_nothing_of_a_frame(bench):
    bench.receive.add(readable=[b"not writable"])
    _, parts = bench.receive.add(writable=[100])
    bench.net.receive([bytes(60)], 0, 0)
    assert [written for _, written in bench.receive.finished()] == [0, 72]
    assert BASE < parts[0][0]
