"""A guest without a machine: frames of its own making, and a TCP of the same make as the host's."""

import time
from struct import pack

from auberge.machine.net.nat import Choices, Nat
from auberge.machine.net.reactor import Reactor
from auberge.machine.net.tcp import ESTABLISHED, SYN, Connection, Segment
from tests.machine.net.frames import GATEWAY, TCP, Nic, arp, tcp, udp

PATIENCE = 20.0


class Stream:
    """The guest's end of a TCP connection."""

    def __init__(self, guest, port, peer, peer_port, syn=None):
        self.guest, self.port, self.peer, self.peer_port = guest, port, peer, peer_port
        self.got = bytearray()
        self.connection = Connection(
            self._emit, self._take, lambda: 1 << 18, lambda: 0.0, 0x1000, 65520, syn
        )

    def _emit(self, seq, ack, flags, window, options, payload):
        self.guest.send(
            tcp(self.port, self.peer, self.peer_port, seq, ack, flags, payload, window, options)
        )

    def _take(self, data):
        self.got += data
        return len(data)

    @property
    def established(self):
        return self.connection.state == ESTABLISHED

    @property
    def refused(self):
        return self.connection.aborted

    def say(self, data):
        while data:
            self.guest.until(self.connection.wanted)
            size = self.connection.wanted()
            self.connection.supply(data[:size])
            data = data[size:]

    def end(self):
        self.connection.supply_end()


class Guest:
    """Plugged into a network of its own; real sockets on loopback are at the other end."""

    def __init__(
        self, mtu=65520, forwards=(), host_loopback=True, resolvers=(), dns_port=53, now=None
    ):
        self.reactor = Reactor(now or time.monotonic)
        choices = Choices(lambda: list(resolvers), forwards, host_loopback, dns_port)
        self.nat = Nat(choices, self.reactor, bytes)
        self.nic = Nic(mtu)
        self.nat.plug(self.nic)
        self.streams = {}
        self.listening = set()
        self.packets = []

    def close(self):
        self.nat.close()
        self.reactor.close()

    def send(self, frame):
        self.nat.transmit(frame, 0, 0)

    def connect(self, port, peer=GATEWAY, source_port=40000):
        stream = Stream(self, source_port, peer, port)
        self.streams[source_port, peer, port] = stream
        return stream

    def turn(self):
        """One turn of the host, and all that the guest answers."""
        self.nat.flush()
        self.reactor.turn(self.reactor.poll(0.0 if self.nic.frames else 0.05))
        while self.nic.frames:
            for packet in self.nic.packets():
                if packet.protocol == TCP:
                    self._segment(packet)
                else:
                    self.packets.append(packet)
            for stream in self.streams.values():
                stream.connection.flush()
            self.nat.flush()

    def _segment(self, packet):
        key = packet.port, packet.source, packet.source_port
        mss = int.from_bytes(packet.options[2:4], "big") if packet.options else None
        scale = packet.options[7] if len(packet.options) == 8 else None
        payload = memoryview(packet.data)
        segment = Segment(packet.seq, packet.ack, packet.flags, packet.window, payload, mss, scale)
        if key in self.streams:
            self.streams[key].connection.segment(segment)
        elif packet.flags == SYN and packet.port in self.listening:
            self.streams[key] = Stream(self, *key, syn=segment)
            self.streams[key].connection.connected()
        else:
            self.packets.append(packet)

    def until(self, condition):
        """Turn until `condition()` is true; return it."""
        end = time.monotonic() + PATIENCE
        while not (met := condition()):
            assert time.monotonic() < end, "it does not happen"
            self.turn()
        return met

    def packet(self):
        """The next packet that is not TCP."""
        return self.until(lambda: self.packets and self.packets.pop(0))


def dns_query(name=b"example"):
    return pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + bytes([len(name)]) + name + b"\0\0\1\0\1"


__all__ = ["Guest", "arp", "dns_query", "udp"]
