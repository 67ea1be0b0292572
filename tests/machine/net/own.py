"""An address of this host that can stand for another's."""

import socket


def own_address():
    """An address of this host that is not of its loopback; None if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))  # TEST-NET-1; which sends nothing
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith(("127.", "169.254.", "10.0.2.")) else address
