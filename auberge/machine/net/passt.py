"""passt(1) carries what a guest exchanges with other hosts, in a process of its own, in C.

It speaks Ethernet on a UNIX stream socket, each frame after its length in 32 bits, big-endian
(QEMU's `-netdev stream`). What stays on this host is not its business: addresses, names, forwards
and refusals are the NAT's, so that a guest finds the same network and the same wall with passt and
without.
"""

from auberge.machine.net.forward import Forward
from auberge.machine.net.nat import Nat
from auberge.machine.net.packet import (
    ETHERNET,
    PROTOCOL_ICMP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TYPE_IPV4,
    ipv4_payload,
)
from auberge.machine.net.passt_process import LENGTH, PasstProcess
from auberge.machine.net.reactor import IN, OUT, Reactor
from auberge.machine.net.wall import GUEST, is_in_reach
from auberge.machine.virtio.net import CHECKED, Nic

WAITING = 4 << 20
"""Bytes that may wait for passt; what a guest sends beyond that is lost, as on any wire."""

KNOWN = 1024
"""Addresses whose side of the wall is remembered."""

FRESH = 5.0
"""Seconds until it is looked at again: the host may get other addresses."""

_LONGEST = ETHERNET.size + 0xFFFF
_PIECE = 1 << 18  # read at once
_AT_ONCE = 64  # pieces, of at most IOV_MAX
_LITTLE = 1 << 15  # bytes of a reading after which there is a pause
_PAUSE = 0.001  # seconds; also until a guest without free buffers is looked at again
_PROTOCOLS = (PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP)
_TYPE_IPV4 = TYPE_IPV4.to_bytes(2, "big")
_SOURCE = slice(ETHERNET.size + 12, ETHERNET.size + 16)
_DESTINATION = slice(ETHERNET.size + 16, ETHERNET.size + 20)


class Passt:
    """In front of `nat`: what goes to other hosts goes to passt. All calls as the NAT's."""

    def __init__(self, nat: Nat, process: PasstProcess) -> None:
        self.reactor: Reactor = nat.reactor
        self._nat = nat
        self._process = process
        self._fd = process.sock.fileno()
        self._nic: Nic | None = None
        self._ended = self._paused = False
        self._sides: dict[bytes, tuple[bool, float]] = {}
        self._sending: list[bytes] = []
        self._unsent = bytearray()
        self._got = b""
        self._watch()

    def plug(self, nic: Nic) -> None:
        """As `Link`."""
        self._nic = nic
        self._nat.plug(nic)

    @property
    def ports(self) -> list[Forward]:
        """The forwards, with the ports that the host chose for 0."""
        return self._nat.ports

    def close(self) -> None:
        """Give back every socket, and end passt."""
        self._nic = None
        self._end()
        self._process.close()
        self._nat.close()

    def _end(self) -> None:
        """passt is no more: its connections are lost, and the NAT carries those to come."""
        self._ended = True
        self._sending = []
        self._unsent.clear()
        self._watch()

    def _watch(self) -> None:
        events = 0 if self._paused else IN
        if self._unsent:
            events |= OUT
        if events and not self._ended:
            self.reactor.watch(self._fd, events, self._ready)
        else:
            self.reactor.forget(self._fd)

    # -- from the guest -------------------------------------------------------------------------

    def transmit(self, frame: bytes, checksum_at: int, checksum_offset: int) -> None:
        """As `Link`. passt does not look at checksums either."""
        if not self._goes_out(frame):
            self._nat.transmit(frame, checksum_at, checksum_offset)
        elif len(self._unsent) > WAITING:
            self._nat.refuse()
        else:
            self._sending += (LENGTH.pack(len(frame)), frame)
            if len(self._sending) >= _AT_ONCE:
                self._send()

    def _goes_out(self, frame: bytes) -> bool:
        """Whether it is a packet of the guest's for another host, whole, and passt is there."""
        if self._ended or frame[12:14] != _TYPE_IPV4 or frame[_SOURCE] != GUEST:
            return False
        packet = memoryview(frame)[ETHERNET.size :]
        if ipv4_payload(packet) is None or packet[9] not in _PROTOCOLS:
            return False
        address = frame[_DESTINATION]
        now = self.reactor.now()
        side = self._sides.get(address)
        if side is None or side[1] < now:
            if len(self._sides) >= KNOWN:
                self._sides.clear()
            side = self._sides[address] = is_in_reach(address), now + FRESH
        return side[0]

    def flush(self) -> None:
        """As `Link`."""
        self._nat.flush()
        if self._sending:
            self._send()

    def _send(self) -> None:
        pieces, self._sending = self._sending, []
        if self._unsent:
            self._unsent += b"".join(pieces)
            return
        sent = self._write(pieces)
        if not self._ended and sent < sum(map(len, pieces)):
            self._unsent += b"".join(pieces)[sent:]
            self._watch()

    def _write(self, pieces: list[bytes]) -> int:
        try:
            return self._process.sock.sendmsg(pieces)
        except BlockingIOError:
            return 0
        except OSError:
            self._end()
            return 0

    # -- from passt -----------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        if events & OUT and self._unsent:
            sent = self._write([bytes(self._unsent)])
            del self._unsent[:sent]
        if events & ~OUT and not self._ended:
            self._read()
        self._watch()

    def _read(self) -> None:
        try:
            data = self._process.sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._got = self._deliver(self._got + data)
        # As interrupts are moderated: else each of passt's many small acknowledgements would be a
        # turn of its own, and have the guest send another small segment.
        if len(data) < _LITTLE or self._is_crowded:
            self._pause()

    def _deliver(self, stream: bytes) -> bytes:
        """Hand the guest the whole frames of `stream`; return the rest."""
        nic = self._nic
        at = 0
        while at + LENGTH.size <= len(stream):
            (size,) = LENGTH.unpack_from(stream, at)
            if not ETHERNET.size <= size <= _LONGEST:
                self._end()  # what comes after it cannot be made out
                return b""
            begin = at + LENGTH.size
            if begin + size > len(stream):
                break
            at = begin + size
            if nic is not None:
                nic.receive((stream[begin:at],), CHECKED, 0)
        return stream[at:]

    @property
    def _is_crowded(self) -> bool:
        return self._nic is not None and self._nic.is_crowded

    def _pause(self) -> None:
        self._paused = True
        self.reactor.at(self.reactor.now() + _PAUSE, self._resume)

    def _resume(self) -> None:
        self._paused = False
        if self._is_crowded:
            self._pause()
        elif not self._ended:
            self._read()
        self._watch()
