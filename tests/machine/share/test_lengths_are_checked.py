"""A length in a message is believed only as far as there is something."""

import errno
from struct import pack, unpack_from

import pytest

from auberge.machine.share import messages as m
from tests.machine.share import client as c

NEEDS_RESET = 64


def error_of(answer):
    size, kind, tag = unpack_from("<IBH", answer)
    assert (size, kind, tag) == (len(answer), m.RLERROR, 7) and size == 11
    return unpack_from("<I", answer, 7)[0]


@pytest.mark.parametrize("size", [0, 6, 12, 1 << 31, (1 << 32) - 1])
def test_the_size_of_a_message(world, size):
    client = world.client()
    assert error_of(client.raw(pack("<IBHI", size, m.TCLUNK, 7, 0))) == errno.EINVAL
    client.getattr(c.ROOT)


def test_a_message_longer_than_agreed(world):
    client = world.client()
    client.version(4096)
    client.attach()
    fid = client.create(b"file")
    body = pack("<IQI", fid, 0, 4096) + bytes(4096)
    message = pack("<IBH", 7 + len(body), m.TWRITE, 7) + body
    assert error_of(client.raw(message)) == errno.EMSGSIZE
    assert len(client.read(fid, 1 << 20)) == 0


def test_a_message_that_ends_too_early(world):
    """Each message, cut off everywhere: an error, and nothing happens."""
    client = world.client()
    (world.share / "file").write_text("")
    fid = client.walk(b"file")
    bodies = {
        m.TVERSION: pack("<I", 8192) + c.text(b"9P2000.L"),
        m.TATTACH: pack("<II", 9, m.NOFID) + c.text(b"a") + c.text(b"") + pack("<I", 0),
        m.TWALK: pack("<II", 0, 9) + c.names(b"file"),
        m.TLOPEN: pack("<II", fid, 0),
        m.TLCREATE: pack("<I", 0) + c.text(b"new") + pack("<III", 2, 0o644, 0),
        m.TSYMLINK: pack("<I", 0) + c.text(b"new") + c.text(b"x") + pack("<I", 0),
        m.TMKNOD: pack("<I", 0) + c.text(b"new") + pack("<IIII", 0o100644, 0, 0, 0),
        m.TREADLINK: pack("<I", fid),
        m.TGETATTR: pack("<IQ", fid, 0),
        m.TSETATTR: pack("<IIIIIQqQqQ", fid, 8, 0, 0, 0, 1 << 30, 0, 0, 0, 0),
        m.TREADDIR: pack("<IQI", 0, 0, 100),
        m.TFSYNC: pack("<II", fid, 0),
        m.TLOCK: pack("<IBIQQI", fid, 0, 0, 0, 0, 0),
        m.TGETLOCK: pack("<IBQQI", fid, 0, 0, 0, 0) + c.text(b"me"),
        m.TLINK: pack("<II", 0, fid) + c.text(b"new"),
        m.TMKDIR: pack("<I", 0) + c.text(b"new") + pack("<II", 0o755, 0),
        m.TRENAMEAT: pack("<I", 0) + c.text(b"file") + pack("<I", 0) + c.text(b"new"),
        m.TUNLINKAT: pack("<I", 0) + c.text(b"file") + pack("<I", 0),
        m.TREAD: pack("<IQI", fid, 0, 100),
        m.TWRITE: pack("<IQI", fid, 0, 4) + b"data",
        m.TSTATFS: pack("<I", fid),
        m.TCLUNK: pack("<I", fid),
        m.TREMOVE: pack("<I", fid),
    }
    assert set(client.session._answers) - set(bodies) == {m.TFLUSH}
    for kind, body in bodies.items():
        for size in range(len(body)):
            message = pack("<IBH", 7 + size, kind, 7) + body[:size]
            assert error_of(client.raw(message)) in (errno.EINVAL, errno.EBADF), (kind, size)
    assert client.list() == [b"file"] and (world.share / "file").stat().st_size == 0


def test_strings_and_lists_longer_than_the_message(world):
    client = world.client()
    for kind, body in (
        (m.TWALK, pack("<IIH", 0, 9, 16) + c.text(b"x")),
        (m.TWALK, pack("<IIHH", 0, 9, 1, 0xFFFF) + b"x"),
        (m.TWALK, pack("<IIH", 0, 9, 17) + c.text(b"x") * 17),
        (m.TWALK, pack("<IIH", 0, 9, 0xFFFF)),
        (m.TMKDIR, pack("<IH", 0, 0xFFFF) + bytes(30)),
    ):
        with pytest.raises(OSError) as error:
            client.call(kind, body)
        assert error.value.errno == errno.EINVAL


def test_a_write_of_more_than_there_is(world):
    client = world.client()
    fid = client.create(b"file")
    for count in (5, 1 << 31, (1 << 32) - 1):
        with pytest.raises(OSError) as error:
            client.ask(m.TWRITE, "IQI", fid, 0, count, after=b"data")
        assert error.value.errno == errno.EINVAL
    for offset in (1 << 63, (1 << 64) - 1):
        with pytest.raises(OSError) as error:
            client.write(fid, b"data", offset)
        assert error.value.errno == errno.EINVAL
        with pytest.raises(OSError):
            client.read(fid, 10, offset)
    assert (world.share / "file").stat().st_size == 0


def test_an_answer_keeps_to_its_buffers(world):
    client = world.client()
    (world.share / "file").write_bytes(bytes(range(256)) * 100)
    fid = client.lopen(client.walk(b"file"))
    assert client.read(fid, 20000, room=100) == bytes(range(89))
    assert client.read(fid, (1 << 32) - 1, room=11) == b""
    assert len(client.read(fid, (1 << 32) - 1)) == 100 * 256
    with pytest.raises(OSError) as error:
        client.ask(m.TGETATTR, "IQ", fid, 0, room=100)
    assert error.value.errno == errno.EMSGSIZE
    directory = client.lopen(client.walk())
    for room in (11, 30):
        with pytest.raises(OSError) as error:
            client.ask(m.TREADDIR, "IQI", directory, 0, 5000, room=room)
        assert error.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "request_, room", [(b"123456", 100), (b"", 100), (bytes(30), 10), (bytes(30), 0)]
)
def test_without_room_for_a_header_the_device_stops(world, request_, room):
    client = world.client()
    ring = client.driver.rings[0]
    ring.add([request_] if request_ else [], [room] if room else [])
    ring.notify()
    assert ring.finished() == [] and client.driver.read(0x70) & NEEDS_RESET
