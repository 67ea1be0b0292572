"""A guest's packets, and the host's sockets that they become; only loopback is talked to."""

import socket

import pytest

from auberge.machine.net import ping, tcp_flows, udp_flows, wall
from auberge.machine.net.forward import Forward
from auberge.machine.net.packet import complete
from auberge.machine.net.tcp import ACK, RST, SYN
from auberge.machine.net.wall import GATEWAY_MAC, is_own
from tests.machine.net.frames import DNS, GATEWAY, GUEST, GUEST_MAC, ICMP, arp, ipv4, tcp, udp
from tests.machine.net.guest import Guest, dns_query


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
        server.settimeout(20)
        yield server


def port_of(sock):
    return sock.getsockname()[1]


def echo(identifier, sequence, data):
    message = bytes([8, 0, 0, 0]) + identifier.to_bytes(2, "big") + sequence.to_bytes(2, "big")
    return complete(message + data, 0, 2)


# -- the link -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [GATEWAY, DNS])
def test_the_gateway_and_the_resolver_answer_arp(make, target):
    guest = make()
    guest.send(arp(target))
    [frame] = guest.nic.frames
    assert frame[:14] == GUEST_MAC + GATEWAY_MAC + b"\x08\x06"
    assert frame[20:32] == b"\0\2" + GATEWAY_MAC + target
    assert frame[32:42] == GUEST_MAC + GUEST


def test_nobody_else_answers_arp(make):
    guest = make()
    for target in (GUEST, bytes((10, 0, 2, 99)), bytes((127, 0, 0, 1))):
        guest.send(arp(target))
    assert guest.nic.frames == []


@pytest.mark.parametrize("address", [GATEWAY, DNS])
def test_the_gateway_answers_pings(make, address):
    guest = make()
    guest.send(ipv4(ICMP, address, echo(5, 9, b"payload")))
    packet = guest.packet()
    assert (packet.source, packet.to, packet.protocol) == (address, GUEST, ICMP)
    assert packet.body[:2] == b"\0\0" and packet.body[4:] == b"\0\5\0\x09payload"


def test_dhcp_by_frames(make):
    from tests.machine.net.test_dhcp import DISCOVER, message

    guest = make()
    guest.send(udp(68, b"\xff" * 4, 67, message(DISCOVER), source=bytes(4)))
    [frame] = guest.nic.frames
    assert frame[:6] == b"\xff" * 6
    packet = guest.packet()
    assert (packet.source, packet.to) == (GATEWAY, b"\xff" * 4)
    assert (packet.source_port, packet.port) == (67, 68)
    assert packet.data[16:20] == GUEST


# -- TCP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [65520, 1500])
def test_tcp_both_ways(make, server, mtu):
    guest = make(mtu=mtu)
    stream = guest.connect(port_of(server))
    guest.until(lambda: stream.established)
    peer, _ = server.accept()
    with peer:
        peer.settimeout(20)
        stream.say(b"question")
        guest.until(lambda: not stream.connection._out)
        assert peer.recv(100) == b"question"
        answer = bytes(range(256)) * 4000
        peer.setblocking(False)
        sent = 0

        def everything_came():
            nonlocal sent
            try:
                sent += peer.send(answer[sent:]) if sent < len(answer) else 0
            except BlockingIOError:
                pass
            return len(stream.got) == len(answer)

        guest.until(everything_came)
        assert stream.got == answer
        peer.shutdown(socket.SHUT_WR)
        guest.until(lambda: stream.connection.ended)
        stream.say(b"after your end")  # half-closed
        stream.end()
        guest.until(lambda: stream.connection.closed)
        guest.turn()
        peer.setblocking(True)
        assert peer.recv(100) == b"after your end"
        assert peer.recv(100) == b""
    assert guest.nat.flows == 0


