"""A transport's slot with nothing in it (virtio 1.2, 4.2.2: device ID 0)."""

from typing import NamedTuple

from auberge.machine.virtio.device import Transport
from auberge.machine.virtio.queue import Queue


class VacantState(NamedTuple):
    """Nothing."""


class Vacant:
    """ "If this is 0, the driver MUST ignore the device": boards keep slots that may be filled."""

    __slots__ = ()

    device_id = 0
    features = 0
    queue_sizes: tuple[int, ...] = ()
    state = VacantState()

    def attach(self, transport: Transport) -> None:
        pass

    def config(self) -> bytes:
        return b""

    def configure(self, offset: int, data: bytes) -> None:
        pass

    def service(self, index: int, queue: Queue) -> None:
        pass

    def reset(self) -> None:
        pass
