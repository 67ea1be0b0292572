"""The network device (virtio 1.2, 5.1): one pair of queues, and a link on the other side."""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import NamedTuple, Protocol

from auberge.machine.net.packet import complete
from auberge.machine.virtio.device import Transport
from auberge.machine.virtio.queue import Chain, Queue

# 5.1.3
F_CSUM = 1 << 0
F_GUEST_CSUM = 1 << 1
F_MTU = 1 << 3
F_MAC = 1 << 5
F_MRG_RXBUF = 1 << 15
F_STATUS = 1 << 16

RECEIVE = 0
TRANSMIT = 1
QUEUE_SIZE = 256

HEADER = Struct("<BBHHHHH")  # 5.1.6: flags, gso_type, hdr_len, gso_size, csum_start/offset, buffers
NEEDS_CSUM = 1
DATA_VALID = 2
LINK_UP = 1

PLAIN_MTU = 1500
"""What a driver that does not know the MTU feature takes."""

MTU = 65520
"""As passt's: frames as long as IPv4 has them do what segmentation offload is for, and simpler."""

ETHERNET = 14
_LONGEST = ETHERNET + 4 + 0xFFFF  # a VLAN tag and the longest IPv4 packet

CHECKED = -1
"""Instead of where a checksum is wanted: it is there, and need not be looked at."""

_WAITING_FRAMES = 512
_WAITING_BYTES = 4 << 20
_CONFIG = Struct("<6sHHH")  # 5.1.4: mac, status, max_virtqueue_pairs, mtu


class NetState(NamedTuple):
    """The frames that wait for buffers, complete, each with where its checksum is wanted."""

    waiting: tuple[tuple[bytes, int, int], ...] = ()


RESET = NetState()


class Link(Protocol):
    """What is at the other end of the cable. Its methods are called under the device lock."""

    def plug(self, nic: "Nic") -> None:
        """`nic` is connected from now on, and what was before is not."""
        ...

    def transmit(self, frame: bytes, checksum_at: int, checksum_offset: int) -> None:
        """The guest sends an Ethernet frame.

        Unless `checksum_at` is 0, the Internet checksum of what is from there on is still wanted,
        `checksum_offset` further on, where now the pseudo header's is (5.1.6.2).
        """
        ...

    def flush(self) -> None:
        """The guest has no more to send just now."""
        ...


class Counts:
    """What went through a device; `python_ns` is the time spent for it, the link's included."""

    __slots__ = (
        "sent", "sent_bytes", "received", "received_bytes", "dropped", "refused", "python_ns"
    )  # fmt: skip

    def __init__(self) -> None:
        self.sent = self.sent_bytes = self.received = self.received_bytes = 0
        self.dropped = 0  # by the device: nobody had a buffer, or it was no frame
        self.refused = 0  # by the link
        self.python_ns = 0

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return {
            "sent": self.sent,
            "sent_bytes": self.sent_bytes,
            "received": self.received,
            "received_bytes": self.received_bytes,
            "dropped": self.dropped,
            "refused": self.refused,
            "python_ns": self.python_ns,
        }


class Nic(Protocol):
    """The device as a link sees it. Its methods are called under the device lock."""

    @property
    def mac(self) -> bytes: ...
    @property
    def mtu(self) -> int:
        """The longest packet that the driver takes."""
        ...

    @property
    def counts(self) -> Counts: ...
    def receive(self, pieces: Sequence[bytes], checksum_at: int, checksum_offset: int) -> bool:
        """Hand the guest the frame that `pieces` make; False if it was dropped.

        The checksum is as in `Link.transmit`, or `CHECKED`; it is completed for drivers that want
        it so.
        """
        ...

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits for the guest's buffers that more should come later."""
        ...


