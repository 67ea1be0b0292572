"""Links, addresses, routes and rates of a network namespace: rtnetlink(7), through libnl-route.

libnl because it is small and in every distribution: it is loaded in a millisecond, where the
library for Python (pyroute2) takes 400 ms of processor time to import. Names are libnl's.
"""

import ctypes
import os
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_uint32, c_void_p
from socket import AF_INET, inet_aton

from auberge.container.light import Callable, Iterator
from auberge.refusal import Refusal

_NETLINK_ROUTE = 0
_CREATE, _EXCLUSIVE, _REPLACE = 0x400, 0x200, 0x100  # NLM_F_*
_UP = 1  # IFF_UP
_AF_LLC = 26  # what libnl calls the family of an Ethernet address
_MISSING = (12, 31)  # NLE_OBJ_NOTFOUND, NLE_NODEV
_PERMISSION = (27, 28)  # NLE_NOACCESS, NLE_PERM
_CLONE_NEWNET = 0x4000_0000

# linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h
_ROOT, _INGRESS, _INGRESS_HANDLE = 0xFFFF_FFFF, 0xFFFF_FFF1, 0xFFFF_0000
_EGRESS_REDIR, _STOLEN = 1, 4
_ALL_PROTOCOLS = 3  # ETH_P_ALL

LATENCY = 0.05
"""Seconds that a packet may wait for its turn before the next ones are lost."""

_LEAST_BURST = 1 << 16  # bytes: a packet that was never cut up (GSO) has this length


