"""One TCP connection: against another of the same make over a cable that loses, and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.machine.net.tcp import (
    ACK,
    ACK_DELAY,
    CLOSED,
    ESTABLISHED,
    FIN,
    PSH,
    RST,
    SYN,
    TRIES,
    Connection,
    Segment,
)

ROOM = 40000


class Host:
    """What is behind a connection: what it sends, what it got, how much it takes at once."""

    def __init__(self, takes=1 << 30):
        self.got = bytearray()
        self.takes = takes

    def deliver(self, data):
        count = min(self.takes, len(data))
        self.got += data[:count]
        return count


class Wire:
    """Two connections and the segments between them; `lost(n)` says what happens to the n-th."""

    def __init__(
        self, lost=lambda number: False, isn=0xFFFF_FF00, mtus=(1500, 1500), takes=1 << 30
    ):
        self.time = 0.0
        self.lost = lost
        self.sent = 0
        self.queue = []
        self.isn, self.mtus = isn, mtus
        self.hosts = Host(takes), Host(takes)
        self.ends = [None, None]
        self.ends[0] = self.make(0, None)

    def make(self, side, syn):
        def emit(seq, ack, flags, window, options, payload):
            self.sent += 1
            assert len(payload) + 40 <= min(self.mtus)
            if not self.lost(self.sent):
                mss = int.from_bytes(options[2:4], "big") if options else None
                scale = options[7] if len(options) == 8 else None
                segment = Segment(seq, ack, flags, window, memoryview(payload), mss, scale)
                self.queue.append((1 - side, segment))

        return Connection(
            emit, self.hosts[side].deliver, lambda: ROOM, lambda: self.time,
            self.isn + side, self.mtus[side], syn,
        )  # fmt: skip

    def pump(self):
        """Carry segments until there are none."""
        while self.queue:
            side, segment = self.queue.pop(0)
            if self.ends[side] is None:
                if segment.flags & SYN:
                    self.ends[side] = self.make(side, segment)
                    self.ends[side].connected()
                continue
            self.ends[side].segment(segment)
            if not self.queue:
                for end in self.ends:
                    if end is not None:
                        end.flush()

    def wait(self):
        """Let time pass to the next deadline."""
        deadlines = [end.deadline for end in self.ends if end and end.deadline is not None]
        assert deadlines, "both wait for ever"
        self.time = max(self.time, min(deadlines))
        for end in self.ends:
            if end and end.deadline is not None and end.deadline <= self.time:
                end.tick()


def exchange(wire, texts):
    """Both ends say their text and then close; return when both are closed."""
    left = [memoryview(text) for text in texts]
    ended = [False, False]
    for _ in range(3000):
        wire.pump()
        if all(end is not None and end.closed for end in wire.ends):
            return
        moved = False
        for side, end in enumerate(wire.ends):
            if end is None or end.state != ESTABLISHED:
                continue
            count = min(end.wanted(), len(left[side]))
            if count:
                end.supply(bytes(left[side][:count]))
                left[side] = left[side][count:]
                moved = True
            elif not left[side] and not ended[side]:
                ended[side] = moved = True
                end.supply_end()
            if end.inbox:
                moved = True
            end.delivered()
            end.flush()
        if not moved and not wire.queue and not all(e and e.closed for e in wire.ends):
            wire.wait()
    raise AssertionError("no end")


TEXTS = bytes(range(256)) * 900, bytes(range(255, -1, -1)) * 300


@pytest.mark.parametrize("mtus", [(1500, 1500), (65520, 65520), (65520, 1500), (576, 9000)])
@pytest.mark.parametrize("takes", [1 << 30, 1000])
def test_both_say_all_and_close(mtus, takes):
    wire = Wire(mtus=mtus, takes=takes)
    exchange(wire, TEXTS)
    assert (wire.hosts[1].got, wire.hosts[0].got) == TEXTS
    assert not any(end.aborted for end in wire.ends)
    assert wire.time == 0.0, "nothing was lost, so nobody had to wait"


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.integers(1, 200)),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(max_size=9000),
    st.integers(0, 120_000),
)
def test_what_is_lost_is_sent_again(lost, isn, text, size):
    wire = Wire(lambda number: number in lost and number % 5 != 0, isn)
    exchange(wire, (text, bytes(size)))
    assert wire.hosts[1].got == text and wire.hosts[0].got == bytes(size)
    assert not any(end.aborted for end in wire.ends)


def test_one_loss_in_a_stream_needs_no_timeout():
    wire = Wire(lambda number: number == 12)
    exchange(wire, TEXTS)
    assert wire.hosts[1].got == TEXTS[0]
    assert wire.time == 0.0


def test_a_peer_that_is_gone_is_given_up():
    wire = Wire(lambda number: number > 3)
    wire.pump()
    wire.ends[0].supply(b"hello")
    for _ in range(TRIES + 1):
        wire.wait()
    assert wire.ends[0].closed and wire.ends[0].aborted and wire.ends[0].deadline is None
    assert 30 < wire.time < 120


def test_nobody_accepts():
    wire = Wire(lambda number: True)
    for _ in range(TRIES + 1):
        wire.wait()
    assert wire.ends[0].state == CLOSED


class ByHand:
    """A connection established with a guest that is a list of calls."""

    def __init__(self, window=1000, scale=0, mss=1460, takes=1 << 30):
        self.out = []
        self.time = 0.0
        self.host = Host(takes)
        syn = Segment(1000, 0, SYN, window, memoryview(b""), mss, scale)
        self.connection = Connection(
            lambda *args: self.out.append(args), self.host.deliver, lambda: 5000,
            lambda: self.time, 0, 1500, syn,
        )  # fmt: skip
        assert self.said() == []  # nothing before the host's side is connected
        self.connection.connected()
        assert self.said() == [(0, 1001, SYN | ACK, b"")]
        self.send(1001, 1, ACK, window=window)
        assert self.said() == []

    def send(self, seq, ack, flags, data=b"", window=1000):
        self.connection.segment(Segment(seq, ack, flags, window, memoryview(data)))

    def said(self):
        self.connection.flush()
        said, self.out = self.out, []
        return [(seq, ack, flags, payload) for seq, ack, flags, _, _, payload in said]


def test_out_of_order_is_not_taken_but_answered():
    guest = ByHand()
    guest.send(1011, 1, ACK, b"later")
    assert guest.said() == [(1, 1001, ACK, b"")]
    guest.send(1001, 1, ACK, b"0123456789")
    assert guest.said() == [(1, 1011, ACK, b"")]
    guest.send(1006, 1, ACK, b"56789later")
    assert guest.said() == [(1, 1016, ACK, b"")]
    assert guest.host.got == b"0123456789later"


def test_what_the_guest_repeats_is_taken_once():
    guest = ByHand()
    for _ in range(2):
        guest.send(1001, 1, ACK, b"once")
        assert guest.said() == [(1, 1005, ACK, b"")]
    assert guest.host.got == b"once"


def test_no_more_than_the_window_is_taken_and_no_more_is_announced():
    guest = ByHand(takes=0)
    guest.send(1001, 1, ACK, bytes(9000))
    guest.connection.flush()
    assert [(ack, window) for _, ack, _, window, _, _ in guest.out] == [(6001, 0)]
    assert len(guest.connection.inbox) == 5000
    guest.out = []
    guest.host.takes = 1 << 30
    guest.connection.delivered()
    guest.connection.flush()
    assert [(ack, window) for _, ack, _, window, _, _ in guest.out] == [(6001, 5000 >> 7)]


def test_a_closed_window_is_probed_with_a_byte():
    guest = ByHand(window=0)
    guest.connection.supply(b"abc")
    assert guest.said() == []
    for _ in range(30):  # more often than TRIES: the guest answers
        guest.time = guest.connection.deadline
        guest.connection.tick()
        assert guest.said() == [(1, 1001, ACK, b"a")]
        guest.send(1001, 1, ACK, window=0)
    guest.send(1001, 1, ACK, window=10)
    guest.time += 60
    guest.connection.tick()
    assert b"".join(payload for *_, payload in guest.said())[-3:] == b"abc"


def test_half_closed_by_the_guest():
    guest = ByHand()
    guest.send(1001, 1, ACK | FIN, b"bye")
    assert guest.said() == [(1, 1005, ACK, b"")]
    assert guest.connection.ended
    guest.connection.supply(b"still here")
    guest.connection.supply_end()
    assert guest.said() == [
        (1, 1005, ACK | PSH, b"still here"),
        (11, 1005, ACK | FIN, b""),
    ]
    guest.send(1005, 12, ACK)
    assert guest.connection.closed and not guest.connection.aborted


def test_half_closed_by_the_host():
    guest = ByHand()
    guest.connection.supply_end()
    assert guest.said() == [(1, 1001, ACK | FIN, b"")]
    guest.send(1001, 2, ACK, b"one more")
    assert guest.said() == [(2, 1009, ACK, b"")]
    assert not guest.connection.closed
    guest.send(1009, 2, ACK | FIN)
    assert guest.connection.closed
    assert guest.said()[-1] == (2, 1010, ACK, b"")


def in_mid_connection():
    """The first answer after the handshake is at once: it tells of the whole window."""
    guest = ByHand()
    guest.send(1001, 1, ACK, b"first")
    assert acknowledged(guest) == [1006]
    return guest


def acknowledged(guest):
    guest.connection.acknowledge()
    said, guest.out = guest.out, []
    return [ack for _, ack, *_ in said]


def test_the_acknowledgement_of_little_waits_a_moment():
    """So that Nagle's algorithm in the guest gathers what a program writes in small pieces."""
    guest = in_mid_connection()
    guest.send(1006, 1, ACK, b"little")
    assert acknowledged(guest) == []
    assert guest.connection.deadline == ACK_DELAY
    guest.time = ACK_DELAY / 2
    guest.send(1012, 1, ACK, b"more")
    assert acknowledged(guest) == []
    assert guest.connection.deadline == ACK_DELAY  # it is not put off again
    guest.time = ACK_DELAY
    guest.connection.tick()
    assert [ack for _, ack, *_ in guest.out] == [1016]
    assert guest.connection.deadline is None


