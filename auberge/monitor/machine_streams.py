"""Streams of programs in a machine: descriptors of the host on one side, ports on the other.

One thread waits for all of them, and for the ports; the device lock is held for moments only, and
no descriptor ever makes it wait. What nobody reads stays in the guest, whose program waits.
"""

import os
import select
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from socket import MSG_DONTWAIT, MSG_NOSIGNAL, socket

from auberge.machine.virtio.ports import Port, Ports

_PIECE = 0x8000
_ATOMIC = 4096  # what a pipe takes at once when poll(2) says that it takes something (pipe(7))


class Flow:
    """One direction of a stream. `over` is called once, in the thread of the streams."""

    writes = False
    """Whether the host's descriptor is written to."""

    def __init__(self, port: Port, descriptor: int, over: Callable[[bool], None]) -> None:
        self.port = port
        self.over = over
        """Hears whether it was the host's end that went away."""
        self.end = End(descriptor, self.writes)
        self.dropped = False
        """Set by whoever wants no more of it; `over` is not called then."""
        self._opens = port.opens

    @property
    def descriptor(self) -> int:
        """What is to be ready, or -1."""
        return self.end.descriptor

    def wants(self) -> bool:
        """Under the lock: whether there is something to do as soon as the descriptor is ready."""
        raise NotImplementedError

    def step(self, lock: AbstractContextManager[object]) -> bool:
        """Do it, without the lock; whether the flow goes on."""
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        """Under the lock: whether the guest had opened its end, and has closed it."""
        return self.port.opens > self._opens and not self.port.guest_open

    def close(self) -> None:
        """Give the descriptor back."""
        self.end.close()


class Inward(Flow):
    """From the host to the guest, until either's end."""

    def wants(self) -> bool:
        return self.port.room > 0

    def step(self, lock: AbstractContextManager[object]) -> bool:
        with lock:
            room = self.port.room
        if not room:
            return True
        data = self.end.read(min(room, _PIECE))
        if data is None:
            return True
        with lock:
            if data:
                self.port.give(data)  # all of it: nobody else takes of the room
            else:
                self.port.shut()
        return bool(data)


class Outward(Flow):
    """From the guest to the host, until the guest's program and all that it started have ended."""

    writes = True

    def __init__(self, port: Port, descriptor: int, over: Callable[[bool], None]) -> None:
        super().__init__(port, descriptor, over)
        self._data = b""  # it has left the port

    def wants(self) -> bool:
        return bool(self._data or self.port.held)

    def step(self, lock: AbstractContextManager[object]) -> bool:
        with lock:
            if not self._data:
                self._data = self.port.take(_PIECE)
        done = self.end.write(self._data)
        self._data = self._data[max(done, 0) :]
        return done >= 0


class Drain(Flow):
    """From the guest to a function of ours, which says whether it wants to hear more."""

    writes = True

    def __init__(
        self, port: Port, hear: Callable[[bytes], bool], over: Callable[[bool], None]
    ) -> None:
        self.port, self.over, self._hear = port, over, hear
        self._opens = port.opens - port.guest_open
        self.dropped = False

    @property
    def descriptor(self) -> int:
        return -1

    def wants(self) -> bool:
        return bool(self.port.held)

    def step(self, lock: AbstractContextManager[object]) -> bool:
        with lock:
            data = self.port.take(_PIECE)
        return self._hear(data)

    def close(self) -> None:
        """There is nothing to give back."""


