"""A bridge of our own: each container has a cable to it, an address, and the host's way outside."""

import os
import socket

from auberge.container.light import NamedTuple
from auberge.container.network_leases import Lease, Leases, Subnet, parse_subnet
from auberge.container.network_netlink import Netlink, NetlinkError
from auberge.container.network_ports import free_port
from auberge.container.network_rules import Rules
from auberge.machine.net.forward import Forward
from auberge.refusal import Refusal, reason

INSIDE = "eth0"
"""The name of a container's end."""

_LONGEST_NAME = 8  # of a bridge: its cables have five characters more, of IFNAMSIZ (16)


class Rates(NamedTuple):
    """Bytes a second; 0 is no limit."""

    down: int = 0  # to the container
    up: int = 0  # from it


UNLIMITED = Rates()


class Bridge(NamedTuple):
    """A bridge, and where its leases are (network_leases.py)."""

    name: str = "auberge0"
    subnet: str = "10.90.0.0/16"
    folder: str = "/run/auberge/network"


class Attachment(NamedTuple):
    """A container's place on a bridge: all it takes to end it."""

    bridge: Bridge
    lease: Lease
    address: str
    gateway: str


def attach(
    bridge: Bridge,
    container: str,
    pid: int,
    forwards: tuple[Forward, ...] = (),
    rates: Rates = UNLIMITED,
) -> Attachment:
    """Connect the network namespace of `pid`, which must have no network yet; raises Refusal.

    Whatever crashed containers have left is collected first. A crash in here leaves at most a lease
    and a cable, which end with the namespace and the next call.
    """
    _check_name(bridge.name)
    subnet = parse_subnet(bridge.subnet)
    leases = Leases(os.path.join(bridge.folder, bridge.name), subnet)
    with leases.locked(), Rules(bridge.name) as rules, _opened() as netlink:
        _collect(bridge, leases, rules, netlink)
        try:
            _prepare(bridge, subnet, leases, rules, netlink)
            forwards = tuple(free_port(forward) for forward in forwards)
            lease = leases.take(container, forwards)
            try:
                _connect(bridge, subnet, lease, pid, netlink)
                _slow_down(_cable(bridge, lease), _brake(bridge, lease), rates, netlink)
                rules.add(forwards, subnet.host(lease.number))
            except BaseException:
                _release(bridge, subnet, lease, leases, rules, netlink)
                raise
        except NetlinkError as error:
            raise _refusal(error) from None
        except OSError as error:
            why = reason(error)
            raise Refusal(
                f"network: {error.filename or f'process {pid}'}: {why}; be root, or use --net user"
            ) from None
    return Attachment(bridge, lease, subnet.host(lease.number), subnet.gateway)


def detach(attachment: Attachment) -> None:
    """Take the container's cable, rules and lease away; what is gone already is no matter."""
    bridge, lease = attachment.bridge, attachment.lease
    subnet = parse_subnet(bridge.subnet)
    leases = Leases(os.path.join(bridge.folder, bridge.name), subnet)
    with leases.locked(), Rules(bridge.name) as rules, _opened() as netlink:
        if lease in leases.all():
            _release(bridge, subnet, lease, leases, rules, netlink)


def detach_by_name(bridge: Bridge, container: str) -> None:
    """The same of a container that another process had connected."""
    folder = os.path.join(bridge.folder, bridge.name)
    if not os.path.isdir(folder):
        return
    subnet = parse_subnet(bridge.subnet)
    leases = Leases(folder, subnet)
    with leases.locked():
        found = [lease for lease in leases.all() if lease.container == container]
        if found:
            with Rules(bridge.name) as rules, _opened() as netlink:
                for lease in found:
                    _release(bridge, subnet, lease, leases, rules, netlink)


def collect(bridge: Bridge) -> list[str]:
    """Free what belongs to containers that have ended without anyone's help; their names."""
    leases = Leases(os.path.join(bridge.folder, bridge.name), parse_subnet(bridge.subnet))
    with leases.locked(), Rules(bridge.name) as rules, _opened() as netlink:
        return _collect(bridge, leases, rules, netlink)


def remove(bridge: Bridge) -> None:
    """Take the bridge itself away, if no container is on it; raises Refusal if one is."""
    leases = Leases(os.path.join(bridge.folder, bridge.name), parse_subnet(bridge.subnet))
    with leases.locked(), Rules(bridge.name) as rules, _opened() as netlink:
        _collect(bridge, leases, rules, netlink)
        if left := leases.all():
            raise Refusal(
                f"{bridge.name}: {left[0].container} is connected to it; stop the container first"
            )
        rules.remove_all()
        netlink.delete(bridge.name)


# -- the parts ------------------------------------------------------------------------------------


