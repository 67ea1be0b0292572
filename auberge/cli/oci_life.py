"""The commands of `auberge-oci` about a container's life: create, run, start, state, kill, ..."""

from __future__ import annotations

import os

from auberge.cli.oci import Words
from auberge.container.light import TYPE_CHECKING, Callable
from auberge.container.runtime import Container, Start, prepare
from auberge.container.stopwatch import mark
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from socket import socket as Socket


def run(name: str, words: Words, root: str) -> int:
    """Carry out one of them."""
    if name == "list":
        return _list(words, root)
    container = Container(root, words.rest[0])
    if name in ("create", "run"):
        return start(name, container, words)
    if name == "start":
        container.start()
    elif name == "state":
        import json

        print(json.dumps(container.state(), indent=2))
    elif name == "kill":
        from auberge.container.signals import signal_number

        text = words.rest[1] if len(words.rest) > 1 else "SIGTERM"
        container.kill(signal_number(text), words.flag("all"))
    elif name == "delete":
        import sys

        for complaint in container.delete(words.flag("force")):
            print(f"auberge-oci: {complaint}", file=sys.stderr)
    else:
        record = container.record()
        status = container.status(record)
        wanted = ("running", "created") if name == "pause" else ("paused",)
        if status not in wanted:
            raise Refusal(f"container {container.id}: it is {status}; only {wanted[0]} can be that")
        cgroup = container.cgroup(record)
        if name == "pause":
            cgroup.freeze()
        else:
            cgroup.thaw()
    return 0


def start(name: str, container: Container, words: Words) -> int:
    """Create a container, and unless that is all, run it; the status is its program's."""
    bundle = words.value("bundle") or os.getcwd()
    kept = words.number("preserve-fds") + listening()
    detach = words.flag("detach") or name == "create"
    how = Start(
        kept=kept,
        pivot=not words.flag("no-pivot"),
        keyring=not words.flag("no-new-keyring"),
        systemd=words.flag("systemd-cgroup"),
        waits=name == "create",
        again=name == "run",  # what engines create never comes again
    )
    prepared = prepare(bundle, container.id, how)
    mark("configuration and plan")
    process = prepared.config.process
    terminal = process is not None and process.terminal
    with Console(terminal, words.value("console-socket"), detach) as console:
        child = container.create(prepared, how._replace(console=console.socket))
        try:
            write_pid(words.value("pid-file"), child.pid)
        except OSError:
            child.kill()
            container.delete(force=True)
            raise
        child.close()
        if detach:
            return 0
        status = console.follow(child.pid)
        mark("program")
    if not words.flag("keep"):
        container.delete(force=True)
    return status


class Console:
    """The terminal of a container: sent to somebody else's socket, or shown on ours."""

    def __init__(self, wanted: bool, path: str, detach: bool) -> None:
        """Raises Refusal if a terminal has nowhere to go, or there is none to go there."""
        self.socket: int | None = None
        self._ours: Socket | None = None
        self._theirs: Socket | None = None
        if path and not wanted:
            raise Refusal(
                "--console-socket: the process has no terminal; set $.process.terminal, or leave "
                "the option out"
            )
        if not wanted:
            return
        import socket

        if path:
            self._theirs = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._theirs.connect(path)
            except OSError as error:
                raise Refusal(f"{path}: {reason(error)}; give a socket that listens") from None
        elif detach:
            raise Refusal(
                "$.process.terminal: a terminal needs --console-socket here; give one, "
                "or run it in the foreground"
            )
        else:
            self._ours, self._theirs = socket.socketpair()
        self.socket = self._theirs.fileno()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._ours, self._theirs):
            if one is not None:
                one.close()

    def follow(self, pid: int) -> int:
        """Wait for our child's end, pass signals on, and show its terminal; gives its status."""
        stop = forward_signals(pid)
        if self._ours is not None:
            import socket

            from auberge.cli.oci_terminal import relay

            _, received, _, _ = socket.recv_fds(self._ours, 4096, 1)
            if received:
                relay(received[0])
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        stop()  # before its number may be another's
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


# Not passed on (signal(7)): what only we can be told, what stops us, and what our own faults raise.
OWN = {4, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 28, 32, 33}


def forward_signals(pid: int) -> Callable[[], None]:
    """What we are asked to do, the container's process is asked to do; until the answer is called:
    then nobody is."""
    # `signal` would take milliseconds to make enumerations
    import _signal  # type: ignore[import-not-found]

    def forward(number: int, _: object) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def each(handler: object) -> None:
        for number in range(1, 65):
            if number not in OWN:
                _signal.signal(number, handler)

    each(forward)
    return lambda: each(_signal.SIG_IGN)


def listening() -> int:
    """How many descriptors systemd has handed us (sd_listen_fds(3))."""
    text = os.environ.get("LISTEN_FDS", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def write_pid(path: str, pid: int) -> None:
    """Write a pid file, as a whole."""
    if path:
        beside = f"{path}.{os.getpid()}"
        with open(beside, "wb") as file:
            file.write(str(pid).encode())
        os.rename(beside, path)


def _list(words: Words, root: str) -> int:
    from auberge.container.record import names

    states: list[dict[str, object]] = []
    for name in names(root):
        try:
            states.append(Container(root, name).state())
        except Refusal:
            states.append({"id": name, "pid": 0, "status": "unknown", "bundle": "", "created": ""})
    if words.flag("quiet"):
        for state in states:
            print(state["id"])
    elif words.value("format") == "json":
        import json

        print(json.dumps(states) if states else "null")
    elif words.value("format", "table") == "table":
        columns = ("id", "pid", "status", "bundle", "created", "owner")
        rows = [[str(state.get(column, "")) for column in columns] for state in states]
        rows.insert(0, [column.upper() for column in columns])
        widths = [max(len(row[at]) for row in rows) + 2 for at in range(len(columns))]
        for row in rows:
            print("".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip())
    else:
        raise Refusal(f"--format: {words.value('format')!r} is not known; write table or json")
    return 0
