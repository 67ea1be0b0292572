"""The console device (virtio 1.2, 5.3), with one port."""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from auberge.machine.virtio.device import Transport
from auberge.machine.virtio.queue import Queue

F_SIZE = 1 << 0
F_EMERG_WRITE = 1 << 2

RECEIVE = 0
TRANSMIT = 1

_CONFIG = Struct("<HHII")  # 5.3.4: cols, rows, max_nr_ports, emerg_wr
_EMERG_WR = 8

_ROOM = 0x10000  # bytes from the host that may wait for buffers
_PIECE = 0x10000  # bytes that go to the sink at once
_MOST = 0x100000  # bytes transmitted for one request; the rest of a longer one is dropped


class ConsoleState(NamedTuple):
    """The window's size, what waits for buffers, and whether the host was told to wait."""

    cols: int = 80
    rows: int = 24
    waiting: bytes = b""
    refused: bool = False


RESET = ConsoleState()


class Console:
    """Port 0: `sink` gets what the driver transmits, the driver what `receive` is given."""

    __slots__ = ("_sink", "_on_space", "_cols", "_rows", "_waiting", "_refused", "_transport")

    device_id = 3
    features = F_SIZE | F_EMERG_WRITE
    queue_sizes = (64, 64)

    def __init__(
        self,
        sink: Callable[[bytes], None],
        on_space: Callable[[], None] = lambda: None,
        state: ConsoleState = RESET,
    ) -> None:
        self._sink = sink
        self._on_space = on_space
        self._cols = state.cols
        self._rows = state.rows
        self._waiting = bytearray(state.waiting)
        self._refused = state.refused
        self._transport: Transport | None = None

    @property
    def state(self) -> ConsoleState:
        return ConsoleState(self._cols, self._rows, bytes(self._waiting), self._refused)

    def attach(self, transport: Transport) -> None:
        self._transport = transport

    def receive(self, data: bytes) -> int:
        """Offer `data` to the driver; say how many bytes were taken.

        When that is fewer than given, `on_space` is called once there is room again, and the rest
        may be offered then, though not from inside `on_space` itself.
        """
        taken = min(len(data), _ROOM - len(self._waiting))
        self._waiting += data[:taken]
        self._refused = taken < len(data)
        if self._transport is not None:
            self._transport.kick(RECEIVE)
        return taken

    def resize(self, cols: int, rows: int) -> None:
        """The window has this size now; the driver hears of it if it is another."""
        cols, rows = min(max(cols, 0), 0xFFFF), min(max(rows, 0), 0xFFFF)
        if (cols, rows) != (self._cols, self._rows):
            self._cols, self._rows = cols, rows
            if self._transport is not None:
                self._transport.config_changed()

    def config(self) -> bytes:
        return _CONFIG.pack(self._cols, self._rows, 1, 0)

    def configure(self, offset: int, data: bytes) -> None:
        if offset == _EMERG_WR:
            self._sink(data[:1])

    def reset(self) -> None:
        pass  # what the host sent waits for the next driver

    def service(self, index: int, queue: Queue) -> None:
        if index == TRANSMIT:
            self._transmit(queue)
        else:
            self._deliver(queue)

    def _transmit(self, queue: Queue) -> None:
        for chain in queue:
            left = _MOST
            for view in chain.readable:
                for start in range(0, min(view.nbytes, left), _PIECE):
                    self._sink(bytes(view[start : min(start + _PIECE, left)]))
                left -= min(view.nbytes, left)
            queue.push(chain.head, 0)

    def _deliver(self, queue: Queue) -> None:
        waiting = self._waiting
        if not waiting:
            return  # the buffers stay available until there is something to put in
        for chain in queue:
            written = 0
            for view in chain.writable:
                size = min(view.nbytes, len(waiting))
                view[:size] = waiting[:size]
                del waiting[:size]
                written += size
            queue.push(chain.head, written)
            if not waiting:
                break
        if self._refused and not waiting:
            self._refused = False
            self._on_space()
