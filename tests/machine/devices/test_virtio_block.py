"""The block device: requests as 5.2.6 has them, over a disk of bytes."""

from errno import ENOSPC
from struct import pack, unpack

import pytest

from auberge.machine.virtio.block import RANGE_SECTORS, Block, Counts
from tests.machine.devices.driver import EVENT_IDX, Driver, Memory

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
RO, F_FLUSH = 1 << 5, 1 << 9


class BytesDisk:
    """A disk in memory that logs, and fails when it is told to."""

    def __init__(self, sectors=64, read_only=False):
        self.data = bytearray(bytes(range(256)) * 2 * sectors)
        self.size, self.read_only = len(self.data), read_only
        self.log, self.failure = [], None

    def act(self, *what):
        if self.failure:
            raise self.failure
        self.log.append(what)

    def readv(self, offset, views):
        self.act("read", offset, sum(view.nbytes for view in views))
        for view in views:
            view[:] = self.data[offset : offset + view.nbytes]
            offset += view.nbytes

    def writev(self, offset, views):
        self.act("write", offset, sum(view.nbytes for view in views))
        for view in views:
            self.data[offset : offset + view.nbytes] = view
            offset += view.nbytes

    def flush(self):
        self.act("flush")

    def discard(self, offset, size):
        self.act("discard", offset, size)

    def zero(self, offset, size):
        self.act("zero", offset, size)
        self.data[offset : offset + size] = bytes(size)


def block(disk, *state, complain=lambda error: None):
    """A device over `disk`, on a clock that always says 0."""
    return Block(disk, "disk0", Counts(), lambda: 0, complain, *state)


class Bench:
    """A block device with its driver; `do` does one request."""

    def __init__(self, features=EVENT_IDX, **options):
        self.disk, self.complaints = BytesDisk(**options), []
        self.block = block(self.disk, complain=self.complaints.append)
        self.driver = Driver(self.block, features=features)
        self.ring = self.driver.rings[0]

    def do(self, kind, sector=0, payload=(), buffers=(), **options):
        header = pack("<IIQ", kind, 0, sector)
        written, data = self.ring.request([header, *payload], [*buffers, 1], **options)
        return data[-1], data[:-1], written


@pytest.fixture
def bench():
    return Bench()


def test_its_configuration(bench):
    capacity, size_max, seg_max = unpack("<QII", bench.driver.mmio.device.config()[:16])
    assert (capacity, size_max, seg_max) == (64, 0x40000, 126)
    assert bench.driver.read(0x100, 8) == bench.driver.read(0x100) == 64
    assert bench.driver.read(0x114) == 512
    assert bench.driver.read(0x124) == bench.driver.read(0x130) == RANGE_SECTORS
    assert bench.driver.read(0x138, 1) == 1
    assert bench.driver.offered() & 0xFF_FFFF == 1 << 1 | 1 << 2 | 1 << 6 | F_FLUSH | 0b11 << 13


@pytest.mark.parametrize("indirect", [False, True])
def test_in_reads_into_every_segment(indirect):
    bench = Bench(features=1 << 28)
    status, data, written = bench.do(IN, 3, buffers=[512, 1024, 512], indirect=indirect)
    assert (status, written) == (OK, 2049)
    assert data == bench.disk.data[3 * 512 : 7 * 512]
    assert bench.disk.log == [("read", 3 * 512, 2048)]


def test_out_writes_every_segment(bench):
    assert bench.do(OUT, 5, payload=[b"a" * 512, b"b" * 512]) == (OK, b"", 1)
    assert bench.disk.data[5 * 512 : 7 * 512] == b"a" * 512 + b"b" * 512


def test_nothing_is_assumed_of_the_framing(bench):
    header = pack("<IIQ", OUT, 0, 1)
    payload = header + b"q" * 1024
    parts = [payload[:3], payload[3:17], payload[17:1000], payload[1000:]]
    assert bench.ring.request(parts, [1]) == (1, b"\0")
    assert bench.disk.data[512:1536] == b"q" * 1024
    written, data = bench.ring.request([pack("<IIQ", IN, 0, 1)], [100, 413])
    assert (written, data) == (513, b"q" * 512 + b"\0")


@pytest.mark.parametrize(
    ("sector", "size"), [(64, 512), (63, 1024), (1 << 55, 512), ((1 << 64) - 1, 512), (0, 511)]
)
def test_what_is_not_on_the_disk_is_an_error(bench, sector, size):
    before = bytes(bench.disk.data)
    assert bench.do(IN, sector, buffers=[size]) == (IOERR, bytes(size), 0)
    assert bench.do(OUT, sector, payload=[b"x" * size]) == (IOERR, b"", 1)
    assert bench.disk.data == before
    assert bench.disk.log == []


def test_more_than_its_limits_at_once_is_an_error():
    bench = Bench(sectors=1 << 17)
    bench.driver = Driver(block(bench.disk), memory=Memory(0x300000), size=256)
    bench.ring = bench.driver.rings[0]
    header = bench.ring.buffer(16)
    bench.driver.put(header, pack("<IIQ", IN, 0, 0))
    parts = [(header, 16, 0)] + [(header + 0x1000, 0x100000, 2)] * 32 + [(header, 1, 2)]
    bench.ring.table(bench.ring.descriptors, parts, 0)
    bench.ring.offer(0)
    bench.ring.notify()
    assert bench.ring.finished() == [(0, 0)]
    assert bench.driver.get(header, 1) == b"\1"
    assert bench.disk.log == []


