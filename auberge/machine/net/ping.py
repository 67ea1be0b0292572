"""ICMP echo: the gateway answers itself; others are asked where the host lets a user ask.

Linux has ping sockets for that (icmp(7), net.ipv4.ping_group_range); where they are not allowed, a
guest's ping of another host stays unanswered.
"""

from socket import AF_INET, IPPROTO_ICMP, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

from auberge.machine.net.house import House
from auberge.machine.net.packet import (
    ECHO,
    ECHO_REPLY,
    ICMP,
    PROTOCOL_ICMP,
    checksum,
    icmp_echo_reply,
)
from auberge.machine.net.reactor import IN
from auberge.machine.net.wall import GATEWAY, RESOLVER

MOST = 16
QUIET = 30.0

Key = tuple[int, bytes]
"""The identifier of the guest's echoes, and whom they are for."""


class Pings:
    """The echoes of one guest."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._sockets: dict[Key, tuple[socket, float]] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._sockets)

    def clear(self) -> None:
        """Forget them all."""
        for key in list(self._sockets):
            self._drop(key)

    def from_guest(self, address: bytes, message: memoryview) -> None:
        """The guest sends an ICMP message."""
        if len(message) < ICMP.size:
            return
        kind, code, _, identifier, sequence = ICMP.unpack_from(message)
        if kind != ECHO or code:
            return
        data = bytes(message[ICMP.size :])
        if address in (GATEWAY, RESOLVER):
            reply = icmp_echo_reply(identifier, sequence, data)
            self._house.send_ipv4(PROTOCOL_ICMP, address, reply, b"")
            return
        sock = self._socket((identifier, address))
        if sock is None:
            self._house.refuse()
            return
        request = ICMP.pack(ECHO, 0, 0, identifier, sequence) + data
        request = ICMP.pack(ECHO, 0, checksum(request), identifier, sequence) + data
        try:
            sock.send(request)
        except OSError:
            self._house.refuse()

    def _socket(self, key: Key) -> socket | None:
        known = self._sockets.get(key)
        if known is not None:
            return known[0]
        place = self._house.place(key[1], 1)
        if place is None:
            return None
        try:
            sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP)
        except OSError:
            return None  # not allowed to this user
        try:
            sock.connect((place[0], 0))
        except OSError:
            sock.close()
            return None
        if len(self._sockets) >= MOST:
            self._drop(next(iter(self._sockets)))
        reactor = self._house.reactor
        end = reactor.now() + QUIET
        self._sockets[key] = sock, end
        reactor.watch(sock.fileno(), IN, lambda events: self._ready(key, sock))
        reactor.at(end, lambda: self._expire(key, sock))
        return sock

    def _ready(self, key: Key, sock: socket) -> None:
        try:
            message = sock.recv(0xFFFF)
        except OSError:
            return
        if len(message) >= ICMP.size and message[0] == ECHO_REPLY:
            sequence = ICMP.unpack_from(message)[4]
            reply = icmp_echo_reply(key[0], sequence, message[ICMP.size :])
            self._house.send_ipv4(PROTOCOL_ICMP, key[1], reply, b"")

    def _expire(self, key: Key, sock: socket) -> None:
        if key in self._sockets and self._sockets[key][0] is sock:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        sock, _ = self._sockets.pop(key)
        self._house.reactor.forget(sock.fileno())
        sock.close()
