"""Random messages, and true ones with bytes changed: answers, or a device that wants its reset.

What a seed said, it says again.
"""

import os
import random
from struct import pack, unpack_from

import pytest

from auberge.machine.share import messages as m
from auberge.machine.virtio.ninep import Ninep
from tests.machine.share import client as c

FIDS = 24
CONVERSATIONS, MESSAGES_OF_ONE = 25, 150
NAMES = [
    b"file",
    b"d",
    b"e",
    b"link",
    b"fifo",
    b"new",
    b"..",
    b".",
    b"",
    b"a/b",
    b"x" * 256,
    b"x\0y",
]
TARGETS = [b"..", b"/etc/passwd", b"../outside/secret", b"/proc/self/mem", b"file", b""]
NUMBERS = [0, 1, 2, 100, 4096, 0o100644, 0o40755, 0o20666, 0x7FFF_FFFF, 0xFFFF_FFFF]
LONG = [0, 1, 4096, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]

# Each message as its fields: i a number, f a fid, l a long one, n a name, t a target, s a string;
# the others are below
MESSAGES = {
    m.TVERSION: "i9",
    m.TATTACH: "ffsei",
    m.TWALK: "ffw",
    m.TLOPEN: "fo",
    m.TLCREATE: "fnoii",
    m.TSYMLINK: "fnti",
    m.TMKNOD: "fniiii",
    m.TREADLINK: "f",
    m.TGETATTR: "fl",
    m.TSETATTR: "fiiiilllll",
    m.TREADDIR: "fli",
    m.TREAD: "fli",
    m.TWRITE: "fld",
    m.TFSYNC: "fi",
    m.TLOCK: "fblibl",
    m.TLINK: "ffn",
    m.TMKDIR: "fnii",
    m.TRENAMEAT: "fnfn",
    m.TUNLINKAT: "fni",
    m.TSTATFS: "f",
    m.TCLUNK: "f",
    m.TREMOVE: "f",
    m.TRENAME: "ffn",
    m.TXATTRWALK: "ffs",
    m.TXATTRCREATE: "fsli",
}


