"""Any request, framed in any way, does to a disk what 5.2.6 says, and nothing to other memory."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machine.devices.driver import INDIRECT_DESC, Driver, Memory
from tests.machine.devices.test_virtio_block import (
    DISCARD,
    FLUSH,
    GET_ID,
    IN,
    IOERR,
    OK,
    OUT,
    UNSUPP,
    WRITE_ZEROES,
    BytesDisk,
    block,
)  # fmt: skip

SECTORS = 32
SIZE = SECTORS * 512
KINDS = (IN, OUT, WRITE_ZEROES, DISCARD, FLUSH, GET_ID, 7)
OTHERS = 0x20000  # from here on, memory that no descriptor names
FEATURES = INDIRECT_DESC | 1 << 9  # so that a flush is the driver's own


def cuts(data, places):
    """`data` in pieces, cut at `places`."""
    ends = sorted({place % (len(data) + 1) for place in places})
    bounds = [0, *ends, len(data)]
    return [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False) if b > a]


REQUESTS = st.tuples(
    st.sampled_from(KINDS),
    st.one_of(st.integers(0, SECTORS + 2), st.sampled_from([1 << 54, 1 << 55, (1 << 64) - 1])),
    st.one_of(st.sampled_from([0, 512, 1024, 4096, SIZE]), st.integers(0, 2000)),
    st.lists(st.integers(0, SIZE), max_size=6),
    st.lists(st.integers(0, SIZE), max_size=6),
    st.booleans(),
)


def expected(model, kind, sector, size, data):
    """The status, what is read, and the disk afterwards."""
    start, end = sector * 512, sector * 512 + size
    if kind in (IN, OUT):
        if size % 512 or end > SIZE:
            return IOERR, None, model
        if kind == IN:
            return OK, model[start:end], model
        return OK, None, model[:start] + data + model[end:]
    if kind in (WRITE_ZEROES, DISCARD):
        return None, None, None  # the payload is a list of ranges: below
    return (UNSUPP if kind == 7 else OK), None, model


@pytest.mark.slow
@given(requests=st.lists(REQUESTS, min_size=1, max_size=6), fill=st.integers(1, 255))
def test_requests_do_what_they_say(requests, fill):
    disk = BytesDisk(SECTORS)
    memory = Memory(0x40000, bytes([fill]) * 0x40000)
    driver = Driver(block(disk), memory=memory, features=FEATURES, size=32)
    ring, model = driver.rings[0], bytes(disk.data)
    for kind, sector, size, read_cuts, write_cuts, indirect in requests:
        data = bytes(index * 7 + fill & 0xFF for index in range(size))
        header = pack("<IIQ", kind, 0, sector)
        payload, room = b"", 0
        if kind == OUT:
            payload = data
        elif kind in (WRITE_ZEROES, DISCARD):
            payload = pack("<QII", sector, size % (SECTORS + 4), 0)
        elif kind == IN:
            room = size
        elif kind == GET_ID:
            room = size % 40
        pieces = cuts(header + payload, read_cuts)
        room_pieces = [len(piece) for piece in cuts(bytes(room + 1), write_cuts)]
        written, got = ring.request(pieces, room_pieces, indirect=indirect)
        status, content = got[-1], got[:-1]
        if kind in (WRITE_ZEROES, DISCARD):
            count = size % (SECTORS + 4)
            start, end = sector * 512, (sector + count) * 512
            wrong = end > SIZE
            assert status == (IOERR if wrong else OK)
            if kind == WRITE_ZEROES and not wrong:
                model = model[:start] + bytes(end - start) + model[end:]
        else:
            wanted, read, model = expected(model, kind, sector, size, data)
            assert status == wanted
            if read is not None:
                assert content == read
                assert written == room + 1
            if kind == GET_ID:
                name = b"disk0".ljust(20, b"\0")[:room]
                assert content[: len(name)] == name
        assert disk.data == model
        assert driver.read(0x70) == 15
        assert written <= room + 1
    assert memory.bytes[OTHERS:] == bytes([fill]) * (0x40000 - OTHERS)
