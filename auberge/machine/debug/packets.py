"""GDB's remote serial protocol: packets out of bytes, and back.

Source: Debugging with GDB, appendix E.1 (overview), E.6 (interrupts), E.11 (acknowledgment).
"""

from typing import NamedTuple

LONGEST = 1 << 14
"""Bytes of a packet that a client may send; those of a longer one are thrown away."""

INTERRUPT_BYTE = 0x03
START, END, ESCAPE = ord("$"), ord("#"), ord("}")
ACK, NAK = ord("+"), ord("-")
SPECIAL = frozenset(b"$#}*")


class Packet(NamedTuple):
    """What stood between `$` and `#`, as it came; `sound` if its checksum is right."""

    data: bytes
    sound: bool


class Interrupt(NamedTuple):
    """Ctrl-C: a byte outside of packets."""


class Repeat(NamedTuple):
    """The client did not understand our last packet."""


Event = Packet | Interrupt | Repeat


class Receiver:
    """Cuts a stream of bytes, however broken, into events."""

    def __init__(self) -> None:
        self._packet: bytearray | None = None
        self._checksum = b""
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """What `data` completes."""
        events: list[Event] = []
        for byte in data:
            event = self._take(byte)
            if event is not None:
                events.append(event)
        return events

    def _take(self, byte: int) -> Event | None:
        if self._packet is None:
            if byte == START:
                self._packet, self._checksum, self._ended = bytearray(), b"", False
            elif byte == INTERRUPT_BYTE:
                return Interrupt()
            elif byte == NAK:
                return Repeat()
            return None
        if self._ended:
            self._checksum += bytes([byte])
            if len(self._checksum) < 2:
                return None
            data, self._packet = bytes(self._packet), None
            return Packet(data, self._checksum.lower() == b"%02x" % (sum(data) & 0xFF))
        if byte == START:  # the one before was cut off
            self._packet.clear()
        elif byte == END:
            self._ended = True
        elif len(self._packet) < LONGEST:
            self._packet.append(byte)
        return None


def frame(data: bytes) -> bytes:
    """A packet, ready to be sent; `data` is escaped where that is needed."""
    return b"$%s#%02x" % (data, sum(data) & 0xFF)


def escape(data: bytes) -> bytes:
    """Binary data as it stands in packets."""
    return b"".join(bytes([ESCAPE, b ^ 0x20]) if b in SPECIAL else bytes([b]) for b in data)


def unescape(data: bytes) -> bytes:
    """What `escape` made binary data from."""
    parts = data.split(bytes([ESCAPE]))
    return parts[0] + b"".join(bytes([part[0] ^ 0x20]) + part[1:] for part in parts[1:] if part)
