"""One thread's wait for many descriptors and moments."""

import heapq
import os
import select
from collections.abc import Callable
from contextlib import AbstractContextManager

IN, OUT = select.EPOLLIN, select.EPOLLOUT

_EVENTS = 64  # handled in one turn, so that the guest's devices are not kept waiting long


class Reactor:
    """Calls handlers when descriptors are ready and moments have come; `now` is a clock in seconds.

    Everything but `serve` and `stop` is called under the lock that `serve` is given.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, IN)
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._moments: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._asleep_until: float | None = 0.0
        self._stopping = False

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with what happens to `fd` of `events`, from now on."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Watch `fd` no more, if it is; to be called before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def at(self, moment: float, callback: Callable[[], None]) -> None:
        """Call `callback` at `moment` or soon after."""
        self._numbers += 1
        heapq.heappush(self._moments, (moment, self._numbers, callback))
        if self._asleep_until is None or moment < self._asleep_until:
            os.eventfd_write(self._wake, 1)

    def turn(self, ready: list[tuple[int, int]]) -> None:
        """Handle what is `ready`, and the moments that have come."""
        self._asleep_until = 0.0  # so that nobody wakes us meanwhile
        for fd, events in ready:
            if fd == self._wake:
                os.eventfd_read(fd)
                continue
            handler = self._handlers.get(fd)  # an earlier one may have closed it
            if handler is not None:
                handler(events)
        now = self.now()
        while self._moments and self._moments[0][0] <= now:
            heapq.heappop(self._moments)[2]()
        self._asleep_until = self._moments[0][0] if self._moments else None

    def poll(self, longest: float) -> list[tuple[int, int]]:
        """Wait for something to be ready, until the next moment or for `longest` seconds."""
        until = self._asleep_until
        wait = longest if until is None else min(longest, max(0.0, until - self.now()))
        return self._epoll.poll(wait, _EVENTS)

    def serve(self, turn: AbstractContextManager[object]) -> None:
        """Do all that until `stop`, each turn inside `turn`."""
        while not self._stopping:
            ready = self.poll(3600.0)
            with turn:
                self.turn(ready)
        self._stopping = False

    def stop(self) -> None:
        """Have `serve` return; from any thread."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the descriptors back; those watched are their owners'."""
        self._handlers.clear()
        self._moments.clear()
        self._epoll.close()
        os.close(self._wake)
