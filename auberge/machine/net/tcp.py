"""One TCP connection with the guest, seen from the host's end of the cable (RFC 9293, 7323).

There is no socket here: bytes and segments come in by calls and go out by calls. The cable between
guest and host loses a segment only when the guest has no buffer for it, so the guest's segments
come in order or not at all, and congestion control has nothing to control.
"""

from collections.abc import Callable
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

MSS_OPTION, SCALE_OPTION = 2, 3
DEFAULT_MSS = 536  # RFC 9293, 3.7.1
LEAST_MSS = 88  # what Linux puts up with; less would only cost time
OUR_SCALE = 7
MOST_SCALE = 14  # RFC 7323, 2.3

FIRST_TIMEOUT, LONGEST_TIMEOUT = 0.3, 10.0
TRIES = 9
DUPLICATES = 3

ACK_DELAY = 0.001
"""Seconds that an acknowledgement of little may wait (RFC 9293, 3.8.6.3), so that a guest's program
that writes little at a time is held back by Nagle's algorithm until it has written much: answered
at once, it would send a segment for each write."""

_MASK = 0xFFFF_FFFF

# The host's side is being connected; the guest's handshake is under way; then both.
CONNECTING, SYN_RECEIVED, SYN_SENT, ESTABLISHED, CLOSED = range(5)


class Segment(NamedTuple):
    """A segment from the guest; `mss` and `scale` are its options, if it has them."""

    seq: int
    ack: int
    flags: int
    window: int
    payload: memoryview
    mss: int | None = None
    scale: int | None = None


Emit = Callable[[int, int, int, int, bytes, bytes], None]
"""Sends (seq, ack, flags, window, options, payload) to the guest."""


def ahead(a: int, b: int) -> int:
    """How far `a` is ahead of `b` in sequence space; negative if it is behind."""
    return ((a - b + 0x8000_0000) & _MASK) - 0x8000_0000