def test_the_acknowledgement_of_a_whole_segment_does_not_wait():
    guest = in_mid_connection()
    guest.send(1006, 1, ACK, bytes(1000))
    assert acknowledged(guest) == []
    guest.send(2006, 1, ACK, bytes(460))
    assert acknowledged(guest) == [2466]
    assert guest.connection.deadline is None


def test_the_acknowledgement_of_an_end_does_not_wait():
    guest = in_mid_connection()
    guest.send(1006, 1, ACK | FIN, b"bye")
    assert acknowledged(guest) == [1010]


def test_an_answer_carries_the_acknowledgement():
    guest = in_mid_connection()
    guest.send(1006, 1, ACK, b"question")
    assert acknowledged(guest) == []
    guest.connection.supply(b"answer")
    assert acknowledged(guest) == [1014]
    guest.time = 1.1 * ACK_DELAY
    guest.connection.tick()
    assert guest.out == []
    assert guest.connection.deadline > 100 * ACK_DELAY  # for the answer to be sent again


def test_a_window_that_opens_again_is_told_of_at_once():
    guest = ByHand(takes=0)
    guest.send(1001, 1, ACK, bytes(9000))
    assert acknowledged(guest) == [6001]
    guest.host.takes = 1 << 30
    guest.connection.delivered()
    assert acknowledged(guest) == [6001]


