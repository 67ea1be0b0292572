"""A lease: what a client asks and is told (RFC 2131)."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.net.dhcp import answer, options
from auberge.machine.net.nat import NETWORK
from tests.machine.net.frames import GATEWAY, GUEST, GUEST_MAC

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)


def message(kind, *extra, ciaddr=bytes(4)):
    head = pack("!BBBBIHH4s12x16s192x4s", 1, 1, 6, 0, 0xABCD, 0, 0, ciaddr,
                GUEST_MAC.ljust(16, b"\0"), b"\x63\x82\x53\x63")  # fmt: skip
    told = b"".join(
        bytes([code, len(value)]) + value for code, value in [(53, bytes([kind])), *extra]
    )
    return head + told + b"\xff"


def reply(request):
    """Kind, address given, options, destination."""
    got = answer(request, NETWORK, 65520)
    if got is None:
        return None
    data, to = got
    assert data[:4] == b"\2\1\6\0" and data[4:8] == b"\0\0\xab\xcd" and len(data) >= 300
    assert data[28:34] == GUEST_MAC
    told = options(data[240:])
    return told[53][0], data[16:20], told, to


def test_a_lease():
    kind, address, told, to = reply(message(DISCOVER))
    assert (kind, address, to) == (OFFER, GUEST, b"\xff" * 4)
    kind, address, told, to = reply(message(REQUEST, (50, GUEST), (54, GATEWAY)))
    assert (kind, address, to) == (ACK, GUEST, b"\xff" * 4)
    del told[53]
    assert told == {
        54: GATEWAY,
        1: bytes((255, 255, 255, 0)),
        3: GATEWAY,
        6: bytes((10, 0, 2, 3)),
        26: (65520).to_bytes(2, "big"),
        51: (86400).to_bytes(4, "big"),
    }


def test_a_renewal_is_answered_to_the_guest_itself():
    kind, address, _, to = reply(message(REQUEST, ciaddr=GUEST))
    assert (kind, address, to) == (ACK, GUEST, GUEST)


def test_another_address_is_refused():
    kind, address, told, to = reply(message(REQUEST, (50, bytes((192, 168, 1, 5)))))
    assert (kind, address, to) == (NAK, bytes(4), b"\xff" * 4)
    assert told.keys() == {53, 54}


def test_a_guest_that_has_an_address_only_asks():
    kind, address, told, to = reply(message(INFORM, ciaddr=GUEST))
    assert (kind, address, to) == (ACK, bytes(4), GUEST)
    assert 51 not in told and told[3] == GATEWAY


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        message(DISCOVER)[:239],
        message(RELEASE),
        message(DECLINE),
        message(9),
        b"\2" + message(DISCOVER)[1:],
        message(REQUEST, (54, GUEST)),
    ],
)
def test_no_answer(request_):
    assert reply(request_) is None


@given(st.binary(max_size=80), st.integers(0, 8))
def test_random_options(tail, kind):
    answer(message(kind)[:-1] + tail, NETWORK, 1500)
    options(tail)
