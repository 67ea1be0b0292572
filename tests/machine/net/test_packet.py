"""Checksums and headers against the RFCs' own words."""

from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.net.packet import checksum, complete, ipv4_payload, pseudo_sum
from tests.machine.net.frames import ipv4


def by_words(data):
    """RFC 1071, 4.1, as it is written."""
    total = 0
    data = data + b"\0" * (len(data) % 2)
    for at in range(0, len(data), 2):
        total += data[at] << 8 | data[at + 1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.one_of(st.binary(max_size=64), st.lists(st.sampled_from([0, 255])).map(bytes)))
def test_the_checksum_is_rfc_1071s(data):
    assert checksum(data) == by_words(data)


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.binary(max_size=50))
def test_a_pseudo_header_in_the_field_completes(source, destination, data):
    length = 8 + len(data)
    total = pseudo_sum(source, destination, 17, length)
    datagram = b"\0\1\0\2" + length.to_bytes(2, "big") + total.to_bytes(2, "big") + data
    whole = complete(datagram, 0, 6)
    pseudo = source + destination + b"\0\x11" + length.to_bytes(2, "big")
    assert by_words(pseudo + whole) == 0
    assert whole[6:8] != b"\0\0"


def test_only_whole_packets_carry_something():
    packet = memoryview(ipv4(17, bytes(4), b"payload"))[14:]
    assert ipv4_payload(packet) == b"payload"
    assert ipv4_payload(memoryview(bytes(packet) + b"padding")) == b"payload"
    assert ipv4_payload(packet[:-1]) is None
    assert ipv4_payload(packet[:19]) is None
    for fragment in (0x2000, 1):
        assert ipv4_payload(memoryview(ipv4(17, bytes(4), b"x", fragment=fragment))[14:]) is None
    for first in (0x44, 0x65, 0x4F):
        assert ipv4_payload(memoryview(bytes([first]) + bytes(packet[1:]))) is None
