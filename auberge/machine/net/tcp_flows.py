"""TCP: the guest's connections ended here, each continued by a socket of the host."""

import errno
from collections.abc import Callable, Sequence
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SHUT_WR,
    SO_ERROR,
    SO_LINGER,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    socket,
)
from struct import Struct

from auberge.machine.net.forward import Forward
from auberge.machine.net.house import House
from auberge.machine.net.packet import PROTOCOL_TCP, pseudo_sum
from auberge.machine.net.reactor import IN, OUT
from auberge.machine.net.tcp import (
    ACK,
    CONNECTING,
    FIN,
    MSS_OPTION,
    RST,
    SCALE_OPTION,
    SYN,
    Connection,
    Segment,
)
from auberge.machine.net.wall import GUEST
from auberge.refusal import Refusal

HEADER = Struct("!HHIIBBHHH")  # RFC 9293, 3.1
MOST = 384
"""Connections at a time; each has a descriptor, of the 1024 that a process commonly has."""

IDLE = 60.0
"""Seconds without traffic after which a connection makes way for a new one if there is no room."""

POOL = 64 << 20
"""Bytes that all connections together may hold back, in each direction."""

SHARE = 1 << 20
"""Bytes that one of them may."""

_PIECE = 1 << 18  # read from a socket at once
_BACKLOG = 64
_PAUSE = 1.0  # seconds until a host without free descriptors is asked again
_LINGER_NOT = b"\1\0\0\0\0\0\0\0"  # struct linger: closing resets

Key = tuple[int, bytes, int]
"""The guest's port, and the address and port of its peer."""


class _Flow:
    """A connection with the guest and the socket that it goes on in."""

    __slots__ = ("key", "sock", "connection", "used", "_flows", "_shut", "_broken", "_events",
                 "_alarm", "_end")  # fmt: skip

    def __init__(self, flows: "TcpFlows", key: Key, sock: socket, syn: Segment | None) -> None:
        self._flows = flows
        self.key = key
        self.sock = sock
        self.used = 0.0
        self._shut = self._broken = self._end = False
        self._events = 0
        self._alarm: float | None = None
        self.connection = Connection(
            self._emit, self._deliver, flows.share, flows.now, flows.isn(), flows.mtu, syn
        )

    def _emit(
        self, seq: int, ack: int, flags: int, window: int, options: bytes, payload: bytes
    ) -> None:
        guest_port, address, port = self.key
        self._flows.send(address, port, guest_port, seq, ack, flags, window, options, payload)

    def _deliver(self, data: memoryview) -> int:
        if self.connection.state == CONNECTING:
            return 0
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._broken = True
            return len(data)

    def ready(self, events: int) -> None:
        """The socket has something."""
        connection = self.connection
        self.used = self._flows.now()
        if connection.state == CONNECTING:
            if self.sock.getsockopt(SOL_SOCKET, SO_ERROR):
                self._broken = True
            else:
                connection.connected()
        else:
            if events & ~OUT:
                self._read()
            if events & OUT:
                connection.delivered()
        self.settle()

    def _read(self) -> None:
        size = min(self.connection.wanted(), _PIECE)
        if size <= 0 or self._end:
            return
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return
        except OSError:
            self._broken = True
            return
        if data:
            self.connection.supply(data)
        else:
            self._end = True
            self.connection.supply_end()

    def settle(self) -> None:
        """Do what the connection's state now asks for."""
        connection = self.connection
        if self._broken:
            connection.abort()
        connection.acknowledge()
        if connection.closed:
            self._flows.drop(self)
            return
        if connection.ended and not connection.inbox and not self._shut:
            self._shut = True
            try:
                self.sock.shutdown(SHUT_WR)
            except OSError:  # it was reset meanwhile
                connection.abort()
                self._flows.drop(self)
                return
        events = OUT if connection.inbox or connection.state == CONNECTING else 0
        if not self._end and connection.wanted() > 0:
            events |= IN
        self._watch(events)
        self._set_alarm()

    def _watch(self, events: int) -> None:
        if events == self._events:
            return
        self._events = events
        reactor = self._flows.reactor
        if events:
            reactor.watch(self.sock.fileno(), events, self.ready)
        else:  # a hung-up socket would be ready for ever
            reactor.forget(self.sock.fileno())

    def _set_alarm(self) -> None:
        deadline = self.connection.deadline
        if deadline is not None and (self._alarm is None or deadline < self._alarm):
            self._alarm = deadline
            self._flows.reactor.at(deadline, lambda: self._ring(deadline))

    def _ring(self, alarm: float) -> None:
        if self._alarm == alarm:
            self._alarm = None
        if self.connection.closed:
            return
        deadline = self.connection.deadline
        if deadline is not None and deadline <= self._flows.now():
            self.connection.tick()
            self.settle()
        else:
            self._set_alarm()