class Speaker:
    """Says things at random; what `seed` is decides all."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def number(self, often):
        return (
            self.random.choice(often) if self.random.random() < 0.9 else self.random.getrandbits(32)
        )

    def field(self, kind):
        choose = self.random.choice
        if kind == "f":
            number = self.random.randrange(FIDS + 2)
            return pack("<I", number if self.random.random() < 0.7 else number // 8)
        if kind == "i":
            return pack("<I", self.number(NUMBERS) & 0xFFFF_FFFF)
        if kind == "o":
            return pack("<I", choose([0, 1, 2, 3, 0o1002, 0o2001, 0o200, self.number(NUMBERS)]))
        if kind == "b":
            return bytes([self.random.randrange(256)])
        if kind == "l":
            return pack("<Q", choose([0, choose(LONG)]))
        if kind == "n":
            return c.text(choose(NAMES[:6] if self.random.random() < 0.8 else NAMES))
        if kind == "e":
            return c.text(choose([b"", b"", b"", b"..", b"/"]))
        if kind in "ts":
            return c.text(choose(TARGETS))
        if kind == "w":
            return c.names(*[choose(NAMES[:5]) for _ in range(choose([0, 1, 1, 2]))])
        if kind == "d":
            data = self.random.randbytes(self.random.randrange(50))
            return pack("<I", len(data)) + data
        assert kind == "9"
        return c.text(b"9P2000.L")

    def message(self):
        kinds = list(MESSAGES)
        rare = {m.TVERSION: 0.1, m.TCLUNK: 2, m.TREMOVE: 2, m.TUNLINKAT: 2, m.TWALK: 20}
        weights = [rare.get(kind, 8) for kind in kinds]
        [kind] = self.random.choices(kinds, weights)
        body = b"".join(self.field(each) for each in MESSAGES[kind])
        return pack("<IBH", 7 + len(body), kind, 7) + body

    def spoiled(self, message):
        """Some bytes of it are others, or it is cut off, or its size is another."""
        message = bytearray(message)
        way = self.random.randrange(4)
        if way == 0:
            del message[self.random.randrange(7, len(message) + 1) :]
            message[:4] = pack("<I", len(message))
        elif way == 1:
            message[:4] = pack("<I", self.number(NUMBERS) & 0xFFFF_FFFF)
        else:
            for _ in range(self.random.randrange(1, 5)):
                message[self.random.randrange(len(message))] = self.random.choice([0, 1, 255, 127])
        return bytes(message)


def answered(client, message, room):
    """Whether the device answered, and what; it may also have stopped."""
    ring = client.driver.rings[0]
    ring.next_buffer = ring.buffers
    _, parts = ring.add([message] if message else [], [room] if room else [])
    ring.notify()
    done = ring.finished()
    if not done:
        assert client.driver.read(0x70) & 64 and (len(message) < 7 or room < 11)
        client.driver.start()
        client.version()
        client.attach()
        return None
    answer = client.driver.get(parts[0][0], done[0][1])
    size, kind, tag = unpack_from("<IBH", answer)
    assert size == len(answer) <= room and tag == unpack_from("<H", message, 5)[0]
    if kind == m.RLERROR:
        assert 0 < unpack_from("<I", answer, 7)[0] < 134
    else:
        assert kind == message[4] + 1
    return kind


def furnish(share):
    """A share with what is needed for more than errors."""
    (share / "d" / "e").mkdir(parents=True)
    (share / "file").write_text("as it was")
    (share / "link").symlink_to("../../outside/secret")
    os.mkfifo(share / "fifo")


def conversation(world, speaker, share, **options):
    """The kinds of the answers to some messages of someone who is attached to `share`."""
    client = world.client(share, fids=FIDS, **options)
    client.lopen(client.walk(b"file"), c.O_RDONLY if "read_only" in options else c.O_RDWR)
    client.walk(b"d")
    client.lopen(client.walk())
    kinds = set()
    for _ in range(MESSAGES_OF_ONE):
        message = speaker.message()
        if speaker.random.random() < 0.3:
            message = speaker.spoiled(message)
        room = speaker.random.choices([8192, 40, 11, 10, 0], [95, 3, 2, 0.1, 0.1])[0]
        kinds.add(answered(client, message, room))
    end(world, client, share)
    return kinds


def end(world, client, share):
    """Nothing outside is other than it was, and the session gives all back."""
    assert world.untouched()
    assert sorted(os.listdir(world.share.parent)) == ["outside", "share"]
    client.driver.write(0x70, 0)
    left = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if is_open(fd)]
    assert [place for place in left if place.startswith(str(share))] == [str(share)]
    # no special file was made, nor a program of the host's user
    for path in share.rglob("*"):
        mode = path.lstat().st_mode
        assert path.is_symlink() or path.is_dir() or path.is_file() or path.is_fifo()
        assert not (path.is_file() and mode & 0o6000)
    assert sum(path.is_fifo() for path in share.rglob("*")) <= 1
    world.clients.remove(client)
    client.close()


def is_open(descriptor):
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_mutated_conversations(world, seed):
    speaker = Speaker(seed)
    kinds = set()
    for number in range(CONVERSATIONS):
        share = world.share / str(number)
        furnish(share)
        kinds |= conversation(world, speaker, share)
    # it was more than errors
    worked = {m.TWALK, m.TLOPEN, m.TLCREATE, m.TREAD, m.TWRITE, m.TMKDIR, m.TGETATTR}
    assert {kind + 1 for kind in worked} <= kinds


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_folder_that_is_only_read_stays_as_it_was(world, seed):
    def pictured():
        return {
            path.name: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
            for path in share.rglob("*")
        }

    speaker = Speaker(seed)
    share = world.share / "share"
    furnish(share)
    before = pictured()
    kinds = set()
    for _ in range(CONVERSATIONS):
        kinds |= conversation(world, speaker, share, read_only=True)
    assert pictured() == before
    assert {m.TWALK + 1, m.TLOPEN + 1, m.TREAD + 1, m.RLERROR} <= kinds
    assert not {m.TLCREATE + 1, m.TMKDIR + 1, m.TWRITE + 1, m.TSETATTR + 1} & kinds


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_bytes(world, seed):
    chance = random.Random(seed)
    client = world.client()
    for _ in range(3000):
        message = bytearray(chance.randbytes(chance.randrange(64)))
        if len(message) >= 7 and chance.random() < 0.8:
            message[:4] = pack("<I", len(message))
            message[4] = chance.choice([*MESSAGES, chance.randrange(256)])
        answered(client, bytes(message), chance.choice([8192, 11, 5]))
    end(world, client, world.share)


def test_the_message_that_makes_a_device_stop_is_no_ones_but_its_own(world):
    """Two devices over the same folder: one wants its reset, the other goes on."""
    first, second = world.client(), world.client()
    assert isinstance(first.device, Ninep)
    first.driver.rings[0].add([b"abc"], [100])
    first.driver.rings[0].notify()
    assert first.driver.read(0x70) & 64
    second.create(b"file")
