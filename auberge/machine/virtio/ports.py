"""The console device with several ports (virtio 1.2, 5.3, VIRTIO_CONSOLE_F_MULTIPORT).

A port is a stream of bytes in each direction, with flow control: what nobody takes stays in the
driver's buffers, and a program in the guest that writes more waits.
"""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from auberge.machine.virtio.device import Transport
from auberge.machine.virtio.queue import Queue

F_MULTIPORT = 1 << 1

MOST_PORTS = 31
RING = 8  # buffers of each queue: Linux fills those to read with a page each

CONTROL_RECEIVE, CONTROL_TRANSMIT = 2, 3

# 5.3.6.2
DEVICE_READY, DEVICE_ADD, PORT_READY, PORT_OPEN = 0, 1, 3, 6
_CONTROL = Struct("<IHH")  # id, event, value
_CONFIG = Struct("<HHII")  # 5.3.4: cols, rows, max_nr_ports, emerg_wr

ROOM = 0x10000
"""Bytes to the guest that may wait for its buffers."""
HELD = 0x10000
"""Bytes from the guest from which on the driver's buffers wait until some were taken."""
_TURN = 4 * RING  # buffers that are served at once, however many the driver adds meanwhile
_MOST = 0x8000  # bytes taken of one buffer, as many as Linux sends at once; a longer one is cut


class PortState(NamedTuple):
    """What the driver has said of a port, what we have, and what is on its way."""

    added: bool = False
    ready: bool = False
    guest_open: bool = False
    host_open: bool = False
    waiting: bytes = b""
    held: bytes = b""
    closing: bool = False
    opens: int = 0


class PortsState(NamedTuple):
    """Whether the driver works, the ports, and the control messages that wait for its buffers."""

    works: bool = False
    ports: tuple[PortState, ...] = ()
    messages: tuple[bytes, ...] = ()


RESET = PortsState()


class Port:
    """One port as the host sees it; to be used under the device lock."""

    __slots__ = (
        "number", "added", "ready", "guest_open", "host_open", "closing", "waiting", "held",
        "opens", "_ports",
    )  # fmt: skip

    def __init__(self, ports: "Ports", number: int, state: PortState) -> None:
        self._ports = ports
        self.number = number
        self.added = state.added
        self.ready = state.ready
        """Whether the driver has made what programs open."""
        self.guest_open = state.guest_open
        """Whether a program has it open."""
        self.opens = state.opens
        """How often one has opened it."""
        self.host_open = state.host_open
        self.closing = state.closing
        self.waiting = bytearray(state.waiting)
        self.held = bytearray(state.held)

    @property
    def state(self) -> PortState:
        """As data."""
        return PortState(
            self.added,
            self.ready,
            self.guest_open,
            self.host_open,
            bytes(self.waiting),
            bytes(self.held),
            self.closing,
            self.opens,
        )

    @property
    def room(self) -> int:
        """How many bytes `give` takes now: none before a program has the port open."""
        return ROOM - len(self.waiting) if self.guest_open and not self.closing else 0

    def add(self) -> None:
        """Have the driver make the port, if it has not; it says so by `ready`."""
        if not self.added:
            self.added = True
            self._ports.tell(self.number, DEVICE_ADD, 1)

    def open(self) -> None:
        """The host reads and writes from now on: programs no longer wait to write."""
        self.host_open, self.closing = True, False
        self._ports.tell(self.number, PORT_OPEN, 1)

    def shut(self) -> None:
        """End what goes to the guest, after what it is yet to read; nor does the host read."""
        if self.host_open:
            self.closing = True
            self._ports.deliver(self)

    def give(self, data: bytes) -> int:
        """Offer bytes to the guest's program; how many were taken."""
        taken = min(len(data), self.room)
        self.waiting += data[:taken]
        self._ports.deliver(self)
        return taken

    def take(self, most: int) -> bytes:
        """Bytes that the guest's program wrote, at most so many; none if there are none now."""
        data = bytes(self.held[:most])
        del self.held[:most]
        self._ports.fetch(self)
        return data