@pytest.mark.slow
def test_a_slow_reader_on_the_host_closes_the_window(make, server):
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    guest = make()
    stream = guest.connect(port_of(server))
    guest.until(lambda: stream.established)
    peer, _ = server.accept()
    with peer:
        text = bytes(range(251)) * 50000
        left = memoryview(text)
        stuck = 0
        while stuck < 3:
            size = min(stream.connection.wanted(), len(left))
            stream.connection.supply(bytes(left[:size]))
            left = left[size:]
            stuck = 0 if size else stuck + 1
            guest.turn()
        assert left, "it took everything"
        [flow] = guest.nat._tcp._flows.values()
        assert len(flow.connection.inbox) <= tcp_flows.SHARE
        got = bytearray()
        peer.setblocking(False)

        def all_arrived():
            nonlocal left
            size = min(stream.connection.wanted(), len(left))
            stream.connection.supply(bytes(left[:size]))
            left = left[size:]
            try:
                got.extend(peer.recv(1 << 20))
            except BlockingIOError:
                pass
            return len(got) == len(text)

        guest.until(all_arrived)
        assert got == text


def test_a_refused_connection_is_reset(make, server):
    port = port_of(server)
    server.close()
    guest = make()
    stream = guest.connect(port)
    guest.until(lambda: stream.refused)
    assert guest.nat.flows == 0


def test_a_reset_by_the_host_reaches_the_guest(make, server):
    guest = make()
    stream = guest.connect(port_of(server))
    guest.until(lambda: stream.established)
    peer, _ = server.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    guest.until(lambda: stream.refused)
    assert guest.nat.flows == 0


def test_a_reset_by_the_guest_reaches_the_host(make, server):
    guest = make()
    stream = guest.connect(port_of(server))
    guest.until(lambda: stream.established)
    peer, _ = server.accept()
    stream.connection.abort()
    guest.until(lambda: guest.nat.flows == 0)
    with peer, pytest.raises(ConnectionResetError):
        peer.recv(1)


def test_a_new_guest_on_the_cable_has_no_connections(make, server):
    now = [100.0]
    guest = make(now=lambda: now[0])
    stream = guest.connect(port_of(server))
    guest.until(lambda: stream.established)
    peer, _ = server.accept()
    peer.sendall(b"never acknowledged")
    guest.until(lambda: guest.reactor._moments and stream.got)
    guest.nat.plug(guest.nic)
    assert guest.nat.flows == 0
    now[0] += 60  # what was to be sent again is not
    guest.turn()
    assert guest.nic.frames == []
    with peer, pytest.raises(ConnectionResetError):
        peer.recv(1)


def test_a_stray_segment_is_reset(make):
    guest = make()
    guest.send(tcp(1, GATEWAY, 2, 77, 99, ACK, b"abc"))
    guest.send(tcp(1, GATEWAY, 2, 77, 0, 0, b"abc"))
    guest.send(tcp(1, GATEWAY, 2, 77, 0, RST))
    said = [(packet.seq, packet.ack, packet.flags) for packet in guest.nic.packets()]
    assert said == [(99, 0, RST), (0, 80, RST | ACK)]
    assert guest.nic.counts.refused == 2


