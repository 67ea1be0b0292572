"""passt carries what goes to other hosts, and nothing else; whatever it says is survived."""

import os
import resource
import select
import socket
import subprocess
import sys
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.net import passt, passt_process, wall
from auberge.machine.net.nat import Nat
from auberge.machine.net.passt import Passt
from auberge.machine.net.passt_process import find_passt, start_passt
from auberge.machine.net.user import UserNetwork
from auberge.refusal import Refusal
from tests.machine.net.frames import DNS, GATEWAY, GUEST, UDP, arp, ethernet, ipv4, tcp, udp
from tests.machine.net.guest import Guest
from tests.machine.net.own import own_address

OTHER = bytes((192, 0, 2, 77))  # TEST-NET-1


class Process:
    """Instead of passt's: the other end is the test's."""

    def __init__(self):
        self.sock, self.end = socket.socketpair()
        self.sock.setblocking(False)
        self.end.settimeout(10)
        self.closed = False

    def close(self):
        self.closed = True
        self.sock.close()


class Bench(Guest):
    """A guest whose packets to other hosts go to the test."""

    def __init__(self, **options):
        super().__init__(**options)
        self.process = Process()
        self.nat = Passt(self.nat, self.process)
        self.nat.plug(self.nic)

    def close(self):
        super().close()
        self.process.end.close()

    def carried(self):
        """The frame that passt is given next."""
        size = int.from_bytes(self.process.end.recv(4, socket.MSG_WAITALL), "big")
        return self.process.end.recv(size, socket.MSG_WAITALL)

    @property
    def has_carried(self):
        return bool(select.select([self.process.end], [], [], 0)[0])

    def from_passt(self, *frames):
        self.process.end.sendall(b"".join(pack("!I", len(frame)) + frame for frame in frames))


@pytest.fixture
def bench():
    made = Bench(host_loopback=False)
    yield made
    made.close()


def test_a_packet_to_another_host_is_carried(bench):
    frames = [tcp(5000, OTHER, 80, 0, 0, 2), udp(5000, OTHER, 53, b"?"), ipv4(1, OTHER, b"\x08\0")]
    for frame in frames:
        bench.send(frame)
    assert not bench.has_carried  # not before the guest has no more to send
    bench.nat.flush()
    assert [bench.carried() for _ in frames] == frames
    assert bench.nic.frames == []


@pytest.mark.parametrize(
    "frame",
    [
        *(tcp(5000, to, 80, 0, 0, 2) for to in (
            GATEWAY, DNS, GUEST, bytes((10, 0, 2, 77)), bytes((127, 0, 0, 1)), bytes(4),
            b"\xff" * 4, bytes((224, 0, 0, 251)), bytes((169, 254, 169, 254)),
        )),
        udp(5000, OTHER, 80, b"?", source=bytes((10, 0, 2, 16))),
        udp(5000, OTHER, 80, b"?", source=bytes((127, 0, 0, 1))),
        ipv4(UDP, OTHER, bytes(64), fragment=0x2000),
        ipv4(UDP, OTHER, bytes(64), fragment=7),
        ipv4(2, OTHER, bytes(8)),
        ipv4(41, OTHER, bytes(48)),
        udp(5000, OTHER, 80, b"?")[:30],
        ethernet(0x86DD, b"\x60" + bytes(60)),
        ethernet(0x8100, b"\0\1\x08\0" + udp(5000, OTHER, 80, b"?")[14:]),
        arp(GATEWAY),
        bytes(14),
    ],
    ids=lambda frame: frame[12:40].hex(),
)  # fmt: skip
def test_nothing_else_is_carried(bench, frame):
    bench.send(frame)
    bench.nat.flush()
    assert not bench.has_carried


def test_the_hosts_own_addresses_are_walled_off(bench, monkeypatch):
    monkeypatch.setattr(wall, "is_own", lambda name: name == "192.0.2.77")
    bench.send(udp(5000, OTHER, 80, b"?"))
    bench.send(udp(5000, bytes((192, 0, 2, 78)), 80, b"!"))
    bench.nat.flush()
    assert bench.carried()[-1:] == b"!"
    assert not bench.has_carried


def test_an_address_that_becomes_the_hosts_is_walled_off_soon(monkeypatch):
    now = [100.0]
    bench = Bench(host_loopback=False, now=lambda: now[0])
    own = set()
    monkeypatch.setattr(wall, "is_own", lambda name: name in own)
    try:
        for _ in range(2):
            bench.send(udp(5000, OTHER, 80, b"?"))
            bench.nat.flush()
            assert bench.carried()
            own.add("192.0.2.77")
        now[0] += passt.FRESH + 1
        bench.send(udp(5000, OTHER, 80, b"?"))
        bench.nat.flush()
        assert not bench.has_carried
    finally:
        bench.close()


def test_no_more_addresses_are_remembered_than_there_may_be(bench, monkeypatch):
    monkeypatch.setattr(wall, "is_own", lambda name: False)
    for number in range(3 * passt.KNOWN):
        bench.send(udp(5000, bytes((198, 51, *divmod(number, 256))), 80, b"")[:34] + bytes(8))
        assert len(bench.nat._sides) <= passt.KNOWN
        if number % 100 == 0:
            bench.nat.flush()
            bench.process.end.recv(1 << 20)


