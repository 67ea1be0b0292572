"""Where a seccomp filter asks: its listener, sent to an agent (config-linux.md, "Seccomp").

The agent gets the container process state (config-linux.md, "The Container Process State") with the
listener's descriptor over a socket; it answers the container's calls from then on
(seccomp_unotify(2)).
"""

from auberge.container.config import Seccomp
from auberge.container.light import Callable
from auberge.refusal import Refusal, reason

WHERE = "$.linux.seccomp"
NOTIFY = "SCMP_ACT_NOTIFY"
PATIENCE = 10.0  # seconds for an agent to take what is a few hundred bytes

State = Callable[[int], dict[str, object]]


def asks(profile: Seccomp | None) -> bool:
    """Whether the filter of a profile has a use for a listener."""
    return profile is not None and any(rule.action == NOTIFY for rule in profile.syscalls)


def sender(profile: Seccomp | None, state: State) -> Callable[[int, int], None] | None:
    """What sends a process's number and listener to the agent, raising Refusal; None if nothing
    asks. `state` is the container's (runtime.md, "State")."""
    if profile is None or not asks(profile):
        return None
    path, metadata = profile.listener_path or "", profile.listener_metadata

    def send(pid: int, listener: int) -> None:
        from auberge.container.light import write_json

        found = state(pid)
        message: dict[str, object] = {
            "ociVersion": found["ociVersion"], "fds": ["seccompFd"], "pid": pid, "state": found,
        }  # fmt: skip
        if metadata:
            message["metadata"] = metadata
        _send(path, write_json(message).encode(), listener)

    return send


def _send(path: str, message: bytes, listener: int) -> None:
    """ "The runtime MUST send exactly one container process state per connection"."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(PATIENCE)
            agent.connect(path)
            sent = socket.send_fds(agent, [message], [listener])
            agent.sendall(message[sent:])
    except OSError as error:
        raise Refusal(
            f"config.json: {WHERE}.listenerPath: {path!r}: {reason(error)}; "
            "start the agent that listens there"
        ) from None
