"""Packets out of any stream of bytes: Debugging with GDB, appendix E.1."""

from hypothesis import given
from hypothesis import strategies as st

from auberge.machine.debug.packets import (
    LONGEST,
    Interrupt,
    Packet,
    Receiver,
    Repeat,
    escape,
    frame,
    unescape,
)


def test_packets_and_what_is_between_them():
    receiver = Receiver()
    assert receiver.feed(b"+$g#67+\x03-garbage$m0,4#fd") == [
        Packet(b"g", True), Interrupt(), Repeat(), Packet(b"m0,4", True),
    ]  # fmt: skip


def test_a_wrong_checksum():
    assert Receiver().feed(b"$g#68$g#zz") == [Packet(b"g", False), Packet(b"g", False)]


def test_a_packet_that_is_cut_off_by_the_next():
    assert Receiver().feed(b"$m123$g#67") == [Packet(b"g", True)]


def test_control_c_within_a_packet_is_data():
    assert Receiver().feed(frame(b"X0,1:\x03")) == [Packet(b"X0,1:\x03", True)]


def test_a_packet_without_an_end_takes_no_memory():
    receiver = Receiver()
    assert receiver.feed(b"$" + b"a" * (LONGEST + 1000)) == []
    (packet,) = receiver.feed(b"#00")
    assert len(packet.data) == LONGEST


@given(st.lists(st.binary(max_size=50)), st.integers(1, 7))
def test_any_data_arrives_in_any_pieces(parts, size):
    receiver = Receiver()
    stream = b"".join(frame(escape(part)) for part in parts)
    events = []
    for at in range(0, len(stream), size):
        events += receiver.feed(stream[at : at + size])
    assert [unescape(event.data) for event in events] == parts
    assert all(event.sound for event in events)


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data):
    receiver = Receiver()
    receiver.feed(data)
    assert receiver.feed(b"###" + frame(b"g"))[-1] == Packet(b"g", True)
    unescape(data)