def test_what_passt_says_reaches_the_guest_in_order(bench):
    frames = [bytes([n]) * (14 + 100 * n) for n in range(40)]
    bench.from_passt(*frames)
    bench.reactor.turn(bench.reactor.poll(1))
    assert bench.nic.frames == frames


@given(st.lists(st.integers(1, 200), max_size=30), st.lists(st.integers(14, 300), max_size=8))
def test_however_the_stream_is_cut(cuts, sizes):
    frames = [bytes([n]) * size for n, size in enumerate(sizes)]
    stream = b"".join(pack("!I", len(frame)) + frame for frame in frames)
    bench = Bench()
    try:
        for cut in [*cuts, len(stream)]:
            if stream[:cut]:
                bench.process.end.sendall(stream[:cut])
                bench.reactor.turn(bench.reactor.poll(1))
            stream = stream[cut:]
        assert bench.nic.frames == frames
    finally:
        bench.close()


@given(st.binary(min_size=1, max_size=300))
def test_whatever_passt_says(data):
    """Nothing is raised, nothing is held, and only whole frames come through."""
    bench = Bench()
    try:
        bench.process.end.sendall(data)
        bench.process.end.close()
        for _ in range(3):
            bench.reactor.turn(bench.reactor.poll(0.0))
        assert all(14 <= len(frame) <= 14 + 0xFFFF for frame in bench.nic.frames)
        assert len(bench.nat._got) <= 300
    finally:
        bench.close()


@pytest.mark.parametrize("size", [0, 13, 14 + 0x10000, 0xFFFF_FFFF])
def test_a_length_that_cannot_be_ends_it(bench, monkeypatch, size):
    bench.process.end.sendall(pack("!I", 14) + bytes(14) + pack("!I", size) + bytes(200))
    bench.reactor.turn(bench.reactor.poll(1))
    assert bench.nic.frames == [bytes(14)]
    assert left_to_the_nat(bench, monkeypatch, udp(5000, OTHER, 80, b"?"))
    assert not bench.has_carried


def left_to_the_nat(bench, monkeypatch, frame):
    """Whether the NAT is given the frame, which here it is not."""
    given = []
    monkeypatch.setattr(Nat, "transmit", lambda self, frame, *checksum: given.append(frame))
    bench.send(frame)
    bench.nat.flush()
    return given == [frame]


def test_when_passt_ends_the_nat_does_its_work(bench, monkeypatch):
    bench.process.end.close()
    bench.reactor.turn(bench.reactor.poll(1))
    bench.send(arp(GATEWAY))
    assert len(bench.nic.frames) == 1
    assert bench.reactor.poll(0.0) == []  # nobody looks at a socket that is for ever ready
    assert left_to_the_nat(bench, monkeypatch, udp(5000, OTHER, 80, b"?"))


def test_when_passt_ends_while_the_guest_sends(bench, monkeypatch):
    bench.process.end.close()
    bench.send(udp(5000, OTHER, 80, b"?"))
    bench.nat.flush()
    assert left_to_the_nat(bench, monkeypatch, udp(5000, OTHER, 80, b"?"))


def test_a_passt_that_does_not_read_costs_no_more_than_there_may_be(bench):
    frame = udp(5000, OTHER, 80, bytes(60000))
    for _ in range(200):
        bench.send(frame)
        bench.nat.flush()
        assert len(bench.nat._unsent) <= passt.WAITING + len(frame) + 4
    assert bench.nic.counts.refused > 100
    bench.process.end.settimeout(0.0)
    got = bytearray()
    while bench.nat._unsent or bench.has_carried:
        got += bench.process.end.recv(1 << 20)
        bench.reactor.turn(bench.reactor.poll(0.0))
    assert len(got) == (200 - bench.nic.counts.refused) * (4 + len(frame))
    assert got == (pack("!I", len(frame)) + frame) * (len(got) // (4 + len(frame)))


def test_a_guest_without_buffers_is_not_read_for():
    now = [100.0]
    bench = Bench(now=lambda: now[0])
    try:
        bench.nic.is_crowded = True
        bench.from_passt(b"1" * 20)
        bench.reactor.turn(bench.reactor.poll(1))
        bench.from_passt(b"2" * 20)
        for _ in range(5):
            now[0] += 0.01
            bench.reactor.turn(bench.reactor.poll(0.0))
        assert bench.nic.frames == [b"1" * 20]
        bench.nic.is_crowded = False
        now[0] += 0.01
        bench.reactor.turn([])
        bench.reactor.turn(bench.reactor.poll(1))
        assert bench.nic.frames == [b"1" * 20, b"2" * 20]
    finally:
        bench.close()


# -- the process --------------------------------------------------------------------------------


def install(folder, monkeypatch, text):
    """A program named passt, alone on the PATH."""
    path = folder / "passt"
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return path


def refusal():
    with pytest.raises(Refusal) as caught:
        start_passt()
    return str(caught.value)


def test_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_passt() is None
    assert refusal() == ("passt: not installed; install the package passt, or use net user,builtin")
    (tmp_path / "passt").mkdir()
    assert find_passt() is None


def test_one_that_complains_and_ends(tmp_path, monkeypatch):
    path = install(tmp_path, monkeypatch, "#!/bin/sh\necho no namespaces here >&2\nexit 1\n")
    assert find_passt() == str(path)
    assert refusal() == f"{path}: no namespaces here; use net user,builtin"


def test_one_that_ends_without_a_word(tmp_path, monkeypatch):
    path = install(tmp_path, monkeypatch, "#!/bin/sh\nexit 0\n")
    assert refusal() == f"{path}: it does not answer; use net user,builtin"


@pytest.mark.slow
def test_one_that_says_nothing_and_does_not_end(tmp_path, monkeypatch):
    monkeypatch.setattr(passt_process, "PATIENCE", 0.1)
    monkeypatch.setattr(passt_process, "FAREWELL", 0.1)
    path = install(tmp_path, monkeypatch, "#!/bin/sh\necho $$ >&2\nexec /bin/sleep 100\n")
    number = refusal().removeprefix(f"{path}: ").removesuffix("; use net user,builtin")
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)


