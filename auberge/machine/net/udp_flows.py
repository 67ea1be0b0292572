"""UDP: a socket for each pair of ports that the guest uses, until it is quiet."""

from collections.abc import Sequence
from socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

from auberge.machine.net.forward import Forward
from auberge.machine.net.house import House
from auberge.machine.net.reactor import IN
from auberge.refusal import Refusal

MOST = 128
"""Flows at a time; the one that was quiet the longest makes way."""

QUIET = 120.0
"""Seconds after which a flow is forgotten (RFC 4787, 4.3: no less than two minutes)."""

QUIET_DNS = 10.0
_DNS = 53
_LONGEST = 65507
_AT_ONCE = 16  # datagrams read in one turn

Key = tuple[int, bytes, int]
"""The guest's port, and the address and port that it talks to."""


class _Flow:
    """A way to the host's side; a forward's peers share the forward's socket."""

    __slots__ = ("key", "sock", "peer", "answered", "used")

    def __init__(self, key: Key, sock: socket, peer: tuple[str, int] | None, used: float) -> None:
        self.key = key
        self.sock = sock
        self.peer = peer
        self.answered = False
        self.used = used


class UdpFlows:
    """The UDP of one guest."""

    def __init__(self, house: House, forwards: Sequence[Forward]) -> None:
        self._house = house
        self._flows: dict[Key, _Flow] = {}  # the longest unused first
        self._listeners: list[tuple[Forward, socket]] = []
        self._sweeping = False
        for forward in forwards:
            if forward.udp:
                self._listen(forward)

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def ports(self) -> list[Forward]:
        """The forwards, with the host's ports as they are."""
        return [forward._replace(host=sock.getsockname()[1]) for forward, sock in self._listeners]

    def clear(self) -> None:
        """Forget every flow; forwards stay."""
        for flow in list(self._flows.values()):
            self._drop(flow)

    def close(self) -> None:
        """Give back every socket."""
        self.clear()
        for _, sock in self._listeners:
            self._house.reactor.forget(sock.fileno())
            sock.close()
        self._listeners = []

    def from_guest(self, source_port: int, address: bytes, port: int, data: memoryview) -> None:
        """The guest sends a datagram."""
        key = source_port, address, port
        flow = self._flows.get(key) or self._open(key)
        if flow is None:
            self._house.refuse()
            return
        self._use(flow)
        try:
            if flow.peer is None:
                flow.sock.send(data)
            else:
                flow.sock.sendto(data, flow.peer)
        except OSError:
            self._house.refuse()  # as on any network, a datagram may be lost

    def _open(self, key: Key) -> _Flow | None:
        _, address, port = key
        place = self._house.place(address, port)
        if place is None:
            return None
        family = AF_INET6 if ":" in place[0] else AF_INET
        try:
            sock = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        except OSError:
            return None
        try:
            sock.connect(place)
        except OSError:
            sock.close()
            return None
        flow = self._keep(_Flow(key, sock, None, self._house.reactor.now()))
        self._house.reactor.watch(sock.fileno(), IN, lambda events: self._ready(flow))
        return flow

    def _keep(self, flow: _Flow) -> _Flow:
        if len(self._flows) >= MOST:
            self._drop(next(iter(self._flows.values())))
        self._flows[flow.key] = flow
        if not self._sweeping:
            self._sweeping = True
            self._house.reactor.at(flow.used + QUIET_DNS, self._sweep)
        return flow

    def _use(self, flow: _Flow) -> None:
        flow.used = self._house.reactor.now()
        self._flows[flow.key] = self._flows.pop(flow.key)

    def _drop(self, flow: _Flow) -> None:
        del self._flows[flow.key]
        if flow.peer is None:
            self._house.reactor.forget(flow.sock.fileno())
            flow.sock.close()

    def _sweep(self) -> None:
        now = self._house.reactor.now()
        for flow in list(self._flows.values()):
            dns = flow.key[2] == _DNS
            if now - flow.used >= (QUIET_DNS if dns else QUIET):
                if dns and not flow.answered:
                    self._house.try_next_resolver()
                self._drop(flow)
        self._sweeping = bool(self._flows)
        if self._sweeping:
            self._house.reactor.at(now + QUIET_DNS, self._sweep)

    # -- from the host's side -------------------------------------------------------------------

    def _ready(self, flow: _Flow) -> None:
        guest_port, address, port = flow.key
        for _ in range(_AT_ONCE):
            try:
                data = flow.sock.recv(_LONGEST)
            except BlockingIOError:
                break
            except OSError:  # an ICMP message came: nobody there
                if port == _DNS:
                    self._house.try_next_resolver()
                break
            flow.answered = True
            self._house.send_udp(address, port, guest_port, data)
        self._use(flow)

    def _listen(self, forward: Forward) -> None:
        sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            sock.bind((forward.address, forward.host))
        except OSError as error:
            sock.close()
            raise Refusal(
                f"ports: {forward}: {error.strerror}; choose another port or address of this host"
            ) from None
        self._listeners.append((forward, sock))
        self._house.reactor.watch(
            sock.fileno(), IN, lambda events: self._arrived(sock, forward.guest)
        )

    def _arrived(self, sock: socket, guest_port: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, peer = sock.recvfrom(_LONGEST)
            except OSError:
                break
            key = guest_port, self._house.seen_as(peer[0]), peer[1]
            flow = self._flows.get(key)
            if flow is not None and flow.peer != peer:
                self._drop(flow)
                flow = None
            if flow is None:
                flow = self._keep(_Flow(key, sock, peer, self._house.reactor.now()))
            flow.answered = True
            self._use(flow)
            self._house.send_udp(key[1], peer[1], guest_port, data)