def _opened() -> Netlink:
    try:
        return Netlink()
    except NetlinkError as error:
        raise _refusal(error) from None


def _refusal(error: NetlinkError) -> Refusal:
    if error.forbidden:
        return Refusal(
            "network: a bridge needs the capability CAP_NET_ADMIN; be root, or use --net user"
        )
    return Refusal(f"network: {error}; look at 'ip link', or use --net user")


def _check_name(name: str) -> None:
    if not (name.isascii() and name.isalnum() and name[0].isalpha() and len(name) <= _LONGEST_NAME):
        raise Refusal(
            f"network: {name!r} is no name for a bridge; write up to {_LONGEST_NAME} letters and "
            "digits"
        )


def _cable(bridge: Bridge, lease: Lease) -> str:
    """The host's end of a container's cable."""
    return f"{bridge.name}v{lease.number:x}"


def _brake(bridge: Bridge, lease: Lease) -> str:
    """The link that slows down what a container sends."""
    return f"{bridge.name}i{lease.number:x}"


def _prepare(
    bridge: Bridge, subnet: Subnet, leases: Leases, rules: Rules, netlink: Netlink
) -> None:
    """The bridge and its rules, where they are not there (a host's restart takes both)."""
    if not netlink.index(bridge.name):
        netlink.add_bridge(bridge.name)
    elif rules.exist:
        return
    if os.path.exists(f"/proc/sys/net/ipv6/conf/{bridge.name}"):
        # The rules are of IPv4: by a link-local address of IPv6 the host could be reached.
        _setting(f"net/ipv6/conf/{bridge.name}/disable_ipv6", "1")
    # An Ethernet address of its own: else it has the lowest of its cables', and changes with them.
    netlink.change(bridge.name, mac=_mac(subnet, 1))
    netlink.add_address(bridge.name, subnet.gateway, subnet.prefix)
    router = _was_a_router(bridge)
    _setting(f"net/ipv4/conf/{bridge.name}/route_localnet", "1")
    rules.make(
        str(subnet),
        subnet.gateway,
        router,
        [(f, subnet.host(lease.number)) for lease in leases.all() for f in lease.forwards],
    )


def _was_a_router(bridge: Bridge) -> bool:
    """Whether this host forwarded packets before we had it do so, which a file remembers."""
    note = os.path.join(bridge.folder, "not-a-router")
    if _setting("net/ipv4/ip_forward", "1") != "1":
        with open(note, "w"):
            pass
    return not os.path.exists(note)


def _setting(name: str, value: str) -> str:
    """Set a parameter of the kernel's; what it was."""
    path = f"/proc/sys/{name}"
    with open(path) as file:
        before = file.read().strip()
    if before != value:
        with open(path, "w") as file:
            file.write(value)
    return before


def _connect(bridge: Bridge, subnet: Subnet, lease: Lease, pid: int, netlink: Netlink) -> None:
    cable = _cable(bridge, lease)
    netlink.delete(cable)  # of a namespace that is about to go
    netlink.add_pair(cable, INSIDE, pid)
    netlink.change(cable, master=bridge.name)
    with Netlink(pid) as inside:
        inside.change("lo")
        # The address says the Ethernet address, so that nobody remembers another's.
        inside.change(INSIDE, mac=_mac(subnet, lease.number))
        inside.add_address(INSIDE, subnet.host(lease.number), subnet.prefix)
        inside.add_default_route(INSIDE, subnet.gateway)


def _mac(subnet: Subnet, number: int) -> bytes:
    """Locally administered (the second bit of the first byte), with the address in it."""
    return b"\x02\xab" + (subnet.network + number).to_bytes(4, "big")


def _slow_down(cable: str, brake: str, rates: Rates, netlink: Netlink) -> None:
    """On the host's side of the cable, where the container has no say."""
    if rates.down:
        netlink.limit(cable, rates.down)
    if rates.up:
        netlink.delete(brake)
        netlink.add_ifb(brake)
        netlink.change(brake)
        netlink.limit(brake, rates.up)
        netlink.redirect_arriving(cable, brake)


def _collect(bridge: Bridge, leases: Leases, rules: Rules, netlink: Netlink) -> list[str]:
    links = {name for _, name in socket.if_nameindex()}
    subnet = parse_subnet(bridge.subnet)
    gone = [lease for lease in leases.all() if _cable(bridge, lease) not in links]
    for lease in gone:
        _release(bridge, subnet, lease, leases, rules, netlink)
    return [lease.container for lease in gone]


def _release(
    bridge: Bridge, subnet: Subnet, lease: Lease, leases: Leases, rules: Rules, netlink: Netlink
) -> None:
    rules.remove(lease.forwards, subnet.host(lease.number))
    netlink.delete(_cable(bridge, lease))
    netlink.delete(_brake(bridge, lease))
    leases.free(lease)
