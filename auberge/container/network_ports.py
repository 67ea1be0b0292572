"""A port of the host's for a forward, before anything is made of it."""

import socket

from auberge.machine.net.forward import Forward
from auberge.refusal import Refusal, reason


def free_port(forward: Forward) -> Forward:
    """The forward with a port of the host's that no program listens at; 0 is any. Raises Refusal.

    It is not kept: a rule of nftables listens nowhere, and another program opens it itself.
    """
    kind = socket.SOCK_DGRAM if forward.udp else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if not forward.udp:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((forward.address, forward.host))
        except OSError as error:
            why = reason(error)
            raise Refusal(f"ports: {forward}: {why}; choose another port of the host") from None
        port: int = probe.getsockname()[1]
        return forward._replace(host=port)
