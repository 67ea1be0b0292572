"""Who has which address on a bridge: a folder with a lock and one file for each address.

    FOLDER/lock          whoever changes anything here holds it (flock(2)); a crash gives it back
    FOLDER/10.90.0.2     container NAME
                         forward 127.0.0.1:8080:80
                         forward 0.0.0.0:5353:53/udp

A lease is written before its link is made and removed after it, all under the lock. So a lease
whose link is gone belongs to nobody any more: whoever looks next collects it.
"""

import fcntl
import os
from contextlib import contextmanager

from auberge.container.light import Iterator, NamedTuple
from auberge.machine.net.forward import Forward, parse_forward
from auberge.refusal import Refusal, reason


class Subnet(NamedTuple):
    """An IPv4 network of a bridge's; its first address is the gateway."""

    network: int
    prefix: int

    def __str__(self) -> str:
        return f"{address(self.network)}/{self.prefix}"

    @property
    def gateway(self) -> str:
        """The host's address on the bridge."""
        return address(self.network + 1)

    def host(self, number: int) -> str:
        """The address with this number; 1 is the gateway."""
        return address(self.network + number)

    @property
    def last(self) -> int:
        """The highest number of a host; one more is the broadcast address."""
        return (1 << 32 - self.prefix) - 2


def address(number: int) -> str:
    """As people write it."""
    return ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8, 0))


def parse_subnet(text: str) -> Subnet:
    """`10.90.0.0/16`; raises Refusal."""
    host, _, prefix = text.partition("/")
    parts = host.split(".")
    good = len(parts) == 4 and all(p.isdecimal() and len(p) < 4 and int(p) < 256 for p in parts)
    if not good or not (prefix.isdecimal() and len(prefix) < 3 and 8 <= int(prefix) <= 29):
        raise Refusal(
            f"network: {text!r} is no IPv4 network for a bridge; write one such as '10.90.0.0/16', "
            "with /8 to /29"
        )
    number = int.from_bytes(bytes(int(part) for part in parts), "big")
    mask = (1 << 32) - (1 << 32 - int(prefix))
    return Subnet(number & mask, int(prefix))


class Lease(NamedTuple):
    """A container's address, and what of the host leads to it."""

    number: int  # of the host in the subnet
    container: str
    forwards: tuple[Forward, ...] = ()


class Leases:
    """The leases in a folder; all calls under `locked`."""

    def __init__(self, folder: str, subnet: Subnet) -> None:
        self._folder = folder
        self._subnet = subnet

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile."""
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            lock = os.open(f"{self._folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refusal(f"{self._folder}: {reason(error)}; be root, or use --net user") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def all(self) -> list[Lease]:
        """Every lease, sorted; a file that is none is passed over."""
        numbers = (self._number(name) for name in os.listdir(self._folder))
        leases = (self._read(number) for number in sorted(filter(None, numbers)))
        return [lease for lease in leases if lease is not None]

    def take(self, container: str, forwards: tuple[Forward, ...]) -> Lease:
        """The lowest address that is free; raises Refusal if none is."""
        taken = {lease.number for lease in self.all()}
        number = next((n for n in range(2, self._subnet.last + 1) if n not in taken), 0)
        if not number:
            raise Refusal(
                f"network: all addresses of {self._subnet} are taken; stop a container, or make "
                "the network larger"
            )
        lease = Lease(number, container, forwards)
        self.write(lease)
        return lease

    def write(self, lease: Lease) -> None:
        """All of it or, after a crash, nothing."""
        lines = [f"container {lease.container}", *(f"forward {f}" for f in lease.forwards)]
        temporary = f"{self._folder}/.new"
        with open(temporary, "w") as file:
            file.write("\n".join(lines) + "\n")
        os.rename(temporary, self._path(lease.number))

    def free(self, lease: Lease) -> None:
        """Give the address back, unless it is someone else's by now."""
        there = self._read(lease.number)
        if there is not None and there.container == lease.container:
            os.unlink(self._path(lease.number))

    def _path(self, number: int) -> str:
        return f"{self._folder}/{self._subnet.host(number)}"

    def _number(self, name: str) -> int:
        parts = name.split(".")
        if len(parts) != 4 or not all(p.isdecimal() and int(p) < 256 for p in parts):
            return 0
        whole = int.from_bytes(bytes(int(part) for part in parts), "big")
        number = whole - self._subnet.network
        return number if 2 <= number <= self._subnet.last else 0

    def _read(self, number: int) -> Lease | None:
        try:
            with open(self._path(number), errors="replace") as file:
                lines = [line.rstrip("\n").partition(" ") for line in file]
        except OSError:
            return None
        try:
            forwards = tuple(parse_forward(text) for key, _, text in lines if key == "forward")
        except Refusal:
            forwards = ()
        container = next((text for key, _, text in lines if key == "container"), "")
        return Lease(number, container, forwards)