def test_there_is_an_end_to_connections(make, server, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(tcp_flows, "MOST", 3)
    guest = make(now=lambda: now[0])
    streams = [guest.connect(port_of(server), source_port=port) for port in (1, 2, 3)]
    guest.until(lambda: all(stream.established for stream in streams))
    late = guest.connect(port_of(server), source_port=4)
    guest.until(lambda: late.refused)
    now[0] += tcp_flows.IDLE
    later = guest.connect(port_of(server), source_port=5)
    guest.until(lambda: later.established)
    assert streams[0].refused and not streams[1].refused
    assert guest.nat.flows == 3


def test_a_forward_reaches_the_guest(make):
    guest = make(forwards=[Forward("127.0.0.1", 0, 80, False)], host_loopback=False)
    [forward] = guest.nat.ports
    guest.listening.add(80)
    with socket.create_connection(("127.0.0.1", forward.host)) as peer:
        [key] = guest.until(lambda: list(guest.streams))
        assert key == (80, GATEWAY, port_of(peer))
        stream = guest.streams[key]
        peer.sendall(b"hello")
        guest.until(lambda: stream.got == b"hello")
        stream.say(b"world")
        stream.end()
        guest.turn()
        assert peer.recv(100) == b"world"
        assert peer.recv(100) == b""
    guest.until(lambda: stream.connection.closed)
    guest.until(lambda: guest.nat.flows == 0)


def test_a_guest_that_does_not_listen(make):
    guest = make(forwards=[Forward("127.0.0.1", 0, 80, False)])
    [forward] = guest.nat.ports
    with socket.create_connection(("127.0.0.1", forward.host)) as peer:
        guest.until(lambda: guest.nat.flows)
        syn = guest.packet()
        assert (syn.flags, syn.port, syn.source) == (SYN, 80, GATEWAY)
        guest.send(tcp(80, GATEWAY, syn.source_port, 0, syn.seq + 1, RST | ACK))
        guest.nat.flush()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_a_host_without_descriptors_is_not_asked_all_the_time(make, monkeypatch):
    class Listener:
        """Accepts nothing, because nothing more can be opened."""

        asked = 0

        def __init__(self, sock):
            self.fileno, self.close, self.getsockname = sock.fileno, sock.close, sock.getsockname
            self.bind, self.listen, self.setsockopt = sock.bind, sock.listen, sock.setsockopt
            self.real = sock

        def accept(self):
            Listener.asked += 1
            if Listener.asked == 1:
                raise OSError(24, "Too many open files")
            return self.real.accept()

    make_socket = tcp_flows.socket
    monkeypatch.setattr(tcp_flows, "socket", lambda *args: Listener(make_socket(*args)))
    now = [100.0]
    guest = make(forwards=[Forward("127.0.0.1", 0, 80, False)], now=lambda: now[0])
    with socket.create_connection(("127.0.0.1", guest.nat.ports[0].host)):
        for _ in range(5):
            guest.turn()
        assert Listener.asked == 1
        now[0] += 1.0
        guest.until(lambda: guest.nat.flows == 1)
        assert Listener.asked == 2


# -- UDP ----------------------------------------------------------------------------------------


@pytest.fixture
def datagrams():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        yield sock


@pytest.mark.parametrize("size", [0, 1, 1472, 65000])
def test_udp_both_ways(make, datagrams, size):
    guest = make()
    guest.send(udp(5000, GATEWAY, port_of(datagrams), bytes(size)))
    data, peer = datagrams.recvfrom(0xFFFF)
    assert data == bytes(size)
    datagrams.sendto(b"x" * size, peer)
    packet = guest.packet()
    assert (packet.source, packet.source_port, packet.port) == (GATEWAY, port_of(datagrams), 5000)
    assert packet.data == b"x" * size


def test_a_long_answer_is_fragmented_for_a_small_mtu(make, datagrams):
    guest = make(mtu=1500)
    guest.send(udp(5000, GATEWAY, port_of(datagrams), b"?"))
    _, peer = datagrams.recvfrom(10)
    text = bytes(range(256)) * 16
    datagrams.sendto(text, peer)
    pieces = [guest.packet() for _ in range(3)]
    assert [piece.fragment for piece in pieces] == [0x2000, 0x2000 | 185, 370]
    assert b"".join(piece.body for piece in pieces)[8:] == text


def test_a_quiet_flow_is_forgotten(make, datagrams):
    now = [100.0]
    guest = make(now=lambda: now[0])
    guest.send(udp(5000, GATEWAY, port_of(datagrams), b"?"))
    for _ in range(11):
        now[0] += udp_flows.QUIET_DNS
        guest.turn()
    assert guest.nat.flows == 1
    now[0] += udp_flows.QUIET_DNS
    guest.turn()
    assert guest.nat.flows == 0


def test_the_longest_quiet_flow_makes_way(make, datagrams):
    guest = make()
    for port in range(1, udp_flows.MOST + 3):
        guest.send(udp(port, GATEWAY, port_of(datagrams), b"?"))
    assert guest.nat.flows == udp_flows.MOST
    assert min(key[0] for key in guest.nat._udp._flows) == 3


def test_a_udp_forward(make):
    guest = make(forwards=[Forward("127.0.0.1", 0, 7, True)], host_loopback=False)
    [forward] = guest.nat.ports
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.sendto(b"hello", ("127.0.0.1", forward.host))
        packet = guest.packet()
        assert (packet.source, packet.port, packet.data) == (GATEWAY, 7, b"hello")
        guest.send(udp(7, GATEWAY, packet.source_port, b"world"))
        assert peer.recvfrom(100) == (b"world", ("127.0.0.1", forward.host))


# -- DNS ----------------------------------------------------------------------------------------


def test_a_query_goes_to_the_hosts_resolver(make, datagrams):
    guest = make(resolvers=["127.0.0.1"], dns_port=port_of(datagrams), host_loopback=False)
    guest.send(udp(5353, DNS, 53, dns_query()))
    query, peer = datagrams.recvfrom(512)
    assert query == dns_query()
    datagrams.sendto(b"answer", peer)
    packet = guest.packet()
    assert (packet.source, packet.source_port, packet.port) == (DNS, 53, 5353)
    assert packet.data == b"answer"


def test_a_resolver_that_is_silent_is_replaced_by_the_next(make, datagrams):
    now = [100.0]
    guest = make(
        resolvers=["127.0.0.9", "127.0.0.1"], dns_port=port_of(datagrams), now=lambda: now[0]
    )
    guest.send(udp(5353, DNS, 53, dns_query()))  # nobody at .9: its socket hears so
    guest.turn()
    guest.send(udp(5354, DNS, 53, dns_query(b"again")))
    assert datagrams.recv(512) == dns_query(b"again")


def test_dns_by_tcp(make, server):
    guest = make(resolvers=["127.0.0.1"], dns_port=port_of(server), host_loopback=False)
    stream = guest.connect(53, DNS)
    guest.until(lambda: stream.established)


def test_only_dns_is_at_the_resolver(make, server):
    guest = make(resolvers=["127.0.0.1"])
    stream = guest.connect(port_of(server), DNS)
    guest.until(lambda: stream.refused)


# -- walls --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [GATEWAY, DNS, GUEST, bytes((10, 0, 2, 77)), bytes((127, 0, 0, 1)), bytes((127, 1, 2, 3)),
     bytes(4), b"\xff" * 4, bytes((224, 0, 0, 251)), bytes((169, 254, 169, 254))],
    ids=lambda address: ".".join(map(str, address)),
)  # fmt: skip
def test_what_a_guest_cannot_reach(make, monkeypatch, address):
    def no_socket(*args):
        raise AssertionError("a socket was made")

    for module in (tcp_flows, udp_flows, ping):
        monkeypatch.setattr(module, "socket", no_socket)
    guest = make(host_loopback=False)
    stream = guest.connect(80, address)
    assert stream.established is False
    guest.turn()
    assert stream.refused
    guest.send(udp(5000, address, 80, b"?"))
    if address not in (GATEWAY, DNS):  # which answer themselves
        guest.send(ipv4(ICMP, address, echo(1, 1, b"")))
    assert guest.nat.flows == 0 and guest.packets == []
    assert guest.nic.counts.refused >= 2


def test_the_hosts_own_addresses_are_walled_off(make, monkeypatch):
    assert is_own("127.0.0.1") and is_own("127.3.2.1")
    assert not is_own("192.0.2.77")  # TEST-NET-1: connecting a datagram socket sends nothing
    asked = []
    monkeypatch.setattr(wall, "is_own", lambda name: asked.append(name) or True)
    guest = make(host_loopback=False)
    stream = guest.connect(22, bytes((192, 0, 2, 2)))
    guest.until(lambda: stream.refused)
    assert asked == ["192.0.2.2"] and guest.nat.flows == 0


def test_another_source_address_is_not_let_through(make, datagrams):
    guest = make()
    guest.send(udp(5000, GATEWAY, port_of(datagrams), b"?", source=bytes((10, 0, 2, 16))))
    guest.send(ipv4(6, GATEWAY, bytes(20), source=bytes((1, 2, 3, 4))))
    assert guest.nat.flows == 0 and guest.nic.frames == []
