"""The entropy device (virtio 1.2, 5.4)."""

from collections.abc import Callable
from typing import NamedTuple

from auberge.machine.virtio.device import Transport
from auberge.machine.virtio.queue import Queue

# A request may offer all of memory; "the device MUST place one or more random bytes into the
# buffer, but it MAY use less than the entire buffer length" (5.4.6.2).
_MOST = 4096


class EntropyState(NamedTuple):
    """Nothing: no byte is remembered."""


RESET = EntropyState()


class Entropy:
    """Fills the driver's buffers with what `entropy(count)` returns."""

    __slots__ = ("_entropy",)

    device_id = 4
    features = 0
    queue_sizes = (64,)

    def __init__(self, entropy: Callable[[int], bytes], state: EntropyState = RESET) -> None:
        self._entropy = entropy

    @property
    def state(self) -> EntropyState:
        return EntropyState()

    def attach(self, transport: Transport) -> None:
        pass

    def config(self) -> bytes:
        return b""

    def configure(self, offset: int, data: bytes) -> None:
        pass

    def reset(self) -> None:
        pass

    def service(self, index: int, queue: Queue) -> None:
        for chain in queue:
            written = 0
            for view in chain.writable:
                size = min(view.nbytes, _MOST - written)
                view[:size] = self._entropy(size)
                written += size
            queue.push(chain.head, written)
