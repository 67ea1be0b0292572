"""Any frame at all: no exception, no more sockets and memory than there may be."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.machine.net import tcp_flows, udp_flows
from tests.machine.net.frames import DNS, GATEWAY, GUEST, ethernet, ipv4, tcp, udp
from tests.machine.net.guest import Guest

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
