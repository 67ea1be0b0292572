"""Random rings and descriptors at the 9P device: no exception, no hang, usable after a reset."""

from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auberge.machine.share import messages as m
from tests.machine.devices.driver import BASE, EVENT_IDX, INDIRECT_DESC
from tests.machine.devices.test_hostile_virtqueues import QUEUE, descriptors, rings


def headers():
    """The first bytes of memory, which readable buffers mostly show."""
    kinds = st.sampled_from([m.TVERSION, m.TATTACH, m.TWALK, m.TREAD, m.TWRITE, m.TREADDIR, 255])
    sizes = st.one_of(st.integers(0, 64), st.sampled_from([512, 1024, 0xFFFF_FFFF]))
    body = st.lists(st.sampled_from([0, 1, 2, 16, 0xFFFF_FFFF]), min_size=8, max_size=8)
    return st.builds(
        lambda size, kind, body: pack("<IBH8I", size, kind, 7, *body), sizes, kinds, body
    )


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    features=st.sampled_from([0, INDIRECT_DESC, EVENT_IDX, INDIRECT_DESC | EVENT_IDX]),
    table=st.lists(descriptors(), min_size=QUEUE, max_size=QUEUE),
    inner=st.lists(descriptors(), max_size=8),
    ring=rings(),
    header=headers(),
    again=rings(),
)
def test_a_hostile_queue(world, features, table, inner, ring, header, again):
    client = world.client()
    try:
        driver = client.driver
        driver.size = QUEUE
        driver.start(features)
        client.version()
        client.attach()
        client.create(b"file")
        driver.put(BASE + 0x8000, header * 4)
        driver.put(BASE + 0x100, b"".join(inner))
        driver.put(BASE, b"".join(table))
        for words in (ring, again):
            driver.put(BASE + 0x1000, words)
            driver.write(0x50, 0)
        assert driver.read(0x70) in (15, 15 | 64)
        driver.start(INDIRECT_DESC)
        client.version()
        client.attach()
        assert client.list() == [b"file"]
        client.unlink(b"file")
        assert world.untouched()
    finally:
        world.clients.remove(client)
        client.close()


def test_many_requests_at_once(world):
    client = world.client()
    (world.share / "file").write_bytes(bytes(range(200)))
    fid = client.lopen(client.walk(b"file"))
    ring = client.driver.rings[0]
    ring.next_buffer = ring.buffers
    wanted = []
    for tag in range(ring.size // 2):
        request = pack("<IBHIQI", 23, m.TREAD, tag, fid, tag, 10)
        head, [(address, _)] = ring.add([request], [21], indirect=True)
        answer = pack("<IBHI", 21, m.TREAD + 1, tag, 10) + bytes(range(tag, tag + 10))
        wanted.append((head, address, answer))
    ring.notify()
    assert ring.finished() == [(head, 21) for head, _, _ in wanted]
    for _, address, answer in wanted:
        assert client.driver.get(address, 21) == answer
    assert client.read(fid, 3, 1) == bytes([1, 2, 3]) and client.contents(b"file")