class NetlinkError(Exception):
    """The kernel has refused; `code` is libnl's NLE_*."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.code = code

    @property
    def missing(self) -> bool:
        """Whether there is no such thing."""
        return self.code in _MISSING

    @property
    def forbidden(self) -> bool:
        """Whether the caller lacks CAP_NET_ADMIN."""
        return self.code in _PERMISSION


_P, _TEXT, _INT = c_void_p, c_char_p, c_int
_TYPES: dict[str, tuple[type[c_void_p] | type[c_char_p] | type[c_int] | type[c_uint32], ...]] = {
    "nl_socket_alloc": (_P,),
    "nl_socket_free": (_INT, _P),
    "nl_connect": (_INT, _P, _INT),
    "nl_geterror": (_TEXT, _INT),
    "nl_addr_build": (_P, _INT, _TEXT, _INT),
    "nl_addr_set_prefixlen": (_INT, _P, _INT),
    "nl_addr_put": (_INT, _P),
    "rtnl_route_nh_alloc": (_P,),
    **{f"rtnl_{kind}_alloc": (_P,) for kind in ("link", "addr", "route", "qdisc", "cls", "act")},
    **{f"rtnl_{kind}_put": (_INT, _P) for kind in ("link", "addr", "route", "qdisc", "cls", "act")},
    "rtnl_link_bridge_add": (_INT, _P, _TEXT),
    "rtnl_link_veth_add": (_INT, _P, _TEXT, _TEXT, _INT),
    "rtnl_link_get_kernel": (_INT, _P, _INT, _TEXT, _P),
    "rtnl_link_get_ifindex": (_INT, _P),
    "rtnl_link_set_name": (_INT, _P, _TEXT),
    "rtnl_link_set_type": (_INT, _P, _TEXT),
    "rtnl_link_set_flags": (_INT, _P, c_uint32),
    "rtnl_link_set_master": (_INT, _P, _INT),
    "rtnl_link_set_addr": (_INT, _P, _P),
    "rtnl_link_add": (_INT, _P, _P, _INT),
    "rtnl_link_change": (_INT, _P, _P, _P, _INT),
    "rtnl_link_delete": (_INT, _P, _P),
    "rtnl_addr_set_ifindex": (_INT, _P, _INT),
    "rtnl_addr_set_local": (_INT, _P, _P),
    "rtnl_addr_add": (_INT, _P, _P, _INT),
    "rtnl_route_set_dst": (_INT, _P, _P),
    "rtnl_route_nh_set_ifindex": (_INT, _P, _INT),
    "rtnl_route_nh_set_gateway": (_INT, _P, _P),
    "rtnl_route_add_nexthop": (_INT, _P, _P),
    "rtnl_route_add": (_INT, _P, _P, _INT),
    "rtnl_tc_set_ifindex": (_INT, _P, _INT),
    "rtnl_tc_set_parent": (_INT, _P, c_uint32),
    "rtnl_tc_set_handle": (_INT, _P, c_uint32),
    "rtnl_tc_set_kind": (_INT, _P, _TEXT),
    "rtnl_qdisc_tbf_set_rate": (_INT, _P, _INT, _INT, _INT),
    "rtnl_qdisc_tbf_set_limit": (_INT, _P, _INT),
    "rtnl_qdisc_add": (_INT, _P, _P, _INT),
    "rtnl_cls_set_prio": (_INT, _P, _INT),
    "rtnl_cls_set_protocol": (_INT, _P, _INT),
    "rtnl_u32_add_key": (_INT, _P, c_uint32, c_uint32, _INT, _INT),
    "rtnl_u32_set_cls_terminal": (_INT, _P),
    "rtnl_u32_add_action": (_INT, _P, _P),
    "rtnl_mirred_set_action": (_INT, _P, _INT),
    "rtnl_mirred_set_policy": (_INT, _P, _INT),
    "rtnl_mirred_set_ifindex": (_INT, _P, c_uint32),
    "rtnl_cls_add": (_INT, _P, _P, _INT),
}  # fmt: skip
"""What is used of libnl: the type of the answer, and those of the arguments."""


class _Libnl:
    """libnl-3 and libnl-route-3."""

    def __init__(self) -> None:
        try:
            core = ctypes.CDLL("libnl-3.so.200")
            route = ctypes.CDLL("libnl-route-3.so.200")
        except OSError:
            raise Refusal(
                "network: libnl-route-3.so.200 is not installed; install the package "
                "libnl-route-3-200, or use --net user, host or none"
            ) from None
        self._functions = {
            name: (route if name.startswith("rtnl_") else core)[name] for name in _TYPES
        }
        for name, (answer, *arguments) in _TYPES.items():
            self._functions[name].restype = answer
            self._functions[name].argtypes = arguments

    def do(self, name: str, *arguments: object) -> int:
        """A function that answers with a number: negative if it has failed."""
        return int(self._functions[name](*arguments))

    def get(self, name: str, *arguments: object) -> c_void_p:
        """One that answers with an object."""
        return c_void_p(self._functions[name](*arguments))

    def error(self, code: int) -> str:
        """What a negative answer means."""
        text: bytes | None = self._functions["nl_geterror"](code)
        return (text or b"unknown error").decode().lower()


_loaded: list[_Libnl] = []


def _load() -> _Libnl:
    if not _loaded:
        _loaded.append(_Libnl())
    return _loaded[0]


class Netlink:
    """A socket into a network namespace: of this thread, or of the process `pid`. A `with` closes
    it. Methods raise NetlinkError."""

    def __init__(self, pid: int | None = None) -> None:
        self._l = _load()
        self._socket = self._l.get("nl_socket_alloc")
        try:
            done = self._connect() if pid is None else _within(pid, self._connect)
            self._check(done, "netlink")
        except BaseException:
            self._l.do("nl_socket_free", self._socket)
            raise

    def _connect(self) -> int:
        return self._l.do("nl_connect", self._socket, _NETLINK_ROUTE)

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._l.do("nl_socket_free", self._socket)

    def _check(self, result: int, what: str) -> None:
        if result < 0:
            raise NetlinkError(-result, f"{what}: {self._l.error(result)}")

    def _call(self, name: str, *arguments: object) -> None:
        self._check(self._l.do(f"rtnl_{name}", self._socket, *arguments), name)

    @contextmanager
    def _new(self, kind: str) -> Iterator[c_void_p]:
        """An object of libnl's, given back at the end."""
        thing = self._l.get(f"rtnl_{kind}_alloc")
        try:
            yield thing
        finally:
            self._l.do(f"rtnl_{kind}_put", thing)

    @contextmanager
    def _address(self, family: int, data: bytes, prefix: int | None = None) -> Iterator[c_void_p]:
        address = self._l.get("nl_addr_build", family, data, len(data))
        if prefix is not None:
            self._l.do("nl_addr_set_prefixlen", address, prefix)
        try:
            yield address
        finally:
            self._l.do("nl_addr_put", address)

    # -- links --------------------------------------------------------------------------------

    def index(self, name: str) -> int:
        """The number of a link; 0 if there is none of that name."""
        link = c_void_p()
        try:
            self._call("link_get_kernel", 0, name.encode(), byref(link))
        except NetlinkError as error:
            if error.missing:
                return 0
            raise
        try:
            return self._l.do("rtnl_link_get_ifindex", link)
        finally:
            self._l.do("rtnl_link_put", link)

    def add_bridge(self, name: str) -> None:
        """A bridge; it is down."""
        self._call("link_bridge_add", name.encode())

    def add_pair(self, name: str, peer: str, pid: int) -> None:
        """Two ends of a cable (veth(4)), `peer` in the network namespace of `pid`."""
        self._call("link_veth_add", name.encode(), peer.encode(), pid)

    def add_ifb(self, name: str) -> None:
        """A link that only queues what is redirected to it, and sends it on from where it came."""
        with self._new("link") as link:
            self._l.do("rtnl_link_set_name", link, name.encode())
            self._check(self._l.do("rtnl_link_set_type", link, b"ifb"), "ifb")
            self._call("link_add", link, _CREATE | _EXCLUSIVE)

    def delete(self, name: str) -> None:
        """Remove a link, if there is one of that name."""
        with self._new("link") as link:
            self._l.do("rtnl_link_set_name", link, name.encode())
            try:
                self._call("link_delete", link)
            except NetlinkError as error:
                if not error.missing:
                    raise

    def change(self, name: str, up: bool = True, master: str = "", mac: bytes = b"") -> None:
        """Switch a link on, put it into a bridge, give it an Ethernet address."""
        with self._kernel(name) as link, self._new("link") as changes:
            if up:
                self._l.do("rtnl_link_set_flags", changes, _UP)
            if master:
                self._l.do("rtnl_link_set_master", changes, self.index(master))
            if mac:
                with self._address(_AF_LLC, mac) as address:
                    self._l.do("rtnl_link_set_addr", changes, address)
            self._call("link_change", link, changes, 0)

    @contextmanager
    def _kernel(self, name: str) -> Iterator[c_void_p]:
        link = c_void_p()
        self._call("link_get_kernel", 0, name.encode(), byref(link))
        try:
            yield link
        finally:
            self._l.do("rtnl_link_put", link)

    # -- IPv4 ---------------------------------------------------------------------------------

    def add_address(self, name: str, address: str, prefix: int) -> None:
        """Give a link an address, and so a route to its network."""
        with self._new("addr") as new, self._address(AF_INET, inet_aton(address), prefix) as local:
            self._l.do("rtnl_addr_set_ifindex", new, self.index(name))
            self._check(self._l.do("rtnl_addr_set_local", new, local), "address")
            self._call("addr_add", new, _CREATE | _REPLACE)

    def add_default_route(self, name: str, gateway: str) -> None:
        """Send what goes elsewhere to `gateway`, by that link."""
        with (
            self._new("route") as route,
            self._address(AF_INET, bytes(4), 0) as everywhere,
            self._address(AF_INET, inet_aton(gateway)) as next_hop,
        ):
            self._check(self._l.do("rtnl_route_set_dst", route, everywhere), "route")
            hop = self._l.get("rtnl_route_nh_alloc")
            self._l.do("rtnl_route_nh_set_ifindex", hop, self.index(name))
            self._l.do("rtnl_route_nh_set_gateway", hop, next_hop)
            self._l.do("rtnl_route_add_nexthop", route, hop)  # which owns it now
            self._call("route_add", route, _CREATE | _REPLACE)

    # -- rates --------------------------------------------------------------------------------

    def limit(self, name: str, rate: int) -> None:
        """Let a link send at most `rate` bytes a second: a token bucket (tc-tbf(8))."""
        burst = max(rate // 250, _LEAST_BURST)  # a bucket must last from one timer tick to the next
        with self._new("qdisc") as queue:
            self._traffic(queue, self.index(name), _ROOT, b"tbf")
            self._l.do("rtnl_qdisc_tbf_set_rate", queue, rate, burst, 0)
            self._l.do("rtnl_qdisc_tbf_set_limit", queue, int(rate * LATENCY) + burst)
            self._call("qdisc_add", queue, _CREATE | _REPLACE)

    def redirect_arriving(self, name: str, other: str) -> None:
        """Have what arrives at a link pass through the queue of `other` first."""
        index, target = self.index(name), self.index(other)
        with self._new("qdisc") as queue:
            self._traffic(queue, index, _INGRESS, b"ingress")
            self._l.do("rtnl_tc_set_handle", queue, _INGRESS_HANDLE)
            self._call("qdisc_add", queue, _CREATE | _REPLACE)
        with self._new("cls") as rule, self._new("act") as action:
            self._traffic(rule, index, _INGRESS_HANDLE, b"u32")
            self._l.do("rtnl_cls_set_prio", rule, 1)
            self._l.do("rtnl_cls_set_protocol", rule, _ALL_PROTOCOLS)
            self._l.do("rtnl_u32_add_key", rule, 0, 0, 0, 0)  # which every packet has
            self._l.do("rtnl_u32_set_cls_terminal", rule)
            self._check(self._l.do("rtnl_tc_set_kind", action, b"mirred"), "mirred")
            self._l.do("rtnl_mirred_set_action", action, _EGRESS_REDIR)
            self._l.do("rtnl_mirred_set_policy", action, _STOLEN)
            self._l.do("rtnl_mirred_set_ifindex", action, target)
            self._check(self._l.do("rtnl_u32_add_action", rule, action), "mirred")
            self._call("cls_add", rule, _CREATE | _EXCLUSIVE)

    def _traffic(self, thing: c_void_p, index: int, parent: int, kind: bytes) -> None:
        self._l.do("rtnl_tc_set_ifindex", thing, index)
        self._l.do("rtnl_tc_set_parent", thing, parent)
        self._check(self._l.do("rtnl_tc_set_kind", thing, kind), kind.decode())


def _within(pid: int, connect: Callable[[], int]) -> int:
    """The result of `connect` in the network namespace of `pid`; a socket stays in the namespace
    that it was made in, and this thread goes back to its own. A network namespace alone gives no
    process in it any way to this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(libc, there)
            try:
                return connect()
            finally:
                _enter(libc, here)
        finally:
            os.close(here)
    finally:
        os.close(there)


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
