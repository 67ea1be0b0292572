"""What a guest on the network `user` cannot reach, however it gets there, and its addresses.

The addresses are those of QEMU's `-netdev user`: 10.0.2.0/24. Out of reach are the host itself by
any of its addresses, and link-local addresses, at which clouds keep their credentials.
"""

from socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, inet_ntoa, socket

GUEST = bytes((10, 0, 2, 15))
GATEWAY = bytes((10, 0, 2, 2))
RESOLVER = bytes((10, 0, 2, 3))
MASK = bytes((255, 255, 255, 0))
GATEWAY_MAC = b"\x52\x55\x0a\x00\x02\x02"
GUEST_MAC = b"\x52\x54\x00\x12\x34\x56"
"""As QEMU's first; each guest is alone with its network, so that all may have the same."""


def is_in_reach(address: bytes) -> bool:
    """Whether an IPv4 address is of another host, which the guest may talk to."""
    first, second = address[0], address[1]
    if first in (0, 127) or first >= 224 or (first, second) == (169, 254):
        return False
    return address[:3] != GATEWAY[:3] and not is_own(inet_ntoa(address))


def is_own(name: str) -> bool:
    """Whether an IPv4 address is one of the host's own.

    Connecting a UDP socket sends nothing, and the kernel chooses an address to send from: the
    destination itself just when it is local, or one of the loopback's. While the host has no
    descriptor to ask with, everything is taken for its own.
    """
    try:
        probe = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
    except OSError:
        return True
    with probe:
        try:
            probe.connect((name, 9))
        except OSError:
            return False  # no way there: the attempt itself will fail
        source: str = probe.getsockname()[0]
        return source == name or source.startswith("127.")
