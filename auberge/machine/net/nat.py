"""User networking: a guest's packets become sockets of an ordinary process, and come back.

What a guest cannot reach is behind the wall (wall.py), unless `host_loopback` makes 10.0.2.2 the
host's 127.0.0.1. There is no IPv6, and fragments are dropped: packets of 65,520 bytes need none.
"""

from collections.abc import Callable, Sequence
from socket import inet_ntoa
from typing import NamedTuple

from auberge.machine.net import dhcp
from auberge.machine.net.dhcp import Network
from auberge.machine.net.forward import Forward
from auberge.machine.net.packet import (
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    BROADCAST_MAC,
    DONT_FRAGMENT,
    ETHERNET,
    IPV4,
    MORE_FRAGMENTS,
    PROTOCOL_ICMP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TYPE_ARP,
    TYPE_IPV4,
    UDP,
    complete,
    ipv4_header,
    ipv4_payload,
    pseudo_sum,
)
from auberge.machine.net.ping import Pings
from auberge.machine.net.reactor import Reactor
from auberge.machine.net.tcp_flows import TcpFlows
from auberge.machine.net.udp_flows import UdpFlows
from auberge.machine.net.wall import GATEWAY, GATEWAY_MAC, GUEST, MASK, RESOLVER, is_in_reach
from auberge.machine.virtio.net import Nic

NETWORK = Network(GUEST, GATEWAY, RESOLVER, MASK)
UNKNOWN = bytes(4)
DNS_PORT = 53
LOOPBACK = "127.0.0.1"

_L4 = ETHERNET.size + IPV4.size
_CHECKSUM_OFFSET = {PROTOCOL_TCP: 16, PROTOCOL_UDP: 6}


class Choices(NamedTuple):
    """What of the host a guest may use: `resolvers` names its DNS servers each time it's asked."""

    resolvers: Callable[[], Sequence[str]]
    forwards: Sequence[Forward] = ()
    host_loopback: bool = False
    dns_port: int = DNS_PORT


