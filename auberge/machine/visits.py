"""Looking at a machine while no hart executes, in the middle of a run too."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Visits:
    """One visitor at a time, from any thread; the run's thread lets them in between two stretches.

    `interrupt` has the present stretch end soon. Harts hold nothing that a visitor may need.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._still = True
        self._visitor: int | None = None
        self._awaited: set[int] = set()
        self.wanted = False
        """Whether someone waits until the harts stand still, or looks at them."""

    @property
    def here(self) -> bool:
        """Whether the calling thread is the visitor."""
        return self._visitor == threading.get_ident()

    @contextmanager
    def visit(self) -> Iterator[None]:
        """A context in which no hart executes; a machine that runs goes on afterwards."""
        if self.here:
            yield
            return
        if threading.get_ident() in self._awaited:
            raise RuntimeError(
                "what a running machine calls cannot look at it: it would wait for itself;"
                " look from another thread, from a hook, or after the run"
            )
        with self._turn:
            try:
                with self._changed:
                    self.wanted = True
                    running = not self._still
                if running:
                    self._interrupt()
                with self._changed:
                    self._changed.wait_for(lambda: self._still)
                    self._visitor = threading.get_ident()
                yield
            finally:
                with self._changed:
                    self._visitor = None
                    self.wanted = False
                    self._changed.notify_all()

    # -- for the run's thread -------------------------------------------------------------------

    def begin(self) -> None:
        """From here on harts may execute; waits for a visitor to leave."""
        if self.here:
            raise RuntimeError("who looks at a machine cannot run it meanwhile")
        with self._changed:
            self._changed.wait_for(lambda: not self.wanted)
            self._still = False

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """A context in which the calling thread, of the run or of a hart, lets visitors wait."""
        self._awaited.add(threading.get_ident())
        try:
            yield
        finally:
            self._awaited.discard(threading.get_ident())

    def end(self) -> None:
        """No hart executes any more."""
        with self._changed:
            self._still = True
            self._changed.notify_all()