class Connection:
    """The host's end of a connection with the guest.

    `deliver` is offered what the guest sends and says how much it took; the rest waits in `inbox`.
    `room` says how many bytes may wait in each direction. After any call: `closed` says whether
    all is over, `ended` that the guest will send no more, `deadline` when `tick` is to be called,
    `ack_due` that `acknowledge` or `flush` has something to tell.
    """

    __slots__ = (
        "state", "inbox", "ended", "ack_due", "aborted", "_emit", "_deliver", "_room", "_now",
        "_mtu", "_mss", "_window", "_scale", "_our_scale", "_una", "_nxt", "_max", "_rcv_nxt",
        "_edge", "_out", "_out_ended", "_fin_acked", "_timeout", "_tries", "_duplicates",
        "_recover", "_first", "_told", "_acked", "_ack_at", "_resend_at",
    )  # fmt: skip

    def __init__(
        self,
        emit: Emit,
        deliver: Callable[[memoryview], int],
        room: Callable[[], int],
        now: Callable[[], float],
        isn: int,
        mtu: int,
        syn: Segment | None,
    ) -> None:
        """`syn` is the guest's; without one, the guest is asked to accept a connection."""
        self._emit = emit
        self._deliver = deliver
        self._room = room
        self._now = now
        self._mtu = mtu
        self._mss = DEFAULT_MSS
        self._window = 0
        self._scale = 0
        self._our_scale = OUR_SCALE
        self._first = isn & _MASK
        self._una = self._nxt = self._max = self._recover = self._first
        self._rcv_nxt = self._edge = self._told = self._acked = 0
        self._out = bytearray()
        self._out_ended = False
        self._fin_acked = False
        self._timeout = FIRST_TIMEOUT
        self._tries = 0
        self._duplicates = 0
        self.inbox = bytearray()
        self.ended = False
        self.aborted = False
        self.ack_due = False
        self._ack_at: float | None = None
        self._resend_at: float | None = None
        if syn is None:
            self.state = SYN_SENT
            self._send_syn()
        else:
            self.state = CONNECTING
            self._take_syn(syn)

    @property
    def closed(self) -> bool:
        """Whether there is nothing left to do for either side."""
        return self.state == CLOSED

    @property
    def deadline(self) -> float | None:
        """When `tick` is to be called, if time matters."""
        if self._ack_at is None or self._resend_at is None:
            return self._resend_at if self._ack_at is None else self._ack_at
        return min(self._ack_at, self._resend_at)

    # -- the host's side ------------------------------------------------------------------------

    def connected(self) -> None:
        """The host's socket is connected: accept the guest's connection."""
        if self.state == CONNECTING:
            self.state = SYN_RECEIVED
            self._send_syn()

    def wanted(self) -> int:
        """How many bytes `supply` may be given now."""
        if self.state != ESTABLISHED or self._out_ended:
            return 0
        return max(0, self._room() - len(self._out))

    def supply(self, data: bytes) -> None:
        """Send `data` to the guest."""
        self._out += data
        self._transmit()

    def supply_end(self) -> None:
        """There is no more for the guest."""
        self._out_ended = True
        self._transmit()

    def delivered(self) -> None:
        """`deliver` may take something again."""
        if self.inbox:
            with memoryview(self.inbox) as view:
                count = self._deliver(view)
            del self.inbox[:count]
        if self.state == ESTABLISHED and self._window_grew():
            self.ack_due = True
        self._finish()

    def _window_grew(self) -> bool:
        """RFC 9293, 3.8.6.2.2: whether by enough to tell of it."""
        free = ahead(self._edge_now(), self._told)
        return free >= min(self._room() // 2, 2 * self._mtu)

    def abort(self) -> None:
        """Reset the connection, if it is not over."""
        if self.state != CLOSED:
            flags = RST | ACK if self.state != SYN_SENT else RST
            self._emit(self._nxt, self._rcv_nxt, flags, 0, b"", b"")
            self.die()

    def die(self) -> None:
        """It is over, and the guest is told nothing."""
        self.aborted = True
        self._over()

    def _over(self) -> None:
        self.state = CLOSED
        self._resend_at = self._ack_at = None
        self.ack_due = False

    def _finish(self) -> None:
        if self.ended and self._fin_acked and not self.inbox and self.state == ESTABLISHED:
            self.flush()
            self._over()

    # -- from the guest -------------------------------------------------------------------------

    def segment(self, segment: Segment) -> None:
        """The guest sent `segment` (RFC 9293, 3.10.7)."""
        if self.state == CLOSED:
            return
        flags = segment.flags
        if self.state == SYN_SENT:
            self._answer_to_syn(segment)
            return
        if flags & RST:
            # RFC 5961, 3.2: only the exact number resets; another in the window is questioned
            distance = ahead(segment.seq, self._rcv_nxt)
            if distance == 0:
                self.die()
            elif 0 < distance <= ahead(self._edge, self._rcv_nxt):
                self._ack()
            return
        if flags & SYN:
            if self.state == SYN_RECEIVED:
                self._send_syn()
            elif self.state == ESTABLISHED:
                self._ack()
            return
        if not flags & ACK or self.state == CONNECTING:
            return
        if not self._acknowledge(segment):
            return
        if segment.payload or flags & FIN:
            self._take(segment)
        if self.state == ESTABLISHED:
            self._transmit()
            self._finish()

    def _answer_to_syn(self, segment: Segment) -> None:
        acceptable = segment.flags & ACK and segment.ack == self._first + 1 & _MASK
        if segment.flags & RST:
            if acceptable:
                self.die()
        elif segment.flags & SYN and acceptable:
            self._take_syn(segment)
            self._una = self._nxt = self._max = segment.ack
            self._established()
            self._ack()

    def _take_syn(self, segment: Segment) -> None:
        most = max(LEAST_MSS, self._mtu - 40)
        self._mss = min(max(segment.mss or DEFAULT_MSS, LEAST_MSS), most)
        if segment.scale is None:
            self._our_scale = 0
        else:
            self._scale = min(segment.scale, MOST_SCALE)
        self._window = segment.window  # RFC 7323, 2.2: never scaled in a SYN
        self._rcv_nxt = self._edge = self._told = self._acked = segment.seq + 1 & _MASK

    def _established(self) -> None:
        self.state = ESTABLISHED
        self._recover = self._una
        self._progress()

    def _acknowledge(self, segment: Segment) -> bool:
        """Take in the acknowledgement and window; whether the segment may go on."""
        acked = ahead(segment.ack, self._una)
        in_flight = ahead(self._max, self._una)
        if self.state == SYN_RECEIVED:
            if acked != 1:
                self._emit(segment.ack, 0, RST, 0, b"", b"")
                return False
            self._una = self._nxt = self._max = segment.ack
            self._window = segment.window << self._scale
            self._established()
            return True
        if acked > in_flight:
            self._ack()  # of what was never sent
            return False
        window = segment.window << self._scale
        if acked > 0:
            data = min(acked, len(self._out))
            del self._out[:data]
            self._fin_acked = acked > data
            self._una = segment.ack
            if ahead(self._nxt, self._una) < 0:
                self._nxt = self._una
            self._duplicates = 0
            self._progress()
            if ahead(self._recover, self._una) > 0:
                self._resend_first()  # RFC 6582: the next hole
        elif acked == 0:
            self._tries = 0
            if in_flight and window == self._window and not segment.payload and window:
                self._duplicates += 1
                if self._duplicates == DUPLICATES and ahead(self._una, self._recover) >= 0:
                    self._recover = self._max
                    self._resend_first()
        if acked >= 0:
            self._window = window
        return True

    def _take(self, segment: Segment) -> None:
        payload = segment.payload
        behind = ahead(self._rcv_nxt, segment.seq)
        fin = bool(segment.flags & FIN)
        if behind < 0 or self.ended or behind > len(payload):
            self._ack()  # a hole before it, or nothing new: say again what is expected
            return
        new = payload[behind:]
        space = max(0, ahead(self._edge_now(), self._rcv_nxt))
        if len(new) > space:
            new, fin = new[:space], False
        self._rcv_nxt = self._rcv_nxt + len(new) & _MASK
        self.ack_due = True
        if new:
            taken = 0 if self.inbox else self._deliver(new)
            self.inbox += new[taken:]
        if fin:
            self._rcv_nxt = self._rcv_nxt + 1 & _MASK
            self.ended = True

    # -- to the guest ---------------------------------------------------------------------------

    def _edge_now(self) -> int:
        """The right edge of the receive window, which never moves left (RFC 9293, 3.8.6)."""
        edge = self._rcv_nxt + max(0, self._room() - len(self.inbox)) & _MASK
        if ahead(edge, self._edge) > 0:
            self._edge = edge
        return self._edge

    def _window_field(self) -> int:
        open_ = max(0, ahead(self._edge_now(), self._rcv_nxt))
        field = min(open_ >> self._our_scale, 0xFFFF)
        self._told = self._rcv_nxt + (field << self._our_scale) & _MASK
        self._acked = self._rcv_nxt
        self._ack_at = None
        self.ack_due = False
        return field

    def _ack(self) -> None:
        self._emit(self._nxt, self._rcv_nxt, ACK, self._window_field(), b"", b"")

    def flush(self) -> None:
        """Acknowledge what the guest sent, unless something sent meanwhile did."""
        if self.ack_due:
            self._ack()

    def acknowledge(self) -> None:
        """As `flush`, at once if it is of a whole segment, or within `ACK_DELAY`."""
        if not self.ack_due:
            return
        if self._is_much():
            self._ack()
        elif self._ack_at is None:
            self._ack_at = self._now() + ACK_DELAY

    def _is_much(self) -> bool:
        whole = ahead(self._rcv_nxt, self._acked) >= self._mtu - 40
        return whole or self.ended or self._window_grew()

    def _send_syn(self) -> None:
        mss = max(LEAST_MSS, self._mtu - 40)
        options = bytes([MSS_OPTION, 4]) + mss.to_bytes(2, "big")
        flags = SYN
        scaled = self.state == SYN_SENT or self._our_scale
        if scaled:
            options += bytes([1, SCALE_OPTION, 3, OUR_SCALE])
        if self.state != SYN_SENT:
            flags |= ACK
        window = min(max(0, ahead(self._edge_now(), self._rcv_nxt)), 0xFFFF)
        self._emit(self._first, self._rcv_nxt, flags, window, options, b"")
        self._nxt = self._max = self._first + 1 & _MASK
        self._arm()

    def _transmit(self, least: int = 0) -> None:
        """Send what the window admits; `least` bytes even if it admits fewer."""
        if self.state != ESTABLISHED:
            return
        out = self._out
        while True:
            offset = ahead(self._nxt, self._una)
            left = len(out) - offset
            admitted = max(self._window - offset, least)
            size = min(left, admitted, self._mss)
            if size > 0:
                # RFC 9293, 3.8.6.2.1: no small segments only because the window is small
                if size < min(left, self._mss) and offset and not least:
                    break
                flags = ACK | PSH if size == left else ACK
                self._send(flags, bytes(out[offset : offset + size]))
                least = 0
            elif left == 0 and self._out_ended and not self._fin_acked:
                self._send(ACK | FIN, b"")
                break
            else:
                break
        if self._resend_at is None and (out or self._out_ended and not self._fin_acked):
            self._arm()

    def _send(self, flags: int, payload: bytes) -> None:
        self._emit(self._nxt, self._rcv_nxt, flags, self._window_field(), b"", payload)
        self._nxt = self._nxt + len(payload) + (flags & FIN) & _MASK
        if ahead(self._nxt, self._max) > 0:
            self._max = self._nxt

    def _resend_first(self) -> None:
        size = min(len(self._out), self._mss, ahead(self._max, self._una))
        flags = ACK if size else ACK | FIN
        data = bytes(self._out[:size])
        self._emit(self._una, self._rcv_nxt, flags, self._window_field(), b"", data)

    # -- time -----------------------------------------------------------------------------------

    def _arm(self) -> None:
        self._resend_at = self._now() + self._timeout

    def _progress(self) -> None:
        self._tries = 0
        self._timeout = FIRST_TIMEOUT
        waits = self._out or self._out_ended and not self._fin_acked
        self._resend_at = None
        if waits:
            self._arm()

    def tick(self) -> None:
        """`deadline` has come: acknowledge, or send again what was not acknowledged (RFC 6298)."""
        now = self._now()
        if self._ack_at is not None and self._ack_at <= now:
            self._ack_at = None
            self.flush()
        if self._resend_at is not None and self._resend_at <= now:
            self._resend()

    def _resend(self) -> None:
        self._resend_at = None
        self._tries += 1
        self._timeout = min(2 * self._timeout, LONGEST_TIMEOUT)
        if self._tries > TRIES:
            self.abort()
        elif self.state in (SYN_SENT, SYN_RECEIVED):
            self._send_syn()
        elif self.state == ESTABLISHED:
            self._nxt = self._una
            self._recover = self._una
            # RFC 9293, 3.8.6.1: a closed window is probed with a byte
            self._transmit(least=1)