class Ports:
    """`count` ports; `changed` is called, under the device lock, when one may be looked at."""

    __slots__ = (
        "ports", "queue_sizes", "_changed", "_messages", "_works", "_transport", "_by_queue",
    )  # fmt: skip

    device_id = 3
    features = F_MULTIPORT

    def __init__(
        self, changed: Callable[[], None], count: int = MOST_PORTS, state: PortsState = RESET
    ) -> None:
        self._changed = changed
        states = state.ports or (PortState(),) * count
        self.queue_sizes = (RING,) * (2 * len(states) + 2)
        self.ports = [Port(self, number, each) for number, each in enumerate(states)]
        self._messages = list(state.messages)
        self._works = state.works
        self._transport: Transport | None = None
        self._by_queue = {_receive_queue(port.number): port for port in self.ports}

    @property
    def state(self) -> PortsState:
        return PortsState(
            self._works, tuple(port.state for port in self.ports), tuple(self._messages)
        )

    def attach(self, transport: Transport) -> None:
        self._transport = transport

    def config(self) -> bytes:
        return _CONFIG.pack(0, 0, len(self.ports), 0)

    def configure(self, offset: int, data: bytes) -> None:
        pass

    def reset(self) -> None:
        self._works = False
        self._messages.clear()
        for port in self.ports:
            port.ready = port.guest_open = False
            port.waiting.clear()
        self._changed()

    def service(self, index: int, queue: Queue) -> None:
        if index == CONTROL_TRANSMIT:
            self._listen(queue)
        elif index == CONTROL_RECEIVE:
            self._speak(queue)
        elif index in self._by_queue:
            _deliver(self._by_queue[index], queue)
            self._finish(self._by_queue[index])
        else:
            self._fetch(self._by_queue[index - 1], queue)

    # -- ports ----------------------------------------------------------------------------------

    def tell(self, number: int, event: int, value: int) -> None:
        """A control message, once the driver works; what ports are like is told it then anyway."""
        if self._works:
            self._messages.append(_CONTROL.pack(number, event, value))
            self._kick(CONTROL_RECEIVE)

    def deliver(self, port: Port) -> None:
        """Move what waits for the driver's buffers into them."""
        self._kick(_receive_queue(port.number))
        self._finish(port)

    def fetch(self, port: Port) -> None:
        """Take what the driver's buffers hold, as far as there is room."""
        self._kick(_receive_queue(port.number) + 1)

    def _finish(self, port: Port) -> None:
        """Tell of an end once all that comes before it is in the driver's hands."""
        if port.closing and port.host_open and not port.waiting:
            port.host_open = False
            self.tell(port.number, PORT_OPEN, 0)
        self._changed()

    def _kick(self, index: int) -> None:
        if self._transport is not None:
            self._transport.kick(index)

    def _fetch(self, port: Port, queue: Queue) -> None:
        for _ in range(_TURN):
            if len(port.held) >= HELD:
                break
            chain = queue.pop()
            if chain is None:
                break
            left = _MOST
            for view in chain.readable:
                port.held += view[:left]
                left -= min(view.nbytes, left)
            queue.push(chain.head, 0)
        else:
            queue.cut_short = True
        if port.held:
            self._changed()

    # -- control --------------------------------------------------------------------------------

    def _listen(self, queue: Queue) -> None:
        for chain in queue:
            message = b"".join(bytes(view[: _CONTROL.size]) for view in chain.readable[:2])
            if len(message) >= _CONTROL.size:
                self._hear(*_CONTROL.unpack_from(message))
            queue.push(chain.head, 0)
        self._changed()

    def _hear(self, number: int, event: int, value: int) -> None:
        """What the driver says; nonsense is ignored."""
        if event == DEVICE_READY:
            if value and not self._works:
                self._works = True
                for port in self.ports:
                    if port.added:
                        self.tell(port.number, DEVICE_ADD, 1)
        elif number < len(self.ports) and self.ports[number].added:
            port = self.ports[number]
            if event == PORT_READY and value and not port.ready:
                port.ready = True
                if port.host_open:
                    self.tell(number, PORT_OPEN, 1)
            elif event == PORT_OPEN:
                port.opens += bool(value) and not port.guest_open
                port.guest_open = bool(value)
                if not value:
                    port.waiting.clear()  # nobody will read it
                    self._finish(port)

    def _speak(self, queue: Queue) -> None:
        done = 0
        for message in self._messages:
            chain = queue.pop()
            if chain is None:
                break
            written = 0
            for view in chain.writable:
                piece = message[written : written + view.nbytes]
                view[: len(piece)] = piece
                written += len(piece)
            queue.push(chain.head, written)
            done += 1
        del self._messages[:done]


def _deliver(port: Port, queue: Queue) -> None:
    for _ in range(_TURN):
        if not port.waiting:
            break
        chain = queue.pop()
        if chain is None:
            break
        written = 0
        for view in chain.writable:
            size = min(view.nbytes, len(port.waiting))
            view[:size] = port.waiting[:size]
            del port.waiting[:size]
            written += size
        queue.push(chain.head, written)
    else:
        queue.cut_short = True


def _receive_queue(number: int) -> int:
    """5.3.2: port 0 has the first two queues, control the next, then come the other ports."""
    return 2 * number + 2 if number else 0