@pytest.mark.parametrize("seq, dies, said", [
    (1001, True, []), (1002, False, [(1, 1001, ACK, b"")]), (1000, False, []),
    (1001 + 6000, False, []),
])  # fmt: skip
def test_a_reset_has_to_be_the_next(seq, dies, said):
    """RFC 5961, 3.2."""
    guest = ByHand()
    guest.send(seq, 1, RST)
    assert guest.connection.closed == dies
    assert guest.said() == said


def test_an_acknowledgement_of_what_was_never_sent():
    guest = ByHand()
    guest.send(1001, 500, ACK, b"data")
    assert guest.said() == [(1, 1001, ACK, b"")]
    assert guest.host.got == b""


def test_a_guest_without_options_gets_small_segments_and_windows():
    syn = Segment(1000, 0, SYN, 0xFFFF, memoryview(b""), None, None)
    out = []
    connection = Connection(
        lambda *args: out.append(args), lambda data: 0, lambda: 1 << 20, lambda: 0.0, 0, 65520, syn
    )
    connection.connected()
    assert out[0][3:5] == (0xFFFF, bytes([2, 4]) + (65480).to_bytes(2, "big"))
    connection.segment(Segment(1001, 1, ACK, 0xFFFF, memoryview(b"")))
    connection.supply(bytes(1000))
    assert [len(args[5]) for args in out[1:]] == [536, 464]
    assert {args[3] for args in out[1:]} == {0xFFFF}


@pytest.mark.slow
@settings(max_examples=200)
@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(990, 1020) | st.integers(0, 0xFFFF_FFFF),
            st.integers(-5, 60).map(lambda n: n & 0xFFFF_FFFF) | st.integers(0, 0xFFFF_FFFF),
            st.integers(0, 63),
            st.binary(max_size=30),
            st.integers(0, 0xFFFF),
            st.sampled_from(["", "supply", "end", "tick", "delivered", "flush", "abort"]),
        ),
        max_size=25,
    ),
)
def test_any_segments(mine, steps):
    """No exception, and never more held than there is room for."""
    syn = None if mine else Segment(1000, 0, SYN, 100, memoryview(b""), 0, 200)
    out = []
    connection = Connection(
        lambda *args: out.append(args), lambda data: len(data) // 2, lambda: 100, lambda: 0.0,
        0, 1500, syn,
    )  # fmt: skip
    connection.connected()
    for seq, ack, flags, data, window, then in steps:
        connection.segment(Segment(seq, ack, flags, window, memoryview(data), window, flags))
        if then == "supply" and connection.wanted():
            connection.supply(bytes(connection.wanted()))
        elif then == "end" and connection.wanted():
            connection.supply_end()
        elif then == "tick" and connection.deadline is not None:
            connection.tick()
        elif then == "delivered":
            connection.delivered()
        elif then == "flush":
            connection.flush()
        elif then == "abort":
            connection.abort()
        assert len(connection.inbox) <= 100 and connection.wanted() <= 100
        assert all(len(args[5]) <= 1460 for args in out)
        if connection.closed:
            assert connection.deadline is None and not connection.ack_due