class Nat:
    """The other end of one guest's cable. All calls are under the device lock."""

    def __init__(self, choices: Choices, reactor: Reactor, entropy: Callable[[int], bytes]) -> None:
        self._choices = choices
        self._nic: Nic | None = None
        self._guest_mac = BROADCAST_MAC
        self._identification = 0
        self._resolver = 0
        self.reactor = reactor
        self._udp = UdpFlows(self, choices.forwards)
        self._tcp = TcpFlows(self, choices.forwards, entropy)
        self._pings = Pings(self)

    def plug(self, nic: Nic) -> None:
        """As `Link`."""
        self._nic = nic
        self._guest_mac = nic.mac
        self._tcp.clear()
        self._udp.clear()
        self._pings.clear()

    def close(self) -> None:
        """Give back every socket."""
        self._nic = None
        self._tcp.close()
        self._udp.close()
        self._pings.clear()

    @property
    def ports(self) -> list[Forward]:
        """The forwards, with the ports that the host chose for 0."""
        return [*self._tcp.ports, *self._udp.ports]

    @property
    def flows(self) -> int:
        """How many connections, UDP flows and pings there are."""
        return len(self._tcp) + len(self._udp) + len(self._pings)

    # -- from the guest -------------------------------------------------------------------------

    def transmit(self, frame: bytes, checksum_at: int, checksum_offset: int) -> None:
        """As `Link`. Checksums are not looked at: a cable in memory damages nothing."""
        _, source, kind = ETHERNET.unpack_from(frame)
        if kind == TYPE_IPV4:
            self._guest_mac = source
            self._ipv4(memoryview(frame)[ETHERNET.size :])
        elif kind == TYPE_ARP and len(frame) >= ETHERNET.size + ARP.size:
            self._arp(frame)

    def flush(self) -> None:
        """As `Link`."""
        self._tcp.flush()

    def _arp(self, frame: bytes) -> None:
        fields = ARP.unpack_from(frame, ETHERNET.size)
        hardware, protocol, _, _, operation, sender_mac, sender, _, target = fields
        if (hardware, protocol, operation) != (1, TYPE_IPV4, ARP_REQUEST):
            return
        if target in (GATEWAY, RESOLVER):
            reply = ARP.pack(1, TYPE_IPV4, 6, 4, ARP_REPLY, GATEWAY_MAC, target, sender_mac, sender)
            self._guest_mac = sender_mac
            self._send_frame(sender_mac, TYPE_ARP, [reply], 0, 0)

    def _ipv4(self, packet: memoryview) -> None:
        payload = ipv4_payload(packet)
        if payload is None:
            self.refuse()
            return
        fields = IPV4.unpack_from(packet)
        protocol, source, destination = fields[6], fields[8], fields[9]
        if protocol == PROTOCOL_UDP and len(payload) >= UDP.size:
            source_port, port, length, _ = UDP.unpack_from(payload)
            if not UDP.size <= length <= len(payload):
                self.refuse()
            elif port == dhcp.SERVER_PORT and source in (UNKNOWN, GUEST):
                self._dhcp(bytes(payload[UDP.size : length]))
            elif source == GUEST:
                data = payload[UDP.size : length]
                self._udp.from_guest(source_port, destination, port, data)
        elif source != GUEST:
            self.refuse()
        elif protocol == PROTOCOL_TCP:
            self._tcp.from_guest(destination, payload)
        elif protocol == PROTOCOL_ICMP:
            self._pings.from_guest(destination, payload)

    def _dhcp(self, request: bytes) -> None:
        answer = dhcp.answer(request, NETWORK, self.mtu)
        if answer is not None:
            message, to = answer
            self.send_udp(GATEWAY, dhcp.SERVER_PORT, dhcp.CLIENT_PORT, message, to)

    # -- what flows need ------------------------------------------------------------------------

    @property
    def mtu(self) -> int:
        """The longest packet that the guest takes."""
        return self._nic.mtu if self._nic is not None else 1500

    def refuse(self) -> None:
        """Count something that was not let through."""
        if self._nic is not None:
            self._nic.counts.refused += 1

    def place(self, address: bytes, port: int) -> tuple[str, int] | None:
        """Where on the host's side the guest's `address` and `port` are; None if nowhere."""
        if address == RESOLVER:
            resolvers = self._choices.resolvers() if port == DNS_PORT else ()
            if not resolvers:
                return None
            return resolvers[self._resolver % len(resolvers)], self._choices.dns_port
        if address == GATEWAY:
            return (LOOPBACK, port) if self._choices.host_loopback and port else None
        return (inet_ntoa(address), port) if port and is_in_reach(address) else None

    def try_next_resolver(self) -> None:
        """The one in use does not answer."""
        self._resolver += 1

    def seen_as(self, host: str) -> bytes:
        """The address at which the guest sees a peer that came by a forward."""
        parts = bytes(map(int, host.split(".")))
        inside = parts[0] == 127 or parts[:3] == GATEWAY[:3]
        return GATEWAY if inside else parts

    def send_udp(
        self, source: bytes, source_port: int, port: int, data: bytes, to: bytes = GUEST
    ) -> None:
        """Send the guest a datagram."""
        header = UDP.pack(
            source_port,
            port,
            UDP.size + len(data),
            pseudo_sum(source, to, PROTOCOL_UDP, UDP.size + len(data)),
        )
        self.send_ipv4(PROTOCOL_UDP, source, header, data, to)

    def send_ipv4(
        self, protocol: int, source: bytes, header: bytes, data: bytes, to: bytes = GUEST
    ) -> None:
        """Send the guest a packet; the checksum of UDP and TCP holds the pseudo header's sum."""
        size = len(header) + len(data)
        self._identification = self._identification + 1 & 0xFFFF
        mac = BROADCAST_MAC if to == BROADCAST else self._guest_mac
        if IPV4.size + size > self.mtu:
            self._send_fragments(protocol, source, header + data, to, mac)
            return
        ip = ipv4_header(protocol, source, to, size, self._identification, DONT_FRAGMENT)
        offset = _CHECKSUM_OFFSET.get(protocol, 0)
        self._send_frame(mac, TYPE_IPV4, [ip, header, data], _L4 if offset else 0, offset)

    def _send_fragments(
        self, protocol: int, source: bytes, message: bytes, to: bytes, mac: bytes
    ) -> None:
        """RFC 791, 2.3; only a driver that does not take the offered MTU needs it, for UDP."""
        if protocol in _CHECKSUM_OFFSET:
            message = complete(message, 0, _CHECKSUM_OFFSET[protocol])
        step = (self.mtu - IPV4.size) & ~7
        for start in range(0, len(message), step):
            piece = message[start : start + step]
            more = MORE_FRAGMENTS if start + step < len(message) else 0
            place = start // 8 | more
            ip = ipv4_header(protocol, source, to, len(piece), self._identification, place)
            self._send_frame(mac, TYPE_IPV4, [ip, piece], 0, 0)

    def _send_frame(
        self, mac: bytes, kind: int, pieces: list[bytes], checksum_at: int, offset: int
    ) -> None:
        if self._nic is not None:
            header = ETHERNET.pack(mac, GATEWAY_MAC, kind)
            self._nic.receive([header, *pieces], checksum_at, offset)
