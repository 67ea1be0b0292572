"""Ethernet, ARP, IPv4, UDP and ICMP, to and from bytes (RFC 826, 791, 768, 792)."""

from struct import Struct

ETHERNET = Struct("!6s6sH")  # destination, source, type
ARP = Struct("!HHBBH6s4s6s4s")
IPV4 = Struct("!BBHHHBBH4s4s")
UDP = Struct("!HHHH")
ICMP = Struct("!BBHHH")  # type, code, checksum, and of an echo: identifier, sequence number

TYPE_IPV4, TYPE_ARP = 0x0800, 0x0806
PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP = 1, 6, 17
ARP_REQUEST, ARP_REPLY = 1, 2
ECHO_REPLY, ECHO = 0, 8

BROADCAST_MAC = b"\xff" * 6
BROADCAST = b"\xff" * 4

MORE_FRAGMENTS = 0x2000
DONT_FRAGMENT = 0x4000
_HOPS = 64


def checksum(data: bytes | memoryview, start: int = 0) -> int:
    """The Internet checksum of `data` (RFC 1071), `start` added to it."""
    # One's complement addition of 16-bit words is arithmetic modulo 0xFFFF; a sum that is a
    # multiple of it, and not zero, is 0xFFFF.
    number = int.from_bytes(data, "big") << (8 if len(data) & 1 else 0)
    number += start
    rest = number % 0xFFFF
    return 0xFFFF - (rest or (0xFFFF if number else 0))


def pseudo_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """What the pseudo header adds to the sum of UDP and TCP, not complemented, in 16 bits."""
    addresses = int.from_bytes(source + destination, "big")
    rest = (addresses + protocol + length) % 0xFFFF
    return rest or 0xFFFF


def complete(frame: bytes, start: int, offset: int) -> bytes:
    """`frame` with the checksum of what is from `start` on put in, `offset` further on."""
    at = start + offset
    value = checksum(memoryview(frame)[start:]) or 0xFFFF  # RFC 768: 0 would mean none
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 :]


def ipv4_header(
    protocol: int, source: bytes, destination: bytes, size: int, identification: int, fragment: int
) -> bytes:
    """The header of a packet with `size` bytes after it."""
    fields = 0x45, 0, IPV4.size + size, identification, fragment, _HOPS, protocol
    header = IPV4.pack(*fields, 0, source, destination)
    return IPV4.pack(*fields, checksum(header), source, destination)


def ipv4_payload(packet: memoryview) -> memoryview | None:
    """What an IPv4 packet carries, or None if it is none, is a fragment, or ends too early."""
    if len(packet) < IPV4.size:
        return None
    version, _, length, _, fragment, _, _, _, _, _ = IPV4.unpack_from(packet)
    header = 4 * (version & 15)
    if version >> 4 != 4 or header < IPV4.size or not header <= length <= len(packet):
        return None
    if fragment & ~DONT_FRAGMENT:
        return None
    return packet[header:length]


def icmp_echo_reply(identifier: int, sequence: int, data: bytes) -> bytes:
    """The answer to an echo."""
    message = ICMP.pack(ECHO_REPLY, 0, 0, identifier, sequence) + data
    value = checksum(message)
    return ICMP.pack(ECHO_REPLY, 0, value, identifier, sequence) + data
