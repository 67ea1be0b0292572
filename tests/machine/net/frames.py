"""Frames as a guest sends and reads them, and a guest's end of a cable."""

from struct import pack, unpack_from

from auberge.machine.net.packet import checksum, complete, pseudo_sum
from auberge.machine.virtio.net import Counts

GUEST_MAC = b"\x52\x54\x00\x12\x34\x56"
GUEST, GATEWAY, DNS = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2)), bytes((10, 0, 2, 3))
ICMP, TCP, UDP = 1, 6, 17


def ethernet(kind, payload):
    return b"\xff" * 6 + GUEST_MAC + pack("!H", kind) + payload


def ipv4(protocol, to, payload, source=GUEST, fragment=0):
    return ethernet(
        0x800,
        pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0, source, to)
        + payload,
    )


def udp(source_port, to, port, data, source=GUEST):
    header = pack("!HHHH", source_port, port, 8 + len(data), 0)
    return ipv4(UDP, to, header + data, source)


def tcp(source_port, to, port, seq, ack, flags, data=b"", window=0xFFFF, options=b""):
    offset = 5 + len(options) // 4 << 4
    header = pack("!HHIIBBHHH", source_port, port, seq, ack, offset, flags, window, 0, 0)
    return ipv4(TCP, to, header + options + data)


def arp(target):
    return ethernet(
        0x806, pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, GUEST_MAC, GUEST, bytes(6), target)
    )


class Packet:
    """An IPv4 packet to the guest, checked and taken apart."""

    def __init__(self, frame):
        assert checksum(frame[14:34]) == 0
        length = unpack_from("!H", frame, 16)[0]
        self.protocol, self.source, self.to = frame[23], frame[26:30], frame[30:34]
        self.body = body = frame[34 : 14 + length]
        self.fragment = unpack_from("!H", frame, 20)[0]
        if self.protocol in (TCP, UDP) and not self.fragment & 0x3FFF:
            sum_ = pseudo_sum(self.source, self.to, self.protocol, len(body))
            assert checksum(body, sum_) == 0
            self.source_port, self.port = unpack_from("!HH", body)
        if self.protocol == UDP:
            self.data = body[8:]
        if self.protocol == TCP and not self.fragment & 0x3FFF:
            self.seq, self.ack, offset, self.flags, self.window = unpack_from("!IIBBH", body, 4)
            self.options = body[20 : offset >> 4 << 2]
            self.data = body[offset >> 4 << 2 :]


class Nic:
    """A device without a driver: what it is given is in `frames`, with checksums."""

    mac = GUEST_MAC
    is_crowded = False

    def __init__(self, mtu=65520):
        self.mtu = mtu
        self.counts = Counts()
        self.frames = []

    def receive(self, pieces, checksum_at, checksum_offset):
        frame = b"".join(pieces)
        if checksum_at > 0:
            frame = complete(frame, checksum_at, checksum_offset)
        self.frames.append(frame)
        return True

    def packets(self):
        """What came since this was asked last."""
        frames, self.frames = self.frames, []
        return [Packet(frame) for frame in frames if frame[12:14] == b"\x08\x00"]