class Net:
    """An Ethernet device with the address `mac`, plugged into `link`.

    Frames for a guest that has no buffers ready wait; when too many do, more are dropped and
    counted, as on a wire. `counts` goes on; `now_ns` is a clock.
    """

    __slots__ = (
        "mac", "mtu", "counts", "_link", "_now_ns", "_waiting", "_waiting_bytes", "_transport",
        "_inside",
    )  # fmt: skip

    device_id = 1
    features = F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_MRG_RXBUF | F_STATUS
    queue_sizes = (QUEUE_SIZE, QUEUE_SIZE)

    def __init__(
        self,
        mac: bytes,
        link: Link,
        counts: Counts,
        now_ns: Callable[[], int],
        state: NetState = RESET,
    ) -> None:
        self.mac = mac
        self.mtu = PLAIN_MTU
        self.counts = counts
        self._link = link
        self._now_ns = now_ns
        self._waiting = list(state.waiting)
        self._waiting_bytes = sum(len(frame) for frame, _, _ in state.waiting)
        self._transport: Transport | None = None
        self._inside = False
        link.plug(self)

    @property
    def state(self) -> NetState:
        return NetState(tuple(self._waiting))

    def attach(self, transport: Transport) -> None:
        self._transport = transport

    def config(self) -> bytes:
        return _CONFIG.pack(self.mac, LINK_UP, 1, MTU)

    def configure(self, offset: int, data: bytes) -> None:
        pass

    def reset(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        self.mtu = PLAIN_MTU

    def receive(self, pieces: Sequence[bytes], checksum_at: int, checksum_offset: int) -> bool:
        """As `Nic`."""
        frame = b"".join(pieces)
        waiting = self._waiting
        if len(waiting) >= _WAITING_FRAMES or self._waiting_bytes + len(frame) > _WAITING_BYTES:
            self.counts.dropped += 1
            return False
        waiting.append((frame, checksum_at, checksum_offset))
        self._waiting_bytes += len(frame)
        if self._transport is not None and not self._inside:
            self._inside = True  # its time is in the link's
            self._transport.kick(RECEIVE)
            self._inside = False
        return True

    def service(self, index: int, queue: Queue) -> None:
        if queue.features & F_MTU:
            self.mtu = MTU
        if self._inside:
            self._deliver(queue)
            return
        begin = self._now_ns()
        if index == TRANSMIT:
            # The answers go out at once, while the guest waits anyway.
            self._transmit(queue)
        else:
            self._deliver(queue)
        self.counts.python_ns += self._now_ns() - begin

    @property
    def is_crowded(self) -> bool:
        """As `Nic`."""
        return 4 * self._waiting_bytes > _WAITING_BYTES or 4 * len(self._waiting) > _WAITING_FRAMES

    # -- from the guest -------------------------------------------------------------------------

    def _transmit(self, queue: Queue) -> None:
        counts, link = self.counts, self._link
        for chain in queue:
            readable = chain.readable
            size = sum(view.nbytes for view in readable) - HEADER.size
            if ETHERNET <= size <= _LONGEST:
                data = b"".join(readable)
                flags, _, _, _, start, offset, _ = HEADER.unpack_from(data)
                counts.sent += 1
                counts.sent_bytes += size
                if not flags & NEEDS_CSUM:
                    link.transmit(data[HEADER.size :], 0, 0)
                elif ETHERNET <= start and start + offset + 2 <= size:
                    link.transmit(data[HEADER.size :], start, offset)
                else:
                    counts.dropped += 1
            else:
                counts.dropped += 1
            queue.push(chain.head, 0)
        link.flush()

    # -- to the guest ---------------------------------------------------------------------------

    def _deliver(self, queue: Queue) -> None:
        counts, waiting = self.counts, self._waiting
        done = 0
        for frame, start, offset in waiting:
            chains = _buffers(queue, HEADER.size + len(frame))
            if chains is None:
                break
            done += 1
            self._waiting_bytes -= len(frame)
            if not chains:
                counts.dropped += 1  # longer than this driver's buffers
                continue
            counts.received += 1
            counts.received_bytes += len(frame)
            flags = 0
            if start == CHECKED:
                flags = DATA_VALID if queue.features & F_GUEST_CSUM else 0
                start = 0
            elif start and queue.features & F_GUEST_CSUM:
                flags = NEEDS_CSUM
            elif start:
                frame = complete(frame, start, offset)
                start = offset = 0
            header = HEADER.pack(flags, 0, 0, 0, start, offset, len(chains))
            _fill(queue, chains, memoryview(header + frame))
        del waiting[:done]


def _buffers(queue: Queue, size: int) -> list[Chain] | None:
    """Chains with room for `size` bytes; None if there are not enough yet, [] if there can't be."""
    chains: list[Chain] = []
    room = 0
    while room < size:
        chain = queue.pop()
        if chain is None:
            queue.unpop(len(chains))
            return None
        chains.append(chain)
        room += sum(view.nbytes for view in chain.writable)
        # Without MRG_RXBUF a frame is in one chain (5.1.6.4); with it, in no more than a ring.
        if room < size and (not queue.features & F_MRG_RXBUF or len(chains) == QUEUE_SIZE):
            for each in chains:
                queue.push(each.head, 0)
            return []
    return chains


def _fill(queue: Queue, chains: list[Chain], data: memoryview) -> None:
    for chain in chains:
        written = 0
        for view in chain.writable:
            size = min(view.nbytes, data.nbytes)
            view[:size] = data[:size]
            data = data[size:]
            written += size
        queue.push(chain.head, written)