def test_one_that_is_no_program(tmp_path, monkeypatch):
    path = install(tmp_path, monkeypatch, "\x7fELF")
    assert refusal().startswith(f"{path}: ")


def test_nothing_is_left_open_of_one_that_fails(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "#!/bin/sh\nexit 1\n")
    refusal()
    before = os.listdir("/proc/self/fd")
    refusal()
    assert os.listdir("/proc/self/fd") == before


def test_a_host_without_descriptors(tmp_path, monkeypatch):
    path = install(tmp_path, monkeypatch, "#!/bin/sh\n")
    low, high = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.listdir("/proc/self/fd")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, high))
    try:
        said = refusal()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, high))
    assert said == f"{path}: too many open files; use net user,builtin"
    assert os.listdir("/proc/self/fd") == before


def test_user_goes_on_without_one_that_fails(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "#!/bin/sh\nexit 1\n")
    network = UserNetwork([], False, bytes, "auto")
    assert not isinstance(network.end(), Passt)
    network.close()
    with pytest.raises(Refusal):
        UserNetwork([], False, bytes, "passt")


@pytest.fixture
def real():
    """The real passt, if it can be had."""
    try:
        process = start_passt()
    except Refusal as refusal:
        pytest.skip(str(refusal))
    yield process
    process.close()


def test_the_real_one_ends_when_it_is_closed(real):
    assert os.path.exists(f"/proc/{real.pid}")
    real.close()
    assert not os.path.exists(f"/proc/{real.pid}")


def test_the_real_one_has_no_more_descriptors_than_it_may(real):
    with open(f"/proc/{real.pid}/limits", encoding="ascii") as file:
        (limit,) = [line.split()[3:5] for line in file if line.startswith("Max open files")]
    assert limit == [str(passt_process.OPEN_FILES)] * 2


@pytest.mark.slow
def test_the_real_one_does_not_outlive_who_is_killed(real):
    program = (
        "import os, signal; from auberge.machine.net.passt_process import start_passt;"
        " process = start_passt(); print(process.pid, flush=True);"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    try:
        orphan = os.pidfd_open(int(killed.stdout))
    except ProcessLookupError:
        return
    with open(orphan, "rb", buffering=0):
        assert select.select([orphan], [], [], 10)[0], "it lives"


class Carried(Guest):
    """A guest behind the real passt."""

    def __init__(self, process):
        super().__init__(host_loopback=False)
        self.nat = Passt(self.nat, process)
        self.nat.plug(self.nic)


def test_a_conversation_through_the_real_one(real, monkeypatch):
    """With a server of this host, which stands for another: the wall is told that it is one."""
    address = own_address()
    if address is None:
        pytest.skip("this host has no address but its loopback's")
    monkeypatch.setattr(wall, "is_own", lambda name: False)
    guest = Carried(real)
    try:
        with socket.create_server((address, 0)) as server:
            stream = guest.connect(server.getsockname()[1], socket.inet_aton(address))
            guest.until(lambda: stream.established)
            peer, _ = server.accept()
            with peer:
                text = bytes(range(256)) * 1000
                stream.say(text)
                peer.setblocking(False)
                heard = bytearray()

                def hear():
                    try:
                        heard.extend(peer.recv(1 << 20))
                    except BlockingIOError:
                        pass
                    return len(heard) == len(text)

                guest.until(hear)
                assert heard == text
                peer.setblocking(True)
                peer.sendall(text[:50000])
                guest.until(lambda: len(stream.got) == 50000)
                assert stream.got == text[:50000]
                stream.end()
                guest.until(lambda: stream.connection.state and hear_end(peer))
    finally:
        guest.close()


def hear_end(peer):
    peer.setblocking(False)
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False