class TcpFlows:
    """The TCP of one guest."""

    def __init__(
        self, house: House, forwards: Sequence[Forward], entropy: Callable[[int], bytes]
    ) -> None:
        self._house = house
        self._entropy = entropy
        self.reactor = house.reactor
        self.now = house.reactor.now
        self._flows: dict[Key, _Flow] = {}
        self._touched: dict[_Flow, None] = {}
        self._listeners: list[tuple[Forward, socket]] = []
        for forward in forwards:
            if not forward.udp:
                self._listen(forward)

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def ports(self) -> list[Forward]:
        """The forwards, with the host's ports as they are."""
        return [forward._replace(host=sock.getsockname()[1]) for forward, sock in self._listeners]

    def clear(self) -> None:
        """The guest is another: reset every connection on the host's side; forwards stay."""
        for flow in list(self._flows.values()):
            flow.connection.die()
            self.drop(flow)

    def close(self) -> None:
        """Give back every socket."""
        self.clear()
        for _, sock in self._listeners:
            self.reactor.forget(sock.fileno())
            sock.close()
        self._listeners = []

    # -- what a flow needs ----------------------------------------------------------------------

    @property
    def mtu(self) -> int:
        """The longest packet that the guest takes."""
        return self._house.mtu

    def share(self) -> int:
        """How many bytes a connection may hold back in each direction."""
        return min(SHARE, POOL // max(1, len(self._flows)))

    def isn(self) -> int:
        """An initial sequence number that nobody can guess (RFC 9293, 3.4.1)."""
        return int.from_bytes(self._entropy(4), "big")

    def drop(self, flow: _Flow) -> None:
        """Forget a flow that is over."""
        if self._flows.get(flow.key) is flow:
            del self._flows[flow.key]
            self.reactor.forget(flow.sock.fileno())
            if flow.connection.aborted:
                flow.sock.setsockopt(SOL_SOCKET, SO_LINGER, _LINGER_NOT)
            flow.sock.close()
        self._touched.pop(flow, None)

    def send(
        self, source: bytes, source_port: int, port: int, seq: int, ack: int, flags: int,
        window: int, options: bytes, payload: bytes,
    ) -> None:  # fmt: skip
        """Send the guest a segment."""
        size = HEADER.size + len(options)
        total = pseudo_sum(source, GUEST, PROTOCOL_TCP, size + len(payload))
        header = HEADER.pack(source_port, port, seq, ack, size // 4 << 4, flags, window, total, 0)
        self._house.send_ipv4(PROTOCOL_TCP, source, header + options, payload)

    # -- from the guest -------------------------------------------------------------------------

    def from_guest(self, address: bytes, packet: memoryview) -> None:
        """The guest sends a segment."""
        if len(packet) < HEADER.size:
            return
        guest_port, port, seq, ack, offset, flags, window, _, _ = HEADER.unpack_from(packet)
        start = offset >> 4 << 2
        if not HEADER.size <= start <= len(packet):
            return
        mss = scale = None
        if flags & SYN:
            mss, scale = _options(packet[HEADER.size : start])
        segment = Segment(seq, ack, flags, window, packet[start:], mss, scale)
        key = guest_port, address, port
        flow = self._flows.get(key)
        if flow is None and flags & (SYN | ACK | RST) == SYN:
            flow = self._open(key, segment)
        if flow is None:
            if not flags & RST:
                self._reset(key, segment)
            return
        flow.used = self.now()
        flow.connection.segment(segment)
        self._touched[flow] = None

    def flush(self) -> None:
        """The guest has no more to send just now."""
        touched, self._touched = self._touched, {}
        for flow in touched:
            flow.settle()

    def _reset(self, key: Key, segment: Segment) -> None:
        """RFC 9293, 3.10.7.1."""
        guest_port, address, port = key
        self._house.refuse()
        if segment.flags & ACK:
            seq, ack, flags = segment.ack, 0, RST
        else:
            length = len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
            seq, ack, flags = 0, segment.seq + length & 0xFFFF_FFFF, RST | ACK
        self.send(address, port, guest_port, seq, ack, flags, 0, b"", b"")

    def _open(self, key: Key, syn: Segment) -> _Flow | None:
        place = self._house.place(key[1], key[2])
        if place is None or not self._has_room():
            return None
        try:
            sock = socket(
                AF_INET6 if ":" in place[0] else AF_INET,
                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
            )
        except OSError:
            return None
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # the guest has its own Nagle
        if sock.connect_ex(place) not in (0, errno.EINPROGRESS):
            sock.close()
            return None
        return self._add(_Flow(self, key, sock, syn))

    def _add(self, flow: _Flow) -> _Flow:
        flow.used = self.now()
        self._flows[flow.key] = flow
        self._touched[flow] = None
        return flow

    def _has_room(self) -> bool:
        if len(self._flows) < MOST:
            return True
        oldest = min(self._flows.values(), key=lambda flow: flow.used)
        if self.now() - oldest.used < IDLE:
            return False
        oldest.connection.abort()
        self.drop(oldest)
        return True

    # -- from the host's side -------------------------------------------------------------------

    def _listen(self, forward: Forward) -> None:
        sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.bind((forward.address, forward.host))
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            raise Refusal(
                f"ports: {forward}: {error.strerror}; choose another port or address of this host"
            ) from None
        self._listeners.append((forward, sock))
        self._watch(sock, forward.guest)

    def _watch(self, listener: socket, guest_port: int) -> None:
        if listener.fileno() >= 0:
            self.reactor.watch(
                listener.fileno(), IN, lambda events: self._accept(listener, guest_port)
            )

    def _accept(self, listener: socket, guest_port: int) -> None:
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is free; asking again at once would be for ever
            self.reactor.forget(listener.fileno())
            self.reactor.at(self.now() + _PAUSE, lambda: self._watch(listener, guest_port))
            return
        sock.setblocking(False)
        key = guest_port, self._house.seen_as(peer[0]), peer[1]
        if key in self._flows or not self._has_room():
            sock.setsockopt(SOL_SOCKET, SO_LINGER, _LINGER_NOT)
            sock.close()
            return
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._add(_Flow(self, key, sock, None))
        self.flush()


def _options(data: memoryview) -> tuple[int | None, int | None]:
    """The maximum segment size and window scale of a SYN (RFC 9293, 3.2)."""
    mss = scale = None
    at = 0
    while at < len(data) and data[at] != 0:
        if data[at] == 1:
            at += 1
            continue
        if at + 2 > len(data) or data[at + 1] < 2 or at + data[at + 1] > len(data):
            break
        kind, length = data[at], data[at + 1]
        if kind == MSS_OPTION and length == 4:
            mss = int.from_bytes(data[at + 2 : at + 4], "big")
        elif kind == SCALE_OPTION and length == 3:
            scale = data[at + 2]
        at += length
    return mss, scale
