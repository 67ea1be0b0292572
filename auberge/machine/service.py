"""What works for a device beside the harts while a machine runs, as a network does."""

from contextlib import AbstractContextManager
from typing import Protocol


class Service(Protocol):
    """Has a thread of the machine's to itself for each run, and uses devices under its lock."""

    def serve(self, lock: AbstractContextManager[object]) -> None:
        """Work until `stop` is called; `lock` is the device lock, for short turns of work."""
        ...

    def stop(self) -> None:
        """Have `serve` return soon; from any thread, also before it has begun."""
        ...