def test_get_id(bench):
    assert bench.do(GET_ID, buffers=[20]) == (OK, b"disk0" + bytes(15), 21)
    assert bench.do(GET_ID, buffers=[3, 3]) == (OK, b"disk0\0", 7)
    assert bench.do(GET_ID, buffers=[30]) == (OK, b"disk0" + bytes(25), 20)


def test_flush(bench):
    assert bench.do(FLUSH) == (OK, b"", 1)
    assert bench.disk.log == [("flush",)]


def test_without_flush_negotiated_every_write_is_stable():
    bench = Bench()
    bench.driver.negotiate(1 << 32)
    bench.driver.set_up(bench.ring)
    bench.driver.write(0x70, 15)
    bench.ring.added = bench.ring.taken = 0
    bench.do(OUT, payload=[bytes(512)])
    assert bench.disk.log == [("write", 0, 512), ("flush",)]


@pytest.mark.parametrize(("kind", "name"), [(DISCARD, "discard"), (WRITE_ZEROES, "zero")])
def test_ranges(bench, kind, name):
    ranges = pack("<QII", 1, 2, 0) + pack("<QII", 60, 4, 0) + pack("<QII", 9, 0, 0)
    assert bench.do(kind, payload=[ranges]) == (OK, b"", 1)
    assert bench.disk.log == [(name, 512, 1024), (name, 60 * 512, 4 * 512)]


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        (DISCARD, b"", IOERR),
        (DISCARD, bytes(15), IOERR),
        (DISCARD, bytes(16 * 17), IOERR),
        (DISCARD, pack("<QII", 63, 2, 0), IOERR),
        (DISCARD, pack("<QII", (1 << 64) - 1, 0xFFFFFFFF, 0), IOERR),
        (DISCARD, pack("<QII", 0, 1, 1), UNSUPP),
        (WRITE_ZEROES, pack("<QII", 0, 1, 2), UNSUPP),
        (WRITE_ZEROES, pack("<QIIQII", 0, 1, 1, 64, 1, 0), IOERR),
    ],
)
def test_bad_ranges_change_nothing(bench, kind, payload, status):
    assert bench.do(kind, payload=[payload] if payload else [])[0] == status
    assert bench.disk.log == []


def test_an_unknown_request_is_unsupported(bench):
    assert bench.do(2)[0] == UNSUPP
    assert bench.do(0xFFFF_FFFF)[0] == UNSUPP


def test_a_read_only_disk_says_so_and_is_not_written():
    bench = Bench(read_only=True)
    assert bench.driver.offered() & (RO | 0b11 << 13) == RO
    assert bench.do(OUT, payload=[bytes(512)])[0] == IOERR
    assert bench.do(WRITE_ZEROES, payload=[pack("<QII", 0, 1, 0)])[0] == IOERR
    assert bench.do(IN, buffers=[512])[0] == OK
    assert bench.disk.log == [("read", 0, 512)]


@pytest.mark.parametrize(
    "request_", [(IN, 0, (), [512]), (OUT, 0, [bytes(512)]), (FLUSH,)], ids=["in", "out", "flush"]
)
def test_an_error_of_the_host_is_an_error_of_the_disk(bench, request_):
    bench.disk.failure = OSError(ENOSPC, "No space left on device")
    assert bench.do(*request_)[0] == IOERR
    assert bench.complaints == [bench.disk.failure]
    assert bench.block.counts.errors == 1
    bench.disk.failure = None
    assert bench.do(*request_)[0] == OK
    assert len(bench.complaints) == 1


def test_what_the_guest_gets_wrong_is_no_error_of_the_host(bench):
    assert bench.do(IN, 64, buffers=[512])[0] == IOERR
    assert (bench.complaints, bench.block.counts.errors) == ([], 0)


def test_requests_bytes_and_time_are_counted():
    disk, counts = BytesDisk(), Counts()
    times = iter(range(0, 9000, 700))
    bench = Bench()
    bench.driver = Driver(
        Block(disk, "", counts, lambda: next(times), lambda error: None), features=EVENT_IDX
    )
    bench.ring = bench.driver.rings[0]
    begun = counts.python_ns
    bench.do(IN, 0, buffers=[1024])
    bench.do(OUT, 0, payload=[bytes(512)])
    bench.do(FLUSH)
    assert counts.python_ns == begun + 3 * 700
    assert counts.as_dict() | {"python_ns": 0} == {
        "requests": 3, "read_bytes": 1024, "written_bytes": 512, "errors": 0, "python_ns": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("readable", "writable"), [([bytes(15)], [1]), ([], [1]), ([bytes(16)], [])]
)
def test_a_request_without_header_or_status_stops_the_device(bench, readable, writable):
    bench.ring.add(readable, writable)
    bench.ring.notify()
    assert bench.driver.read(0x70) == 15 | 64


def test_a_restored_block_device_goes_on(bench):
    bench.do(OUT, 1, payload=[b"z" * 512])
    twin = bench.driver.restored(block(bench.disk, bench.driver.mmio.device.state))
    again = Bench()
    again.driver, again.ring = twin, twin.rings[0]
    assert again.do(IN, 1, buffers=[512]) == bench.do(IN, 1, buffers=[512])
    assert twin.mmio.state == bench.driver.mmio.state
