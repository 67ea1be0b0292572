"""The console: what the guest prints, by whatever way, and what is typed to it."""

import threading
from collections.abc import Callable

from auberge.machine.until import Expected

KEPT = 1 << 20
"""Bytes of output that stay readable; older ones are forgotten when there are twice as many."""

BATCH = 1 << 16
"""Bytes that may wait for the sink; a guest that prints more waits for the sink itself."""


class Console:
    """Output goes to `sink` in batches, and is kept; input waits here until `wire` takes it.

    `put` and `watch` are called under the machine's device lock. `put` happens at every character,
    so it does little: it calls `wake`, and someone calls `flush` a little later. `feed` and `flush`
    are for any thread.
    """

    def __init__(self, sink: Callable[[bytes], None], wake: Callable[[], None]) -> None:
        self._sink = sink
        self._wake = wake
        self._flushing = threading.Lock()
        self._kept = bytearray()
        self._flushed = 0  # of `_kept`
        self._forgotten = 0
        self._watch: tuple[Expected, int, Callable[[bytes], None]] | None = None
        self.matched = 0
        """Where, in all that was printed, what was last watched for ended."""
        self._typing = threading.Lock()
        self._typed = bytearray()

    # -- output ---------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """How many bytes have been printed so far."""
        return self._forgotten + len(self._kept)

    @property
    def forgotten(self) -> int:
        """How many of them are not kept any more."""
        return self._forgotten

    def since(self, position: int) -> bytes:
        """What was printed from `position` on, as far as it is still kept."""
        return bytes(self._kept[max(0, position - self._forgotten) :])

    def put(self, data: bytes) -> None:
        """Print `data`."""
        if len(self._kept) == self._flushed:
            self._wake()
        self._kept += data
        if self._watch is not None:
            self._look()
        if len(self._kept) - self._flushed > BATCH:
            self.flush()
        if len(self._kept) > 2 * KEPT:
            self._forget()

    def watch(self, expected: Expected, position: int, found: Callable[[bytes], None]) -> None:
        """Call `found` once what is `expected` is printed from `position` on, with what that is."""
        self._watch = expected, position, found
        self._look()

    def unwatch(self) -> None:
        """Look for nothing any more."""
        self._watch = None

    def _look(self) -> None:
        watch = self._watch
        if watch is None:
            return
        expected, position, found = watch
        start = max(0, position - self._forgotten)
        where = expected.find(self._kept, start)
        if where is None:
            self._watch = expected, self._forgotten + expected.again(self._kept, start), found
        else:
            self._watch = None
            self.matched = self._forgotten + where[1]
            found(bytes(self._kept[where[0] : where[1]]))

    @property
    def waiting(self) -> bool:
        """Whether something printed has not reached the sink."""
        return self._flushed < len(self._kept)

    def flush(self) -> None:
        """Hand the sink what it has not seen; for any thread."""
        with self._flushing:
            end = len(self._kept)
            data = bytes(self._kept[self._flushed : end])
            self._flushed = end
            if data:
                self._sink(data)

    def _forget(self) -> None:
        with self._flushing:
            gone = len(self._kept) - KEPT
            self._flushed -= gone
            self._forgotten += gone
            del self._kept[:gone]

    # -- input ----------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Type `data`: it reaches the guest in order, as fast as the guest takes it."""
        with self._typing:
            self._typed += data
        self._wake()

    @property
    def untaken(self) -> int:
        """How many bytes were typed that the guest's hardware has not taken."""
        return len(self._typed)

    def deliver(self, wire: Callable[[bytes], int]) -> None:
        """Offer what was typed to `wire`, which says how many bytes it took."""
        with self._typing:
            if self._typed:
                del self._typed[: wire(bytes(self._typed))]
