"""What the flows of a guest need from the network that they belong to."""

from typing import Protocol

from auberge.machine.net.reactor import Reactor


class House(Protocol):
    """The network of one guest, as its flows see it."""

    @property
    def reactor(self) -> Reactor: ...
    @property
    def mtu(self) -> int:
        """The longest packet that the guest takes."""
        ...

    def refuse(self) -> None:
        """Count something that was not let through."""
        ...

    def place(self, address: bytes, port: int) -> tuple[str, int] | None:
        """Where on the host's side the guest's `address` and `port` are; None if nowhere."""
        ...

    def try_next_resolver(self) -> None:
        """The resolver in use does not answer."""
        ...

    def seen_as(self, host: str) -> bytes:
        """The address at which the guest sees a peer that came by a forward."""
        ...

    def send_udp(self, source: bytes, source_port: int, port: int, data: bytes) -> None:
        """Send the guest a datagram."""
        ...

    def send_ipv4(self, protocol: int, source: bytes, header: bytes, data: bytes) -> None:
        """Send the guest a packet; the checksum of UDP and TCP holds the pseudo header's sum."""
        ...
