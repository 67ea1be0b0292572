"""The network `user`: made when the guest first needs it, served by one thread while it runs."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

from auberge.machine.net.forward import Forward
from auberge.machine.virtio.net import Nic
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.machine.net.nat import Nat
    from auberge.machine.net.passt import Passt
    from auberge.machine.net.passt_process import PasstProcess

Carrier = Literal["auto", "passt", "builtin"]
"""What carries a guest's packets to other hosts: auto is passt where it works."""


class Found(NamedTuple):
    """What carries a guest's packets to other hosts, and why; running, if it is passt."""

    name: str
    why: str
    process: "PasstProcess | None" = None


def find_carrier(wish: Carrier) -> Found:
    """What there is on this host; raises Refusal if passt is asked for and does not work."""
    if wish == "builtin":
        return Found("builtin", "asked for")
    from auberge.machine.net.passt_process import start_passt

    try:
        process = start_passt()
    except Refusal as refusal:
        if wish == "passt":
            raise
        return Found("builtin", str(refusal).rpartition("; ")[0])
    return Found("passt", f"{process.path} works", process)


RESOLV_CONF = "/etc/resolv.conf"


def host_resolvers(path: str = RESOLV_CONF) -> list[str]:
    """The addresses of the host's DNS servers (resolv.conf(5)), as they are now."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    named = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return [name for name in named if _is_numeric(name)]


def _is_numeric(name: str) -> bool:
    """Whether connecting to it asks no resolver; an address with a scope is not taken either."""
    from socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in name else AF_INET, name)
    except OSError:
        return False
    return True


class UserNetwork:
    """A `Link` to the built-in network address translation, and to passt as `carrier` says.

    Sockets cost tens of milliseconds to import, and few guests use the network at once: so the
    thread makes it while the guest boots. With forwards it is made here, so that a port that
    can't be had is said before the guest boots; so it is where a passt has to be.
    """

    def __init__(
        self,
        forwards: Sequence[Forward],
        host_loopback: bool,
        entropy: Callable[[int], bytes],
        carrier: Carrier = "builtin",
        resolvers: Callable[[], Sequence[str]] = host_resolvers,
        dns_port: int = 53,
    ) -> None:
        self._arguments = forwards, host_loopback, entropy, resolvers, dns_port
        self._carrier = carrier
        self._making = threading.Lock()
        self._end: Nat | Passt | None = None
        self._nic: Nic | None = None
        if forwards or carrier == "passt":
            self.end()

    def end(self) -> "Nat | Passt":
        """The other end of the cable, made if it is not yet."""
        with self._making:
            if self._end is None:
                self._end = self._make()
                if self._nic is not None:
                    self._end.plug(self._nic)
            return self._end

    def _make(self) -> "Nat | Passt":
        from auberge.machine.net.nat import Choices, Nat
        from auberge.machine.net.reactor import Reactor

        forwards, host_loopback, entropy, resolvers, dns_port = self._arguments
        choices = Choices(resolvers, forwards, host_loopback, dns_port)
        try:
            reactor = Reactor(time.monotonic)
        except OSError as error:
            raise Refusal(
                f"net: the host has no descriptors to give ({error.strerror});"
                " close something, or use net none"
            ) from None
        try:
            nat = Nat(choices, reactor, entropy)
        except BaseException:
            reactor.close()
            raise
        return self._carried(nat)

    def _carried(self, nat: "Nat") -> "Nat | Passt":
        try:
            process = find_carrier(self._carrier).process
        except BaseException:
            nat.close()
            nat.reactor.close()
            raise
        if process is None:
            return nat
        from auberge.machine.net.passt import Passt

        return Passt(nat, process)

    # -- as Link --------------------------------------------------------------------------------

    def plug(self, nic: Nic) -> None:
        """As `Link`."""
        with self._making:
            self._nic = nic
            if self._end is not None:
                self._end.plug(nic)

    def transmit(self, frame: bytes, checksum_at: int, checksum_offset: int) -> None:
        """As `Link`."""
        (self._end or self.end()).transmit(frame, checksum_at, checksum_offset)

    def flush(self) -> None:
        """As `Link`."""
        if self._end is not None:
            self._end.flush()

    # -- as Service -----------------------------------------------------------------------------

    def serve(self, lock: AbstractContextManager[object]) -> None:
        """As `Service`."""
        self.end().reactor.serve(_Timed(self, lock))

    def stop(self) -> None:
        """As `Service`."""
        self.end().reactor.stop()

    @property
    def ports(self) -> list[Forward]:
        """As `Network`."""
        return self.end().ports if self._arguments[0] else []

    def close(self) -> None:
        """As `Network`."""
        if self._end is not None:
            self._end.close()
            self._end.reactor.close()

    @property
    def nic(self) -> Nic | None:
        """What is plugged in."""
        return self._nic


class _Timed:
    """Holds the lock, and counts the time as the network's."""

    __slots__ = ("_network", "_lock", "_begin")

    def __init__(self, network: UserNetwork, lock: AbstractContextManager[object]) -> None:
        self._network = network
        self._lock = lock
        self._begin = 0

    def __enter__(self) -> None:
        self._lock.__enter__()
        self._begin = time.thread_time_ns()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        nic = self._network.nic
        if nic is not None:
            nic.counts.python_ns += time.thread_time_ns() - self._begin
        self._lock.__exit__(kind, error, trace)
