"""What a virtio device is to its transport, and the transport to it."""

from typing import Protocol

from auberge.machine.virtio.queue import Queue


class Transport(Protocol):
    """What a device may ask of the transport that carries it, under the device lock."""

    def kick(self, index: int) -> None:
        """Have `service` called for queue `index` if the driver has made it live; else nothing."""
        ...

    def config_changed(self) -> None:
        """Tell the driver that the configuration space reads differently now."""
        ...


class VirtioDevice(Protocol):
    """A device type of chapter 5: its id, features, queues and configuration space."""

    @property
    def device_id(self) -> int: ...
    @property
    def features(self) -> int:
        """The device-type features offered, bits 0 to 23; the transport adds its own."""
        ...

    @property
    def queue_sizes(self) -> tuple[int, ...]:
        """The largest size of each queue."""
        ...

    @property
    def state(self) -> tuple[object, ...]: ...

    def attach(self, transport: Transport) -> None:
        """Called once, when a transport takes the device."""
        ...

    def config(self) -> bytes:
        """The configuration space as it reads now."""
        ...

    def configure(self, offset: int, data: bytes) -> None:
        """The driver wrote `data` into the configuration space; what is not writable is ignored."""
        ...

    def service(self, index: int, queue: Queue) -> None:
        """Do what the chains available in `queue` ask for; may raise QueueError, nothing else."""
        ...

    def reset(self) -> None:
        """Forget what the driver said: it begins anew."""
        ...
