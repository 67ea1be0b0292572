"""What a guest can take of the host has an end, and a host that has nothing left is survived."""

import errno
import resource
import socket
import time

import pytest

from auberge.machine.net import ping, tcp, tcp_flows, udp_flows, wall
from auberge.machine.net.forward import parse_forward
from auberge.machine.net.tcp import RST, SYN
from tests.machine.net.frames import GATEWAY, udp
from tests.machine.net.frames import tcp as segment
from tests.machine.net.guest import Guest, dns_query

OTHER = bytes((192, 0, 2, 77))


@pytest.fixture
def make():
    guests = []

    def make(**options):
        guests.append(Guest(**options))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def no_descriptors(monkeypatch):
    """A host that has none left, from when this is called."""

    def no_socket(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    def take():
        for module in (tcp_flows, udp_flows, ping, wall):
            monkeypatch.setattr(module, "socket", no_socket)

    return take


@pytest.mark.slow
def test_a_hundred_thousand_connections(make, server):
    """Each from another pair of ports: no more are tried than there may be, the rest is reset."""
    guest = make()
    port = server.getsockname()[1]
    begin = time.thread_time()
    resets = 0
    for number in range(100_000):
        guest.send(segment(number % 65535 + 1, GATEWAY, port - number // 65535, 0, 0, SYN))
        if number % 1000 == 999:
            guest.nat.flush()
            resets += sum(packet.flags & RST != 0 for packet in guest.nic.packets())
            assert guest.nat.flows <= tcp_flows.MOST
    assert resets >= 100_000 - tcp_flows.MOST
    assert time.thread_time() - begin < 60


def test_the_host_has_no_descriptor_for_the_guest(make, server, no_descriptors):
    guest = make(resolvers=["127.0.0.1"])
    no_descriptors()
    stream = guest.connect(server.getsockname()[1])
    guest.until(lambda: stream.refused)
    other = guest.connect(80, OTHER)
    guest.until(lambda: other.refused)
    guest.send(udp(5000, OTHER, 80, b"?"))
    guest.send(udp(5000, bytes((10, 0, 2, 3)), 53, dns_query()))
    assert guest.nat.flows == 0 and guest.nic.counts.refused >= 4


def test_the_host_has_no_descriptor_for_a_forwards_peer(make):
    """It is asked again, but not all the time; and then the peer that waited is served."""
    now = [100.0]
    guest = make(forwards=[parse_forward("0:80")], now=lambda: now[0])
    guest.listening.add(80)
    low, high = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_connection(("127.0.0.1", guest.nat.ports[0].host)) as peer:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, high))
        try:
            guest.reactor.turn(guest.reactor.poll(1))
            assert guest.reactor.poll(0.0) == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (low, high))
        now[0] += 2
        guest.until(lambda: guest.streams)
        peer.sendall(b"hello")
        stream = next(iter(guest.streams.values()))
        guest.until(lambda: stream.got == b"hello")


def test_half_open_connections_end(make, server):
    """A guest that never answers the second of the three handshakes."""
    now = [100.0]
    guest = make(now=lambda: now[0])
    for port in range(1, 11):
        guest.send(segment(port, GATEWAY, server.getsockname()[1], 0, 0, SYN))
    guest.nat.flush()
    for _ in range(2 * tcp.TRIES):
        guest.reactor.turn(guest.reactor.poll(0.0))
        now[0] += tcp.LONGEST_TIMEOUT
    guest.reactor.turn(guest.reactor.poll(0.0))
    assert guest.nat.flows == 0


def test_what_a_server_sends_and_the_guest_does_not_take_is_bounded(make, server):
    """Its window is closed: a share is held here, and the rest waits with the server."""
    guest = make()
    port = server.getsockname()[1]
    guest.send(segment(1, GATEWAY, port, 0, 0, SYN, window=0))
    guest.nat.flush()
    guest.until(lambda: guest.packets)
    answer = guest.packets.pop()
    guest.send(segment(1, GATEWAY, port, 1, answer.seq + 1, 16, window=0))
    guest.nat.flush()
    peer, _ = server.accept()
    with peer:
        peer.setblocking(False)
        sent = 0
        for _ in range(200):
            try:
                sent += peer.send(bytes(1 << 20))
            except BlockingIOError:
                pass
            guest.reactor.turn(guest.reactor.poll(0.0))
        (flow,) = guest.nat._tcp._flows.values()
        assert len(flow.connection._out) == tcp_flows.SHARE
        assert sent < 64 << 20


def test_what_a_guest_sends_and_a_server_does_not_take_is_bounded(make, server):
    guest = make()
    stream = guest.connect(server.getsockname()[1])
    guest.until(lambda: stream.established)
    (flow,) = guest.nat._tcp._flows.values()
    left = 20  # turns, when it is full
    while left:
        if stream.connection.wanted():
            stream.connection.supply(bytes(stream.connection.wanted()))
        guest.turn()
        left -= len(flow.connection.inbox) == tcp_flows.SHARE
        assert len(flow.connection.inbox) <= tcp_flows.SHARE


def test_many_connections_share_what_one_may_hold(make, server, monkeypatch):
    monkeypatch.setattr(tcp_flows, "POOL", 10 << 10)
    guest = make()
    for port in range(1, 11):
        guest.send(segment(port, GATEWAY, server.getsockname()[1], 0, 0, SYN))
    assert guest.nat._tcp.share() == 1 << 10
