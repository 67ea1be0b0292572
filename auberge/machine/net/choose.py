"""Which network a machine has, from what its user wrote."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from auberge.machine.net.forward import Forward, parse_forward
from auberge.machine.net.user import Carrier, UserNetwork
from auberge.machine.virtio.net import Nic
from auberge.refusal import Refusal

HOST_LOOPBACK = "host-loopback"
CARRIERS: tuple[Carrier, ...] = ("passt", "builtin")


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
    if net == "none":
        if forwards:
            raise Refusal(f"ports: {forwards[0]} leads to a guest without a network; use net user")
        return None
    kind, *wishes = net.split(",")
    carriers = [name for name in CARRIERS if name in wishes]
    if kind != "user" or not {*wishes} <= {*CARRIERS, HOST_LOOPBACK} or len(carriers) > 1:
        raise Refusal(
            f"net: {net!r} is no network; choose none or user; after user, with commas,"
            f" {HOST_LOOPBACK} and one of {' and '.join(CARRIERS)} are possible"
        )
    carrier = carriers[0] if carriers else "auto"
    return UserNetwork(forwards, HOST_LOOPBACK in wishes, entropy, carrier)