class End:
    """A descriptor of our own of a file of the host, that never makes us wait."""

    def __init__(self, descriptor: int, writes: bool) -> None:
        mode = os.fstat(descriptor).st_mode
        self._piece = _PIECE
        self._socket: socket | None = None
        if stat.S_ISSOCK(mode):
            self._socket = socket(fileno=os.dup(descriptor))
            self.descriptor = self._socket.fileno()
            return
        # a file of its own, as O_NONBLOCK belongs to the open file (fcntl(2)), which others share
        flags = os.O_WRONLY if writes else os.O_RDONLY
        if not stat.S_ISREG(mode):
            try:
                path = f"/proc/self/fd/{descriptor}"
                self.descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                return
            except OSError:  # another user's terminal, say
                self._piece = _ATOMIC
        self.descriptor = os.dup(descriptor)

    def read(self, size: int) -> bytes | None:
        """What there is; nothing at the end; None if there is nothing yet."""
        try:
            if self._socket is not None:
                return self._socket.recv(size, MSG_DONTWAIT)
            return os.read(self.descriptor, size)
        except BlockingIOError:
            return None
        except OSError:  # a terminal that is gone
            return b""

    def write(self, data: bytes) -> int:
        """How much of it was written; -1 if nobody will read it."""
        if not data:
            return 0
        try:
            if self._socket is not None:
                return self._socket.send(data, MSG_DONTWAIT | MSG_NOSIGNAL)
            return os.write(self.descriptor, data[: self._piece])
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    def close(self) -> None:
        """Give it back."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.descriptor)


class Streams:
    """All flows of a machine; a service of it (service.py)."""

    def __init__(self) -> None:
        self.ports = Ports(self._wake)
        self._flows: list[Flow] = []
        self._new: list[Flow] = []
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_told = False
        self._stopping = False
        self._adding = threading.Lock()
        self._telling = threading.Lock()  # the event is not given back while somebody writes to it
        self._is_closed = False
        self._watch: Callable[[], None] = lambda: None

    def watch(self, look: Callable[[], None]) -> None:
        """Have `look` called, under the lock, whenever something may have changed."""
        self._watch = look

    def add(self, flow: Flow) -> None:
        """Begin with a flow; from any thread."""
        with self._adding:
            if not self._is_closed:
                self._new.append(flow)
                self._wake()
                return
        flow.close()
        flow.over(False)

    def look(self) -> None:
        """Have flows that were dropped given back."""
        self._wake()

    def _wake(self) -> None:
        with self._telling:
            if not self._is_told and not self._is_closed:
                self._is_told = True
                os.eventfd_write(self._event, 1)

    def serve(self, lock: AbstractContextManager[object]) -> None:
        """As `Service`."""
        while not self._stopping:
            self._turn(lock)
        self._stopping = False

    def stop(self) -> None:
        """As `Service`."""
        self._stopping = True
        with suppress(ValueError, OSError):  # closed
            os.eventfd_write(self._event, 1)

    def _turn(self, lock: AbstractContextManager[object]) -> None:
        while self._new:
            self._flows.append(self._new.pop(0))
        for flow in [flow for flow in self._flows if flow.dropped]:
            self._end(flow)
        with lock:
            self._watch()
            wanting = [flow for flow in self._flows if flow.wants()]
            ended = [flow for flow in self._flows if flow not in wanting and flow.is_over]
        for flow in ended:
            self._end(flow)
            flow.over(False)
        for flow in self._ready(wanting, bool(ended)):
            if not flow.dropped and not flow.step(lock):
                self._end(flow)
                flow.over(True)

    def _ready(self, wanting: list[Flow], at_once: bool) -> list[Flow]:
        """Wait until one of them can go on, or something is new."""
        ready = [flow for flow in wanting if flow.descriptor < 0]
        waiting = {flow.descriptor: flow for flow in wanting if flow.descriptor >= 0}
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        for descriptor, flow in waiting.items():
            poll.register(descriptor, select.POLLOUT if flow.writes else select.POLLIN)
        for descriptor, _ in poll.poll(0 if ready or at_once else None):
            if descriptor == self._event:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._event)
                self._is_told = False  # before anybody looks at what is new
            else:
                ready.append(waiting[descriptor])
        return ready

    def _end(self, flow: Flow) -> None:
        self._flows.remove(flow)
        flow.close()

    def close(self) -> None:
        """The machine is off: no flow goes on, and whoever waits for one hears so."""
        with self._adding:
            if self._is_closed:
                return
            self._is_closed = True
        for flow in (*self._flows, *self._new):
            flow.close()
            if not flow.dropped:
                flow.over(False)
        self._flows, self._new = [], []
        with self._telling:
            os.close(self._event)
