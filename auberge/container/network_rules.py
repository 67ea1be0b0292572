"""What a bridge lets through, and what becomes of addresses on the way: rules of nftables.

Through libnftables, which takes the language of nft(8) and does all of a text or nothing. nftables
because every kernel since 4.x has it in one piece, changes are atomic, a table is ours alone, and
a map makes a forwarded port one entry; with iptables each is a chain of rules among everyone's.
"""

import ctypes
from ctypes import c_char_p, c_int, c_uint32, c_void_p

from auberge.container.light import Iterable
from auberge.machine.net.forward import Forward
from auberge.refusal import Refusal

ANYWHERE = "0.0.0.0"

_TABLE = """
add table ip {bridge}
delete table ip {bridge}
table ip {bridge} {{
    map any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map one {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    chain arriving {{
        type filter hook prerouting priority raw;
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
        iifname "{bridge}" ip saddr != {subnet} drop
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        fib daddr type local dnat ip to meta l4proto . th dport map @any
        dnat ip to ip daddr . meta l4proto . th dport map @one
    }}
    chain output {{
        type nat hook output priority -100;
        fib daddr type local dnat ip to meta l4proto . th dport map @any
        dnat ip to ip daddr . meta l4proto . th dport map @one
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {subnet} oifname != "{bridge}" masquerade
        oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade
        oifname "{bridge}" ip saddr {subnet} ct status dnat masquerade
    }}
    chain forward {{
        type filter hook forward priority filter;
        iifname "{bridge}" ip daddr 169.254.0.0/16 reject
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" ct status dnat accept
        iifname != "{bridge}" oifname "{bridge}" drop
    }}
    chain input {{
        type filter hook input priority filter;
        iifname "{bridge}" ct state established,related accept
        iifname "{bridge}" ip daddr {gateway} icmp type echo-request accept
        iifname "{bridge}" reject
    }}
}}
"""
"""In this order: what a container sends must come from its network, and never to the host's
loopback (route_localnet would let it); forwarded ports, for others and for this host; to the
outside a container has the host's address, and so has, for it, who comes over a forward from the
loopback or from the bridge itself; clouds' link-local addresses are out of reach, a container is in
reach by its forwards alone; and of the host there is only an answer to pings."""

_NOT_A_ROUTER = """
add table ip auberge_forward
add set ip auberge_forward bridges {{ type ifname; }}
add chain ip auberge_forward forward {{ type filter hook forward priority filter; policy drop; }}
flush chain ip auberge_forward forward
add rule ip auberge_forward forward iifname @bridges accept
add rule ip auberge_forward forward oifname @bridges accept
add element ip auberge_forward bridges {{ "{bridge}" }}
"""
"""Where this host did not forward packets before its first bridge, it still does for nobody else:
one table for all bridges. (No bridge has a name with an underscore.)"""


class Rules:
    """The table of one bridge; raises Refusal if libnftables is not installed."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError:
            raise Refusal(
                "network: libnftables.so.1 is not installed; install the package libnftables1, or "
                "use --net user, host or none"
            ) from None
        library.nft_ctx_new.restype = c_void_p
        library.nft_ctx_new.argtypes = [c_uint32]
        library.nft_ctx_free.argtypes = [c_void_p]
        library.nft_ctx_buffer_output.argtypes = [c_void_p]
        library.nft_ctx_buffer_error.argtypes = [c_void_p]
        library.nft_ctx_get_error_buffer.argtypes = [c_void_p]
        library.nft_ctx_get_error_buffer.restype = c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [c_void_p, c_char_p]
        library.nft_run_cmd_from_buffer.restype = c_int
        self._c = library
        self._context = c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def __enter__(self) -> "Rules":
        return self

    def __exit__(self, *_: object) -> None:
        self._c.nft_ctx_free(self._context)

    def _run(self, text: str) -> str:
        """Carry out all of it or nothing; what is wrong with it."""
        if self._c.nft_run_cmd_from_buffer(self._context, text.encode()) == 0:
            return ""
        error: bytes = self._c.nft_ctx_get_error_buffer(self._context) or b""
        lines = error.decode(errors="replace").splitlines()
        return lines[0] if lines else "unknown error"

    @property
    def exist(self) -> bool:
        """Whether the table is there."""
        return not self._run(f"list table ip {self._bridge}")

    def make(
        self, subnet: str, gateway: str, router: bool, forwards: Iterable[tuple[Forward, str]]
    ) -> None:
        """The table anew, with its forwards, each to an address; `router` tells whether this host
        forwards packets of others."""
        text = _TABLE.format(bridge=self._bridge, subnet=subnet, gateway=gateway)
        text += "" if router else _NOT_A_ROUTER.format(bridge=self._bridge)
        text += "".join(self._element("add", forward, to) for forward, to in forwards)
        if wrong := self._run(text):
            raise Refusal(
                f"network: nftables refuses the rules of {self._bridge}: {wrong}; use a kernel "
                "with CONFIG_NF_TABLES and CONFIG_NFT_NAT, or --net user"
            )

    def add(self, forwards: Iterable[Forward], to: str) -> None:
        """Lead these ports of the host to a container; all or none."""
        text = "".join(self._element("create", forward, to) for forward in forwards)
        if text and (wrong := self._run(text)):
            ports = ", ".join(str(forward) for forward in forwards)
            raise Refusal(
                f"ports: {ports}: {wrong.removeprefix('Error: ').lower()}; another container may "
                "have the port, choose another"
            )

    def remove(self, forwards: Iterable[Forward], to: str) -> None:
        """Undo that; what is not there needs no undoing."""
        for forward in forwards:
            self._run(self._element("delete", forward, to))

    def remove_all(self) -> None:
        """The table is no more."""
        self._run(f"delete table ip {self._bridge}")
        self._run(f'delete element ip auberge_forward bridges {{ "{self._bridge}" }}')

    def _element(self, verb: str, forward: Forward, to: str) -> str:
        name, key = "any", f"{'udp' if forward.udp else 'tcp'} . {forward.host}"
        if forward.address != ANYWHERE:
            name, key = "one", f"{forward.address} . {key}"
        return f"{verb} element ip {self._bridge} {name} {{ {key} : {to} . {forward.guest} }}\n"
