"""The network of a container that `auberge run` makes: none, the host's, a bridge, or a user's."""

import os

from auberge.container.light import NamedTuple
from auberge.container.network_bridge import (
    UNLIMITED,
    Attachment,
    Bridge,
    Rates,
    attach,
    detach,
    detach_by_name,
)
from auberge.container.network_user import UserNetwork, start, stop, stop_by_name
from auberge.container.own_folder import own_folder
from auberge.machine.net.forward import Forward
from auberge.refusal import Refusal

MODES = ("none", "host", "bridge", "user")


class Connection(NamedTuple):
    """What a container has been given; none and host are nothing to give."""

    bridge: Attachment | None = None
    user: UserNetwork | None = None

    @property
    def forwards(self) -> tuple[Forward, ...]:
        """The ports, with those that were chosen for 0."""
        if self.bridge is not None:
            return self.bridge.lease.forwards
        return self.user.forwards if self.user is not None else ()


def connect(
    mode: str,
    container: str,
    pid: int,
    forwards: tuple[Forward, ...] = (),
    rates: Rates = UNLIMITED,
    bridge: Bridge | None = None,
) -> Connection:
    """Give a container, of whose network namespace `pid` is the first process, its network; in
    `host` it has none of its own. Raises Refusal."""
    if mode not in MODES:
        raise Refusal(f"--net: {mode!r} is no network; write one of {', '.join(MODES)}")
    if forwards and mode in ("none", "host"):
        raise Refusal(
            f"ports: {forwards[0]}: with --net {mode} no port is forwarded; "
            "use --net user or bridge, or leave it out"
        )
    if rates != UNLIMITED and mode != "bridge":
        raise Refusal(f"rates: with --net {mode} they cannot be limited; use --net bridge")
    if mode == "bridge":
        return Connection(bridge=attach(bridge or Bridge(), container, pid, forwards, rates))
    if mode == "user":
        return Connection(user=start(user_folder(), container, pid, forwards))
    return Connection()


def disconnect(connection: Connection) -> None:
    """Take it back; can be said twice."""
    if connection.bridge is not None:
        detach(connection.bridge)
    if connection.user is not None:
        stop(connection.user)


def disconnect_by_name(mode: str, container: str) -> None:
    """Take back what another process has given to a container; nothing to do if it is gone."""
    if mode == "bridge":
        detach_by_name(Bridge(), container)
    if mode == "user":
        try:
            folder = user_folder()
        except Refusal:  # what is there is not ours, and says whom to kill
            return
        stop_by_name(folder, container)


def user_folder() -> str:
    """Where this user's networks are kept; raises Refusal unless nobody else can write there."""
    return os.path.join(own_folder(), "network")
