"""Any frame at all: no exception, no more sockets and memory than there may be."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.machine.net import tcp_flows, udp_flows
from auberge.machine.net.wall import GATEWAY_MAC
from tests.machine.net.frames import DNS, GATEWAY, GUEST, GUEST_MAC, arp, ethernet, ipv4, tcp, udp
from tests.machine.net.guest import Guest, dns_query

ADDRESSES = st.sampled_from([GATEWAY, DNS, GUEST, bytes(4), b"\xff" * 4, bytes((127, 0, 0, 1))])
PORTS = st.sampled_from([1, 2, 53, 67]).map(lambda port: port.to_bytes(2, "big"))


def ports_then(rest):
    return st.tuples(PORTS, PORTS, rest).map(b"".join)


def tcp_rest():
    numbers = st.binary(min_size=8, max_size=8)
    offset = st.sampled_from([0x50, 0x50, 0x60, 0xF0, 0x00]).map(lambda byte: bytes([byte]))
    flags = st.integers(0, 63).map(lambda byte: bytes([byte]))
    return st.tuples(numbers, offset, flags, st.binary(max_size=60)).map(b"".join)


def udp_rest():
    length = st.sampled_from([0, 7, 8, 9, 30, 0xFFFF]).map(lambda n: n.to_bytes(2, "big"))
    return st.tuples(length, st.binary(max_size=40)).map(b"".join)


def icmp():
    return st.tuples(st.sampled_from([b"\x08\0", b"\0\0", b"\x03\x03"]), st.binary(max_size=20))


def frames():
    payload = st.one_of(
        st.tuples(st.just(6), ports_then(tcp_rest())),
        st.tuples(st.just(17), ports_then(udp_rest())),
        st.tuples(st.just(1), icmp().map(b"".join)),
        st.tuples(st.integers(0, 255), st.binary(max_size=40)),
    )
    packets = st.builds(
        lambda to, what, source: ipv4(what[0], to, what[1], source),
        ADDRESSES,
        payload,
        st.sampled_from([GUEST, GUEST, GUEST, bytes(4)]),
    )
    garbage = st.builds(
        ethernet, st.sampled_from([0x800, 0x806, 0x86DD, 0x8100]), st.binary(max_size=60)
    )
    broken = st.builds(
        lambda frame, at, value: (
            frame[: at % len(frame)] + bytes([value]) + frame[at % len(frame) :]
        ),
        packets,
        st.integers(14, 60),
        st.integers(0, 255),
    )
    return st.one_of(packets, packets, garbage, broken)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(frames(), max_size=30), st.sampled_from([1500, 65520]))
def test_any_frames(sequence, mtu):
    guest = Guest(mtu=mtu, host_loopback=False)
    try:
        for frame in sequence:
            guest.send(frame)
        guest.nat.flush()
        guest.reactor.turn(guest.reactor.poll(0.0))
        assert guest.nat.flows == 0, "none of these addresses lead anywhere"
        assert all(len(frame) <= mtu + 14 for frame in guest.nic.frames)
    finally:
        guest.close()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["segment", "segment", "segment", "turn", "time", "host", "close"]),
            st.integers(1, 3),
            st.integers(-3, 40),
            st.integers(-3, 40),
            st.integers(0, 63),
            st.binary(max_size=20),
            st.sampled_from([0, 1, 100, 0xFFFF]),
        ),
        max_size=40,
    )
)
def test_any_segments_to_a_real_server(steps):
    """Connections that are half open, reset, closed and reused in any order."""
    now = [100.0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        guest = Guest(now=lambda: now[0])
        peers = []
        heard = dict.fromkeys((1, 2, 3), 0)
        try:
            for what, port, seq, ack, flags, data, window in steps:
                if what == "segment":
                    numbers = seq & 0xFFFF_FFFF, heard[port] + ack & 0xFFFF_FFFF
                    peer = server.getsockname()[1]
                    guest.send(tcp(port, GATEWAY, peer, *numbers, flags, data, window))
                    guest.nat.flush()
                elif what == "time":
                    now[0] += max(0, seq)
                elif what == "host":
                    try:
                        peers.append(server.accept()[0])
                    except BlockingIOError:
                        pass
                    for each in peers:
                        each.setblocking(False)
                        try:
                            each.send(data + b"x")
                        except OSError:
                            pass
                elif what == "close" and peers:
                    peers.pop().close()
                guest.reactor.turn(guest.reactor.poll(0.0))
                for packet in guest.nic.packets():
                    heard[packet.port] = packet.seq + len(packet.data)
                assert guest.nat.flows <= 3
        finally:
            guest.close()
            for each in peers:
                each.close()


def conversation(peer):
    """What a guest sends in a life: a lease, the gateway, a name, a page, a ping."""
    http = b"GET / HTTP/1.0\r\n\r\n"
    mss = b"\x02\x04\xff\xc8\x01\x03\x03\x07"
    return [
        udp(68, b"\xff" * 4, 67, dhcp_message(1), source=bytes(4)),
        udp(68, b"\xff" * 4, 67, dhcp_message(3), source=bytes(4)),
        arp(GATEWAY),
        udp(5000, DNS, 53, dns_query()),
        tcp(6000, GATEWAY, peer, 100, 0, 2, options=mss),
        tcp(6000, GATEWAY, peer, 101, 1, 16),
        tcp(6000, GATEWAY, peer, 101, 1, 24, http),
        udp(5001, GATEWAY, peer, b"datagram"),
        ipv4(1, GATEWAY, b"\x08\0\0\0\0\1\0\1" + bytes(56)),
        tcp(6000, GATEWAY, peer, 101 + len(http), 1, 17),
        tcp(6000, GATEWAY, peer, 102 + len(http), 1, 4),
    ]


def dhcp_message(kind):
    head = b"\1\1\6\0" + bytes(24) + GUEST_MAC + bytes(202) + b"\x63\x82\x53\x63"
    return head + bytes([53, 1, kind, 50, 4, *GUEST, 255])


MUTATIONS = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 400), st.integers(0, 7)),
    st.tuples(st.just("set"), st.integers(0, 400), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])),
    st.tuples(st.just("cut"), st.integers(0, 400), st.just(0)),
    st.tuples(st.just("grow"), st.integers(0, 400), st.integers(0, 255)),
    st.tuples(st.just("twice"), st.just(0), st.just(0)),
    st.tuples(st.just("lose"), st.just(0), st.just(0)),
    st.tuples(st.just("swap"), st.just(0), st.just(0)),
)


def mutate(frames, mutations):
    """Frames of a valid conversation, some of them damaged, lost, repeated or out of order."""
    frames = list(frames)
    for where, (what, at, value) in mutations:
        if not frames:
            break
        where %= len(frames)
        frame = bytearray(frames[where])
        at %= len(frame)
        if what == "flip":
            frame[at] ^= 1 << value
        elif what == "set":
            frame[at] = value
        elif what == "cut":
            del frame[max(14, at) :]
        elif what == "grow":
            frame[at:at] = bytes([value]) * value
        frames[where] = bytes(frame)
        if what == "twice":
            frames.insert(where, frames[where])
        elif what == "lose":
            del frames[where]
        elif what == "swap":
            frames[where], frames[where - 1] = frames[where - 1], frames[where]
    return frames


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), MUTATIONS), max_size=8), st.sampled_from([576, 65520])
)
def test_a_conversation_that_went_wrong(mutations, mtu):
    """Against real servers of the loopback; the network then still serves who behaves."""
    now = [100.0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        peer = server.getsockname()[1]
        guest = Guest(mtu=mtu, now=lambda: now[0])
        accepted = []
        try:
            for frame in mutate(conversation(peer), mutations):
                guest.send(frame)
                guest.nat.flush()
                guest.reactor.turn(guest.reactor.poll(0.0))
                now[0] += 0.3
                try:
                    accepted.append(server.accept()[0])
                    accepted[-1].send(b"answer")
                except OSError:
                    pass
            assert all(len(frame) <= mtu + 14 for frame in guest.nic.frames)
            assert guest.nat.flows <= 12
            guest.nic.frames.clear()
            guest.send(arp(GATEWAY))
            assert guest.nic.frames[-1][20:22] == b"\0\2"
        finally:
            guest.close()
            for each in accepted:
                each.close()


def test_a_conversation_that_went_well():
    """The one that is damaged above is one that works."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        guest = Guest()
        try:
            kinds = []
            for frame in conversation(server.getsockname()[1])[:6]:
                guest.send(frame)
                guest.nat.flush()
                guest.reactor.turn(guest.reactor.poll(0.02))
                kinds += [(each[12:14], each[23]) for each in guest.nic.frames]
                guest.nic.frames.clear()
            udp_packet, tcp_packet = (b"\x08\0", 17), (b"\x08\0", 6)
            assert kinds == [udp_packet, udp_packet, (b"\x08\x06", GATEWAY_MAC[1]), tcp_packet]
            assert guest.nat.flows == 1
        finally:
            guest.close()


def test_a_flood_of_connections_has_an_end(monkeypatch):
    """SYNs to a listening port, from every port, with nothing after them."""
    monkeypatch.setattr(tcp_flows, "MOST", 20)
    monkeypatch.setattr(udp_flows, "MOST", 20)
    with socket.create_server(("127.0.0.1", 0)) as server:
        guest = Guest()
        try:
            for port in range(1, 200):
                guest.send(tcp(port, GATEWAY, server.getsockname()[1], 0, 0, 2))
                guest.send(udp(port, GATEWAY, server.getsockname()[1], b"?"))
                guest.nat.flush()
            assert guest.nat.flows == 40
            resets = [packet for packet in guest.nic.packets() if packet.protocol == 6]
            assert sum(packet.flags & 4 != 0 for packet in resets) == 179
        finally:
            guest.close()
