"""Which network a machine has, from what its user wrote."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from auberge.machine.net.forward import Forward, parse_forward
from auberge.machine.net.user import UserNetwork
from auberge.machine.virtio.net import Nic
from auberge.refusal import Refusal

NETWORKS = ("none", "user", "user,host-loopback")


class Network(Protocol):
    """A `Link` that is a `Service` too, and to be closed."""

    @property
    def ports(self) -> list[Forward]:
        """The forwards, with the ports that the host chose for 0."""
        ...

    def plug(self, nic: Nic) -> None: ...
    def transmit(self, frame: bytes, checksum_at: int, checksum_offset: int) -> None: ...
    def flush(self) -> None: ...
    def serve(self, lock: AbstractContextManager[object]) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None:
        """Give back what it has of the host."""
        ...


def make_network(net: str, ports: Sequence[str], entropy: Callable[[int], bytes]) -> Network | None:
    """The network that `net` names, with its forwards; None for "none"."""
    forwards = [parse_forward(port) for port in ports]
    if net not in NETWORKS:
        raise Refusal(f"net: {net!r} is no network; choose from {', '.join(NETWORKS)}")
    if net == "none":
        if forwards:
            raise Refusal(f"ports: {forwards[0]} leads to a guest without a network; use net user")
        return None
    return UserNetwork(forwards, net == "user,host-loopback", entropy)
