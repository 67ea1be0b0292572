"""A machine in another process of the same user, by its socket: see door.py."""

import json
import os
import select
import socket
import threading
from collections.abc import Sequence

from auberge.monitor.door import PATIENCE, Lines, Values
from auberge.monitor.guest import NotStarted, Task, Usage
from auberge.monitor.guests import Record
from auberge.refusal import Refusal

SLOW = 300.0
"""Seconds for what takes a machine a while: to save what was changed, or to start a program."""
FAILED = 125


class RemoteGuest:
    """See guest.py: all but `start` and `remove`."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.isolation, self.image, self.command = record.isolation, record.image, record.command
        self.stop_signal, self.ports, self.pid = (
            record.stop_signal, record.ports, record.process.pid
        )  # fmt: skip
        self.oom_killed = record.oom_killed

    def _refusal(self, what: str) -> Refusal:
        return Refusal(f"{self._record.name}: {what}; see `auberge ps --all`")

    def start(self, streams: Sequence[int]) -> int | None:
        """It runs."""
        raise self._refusal("it runs already")

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; None if it still runs."""
        try:
            values = self._ask({"verb": "wait"}, timeout)
        except TimeoutError:
            return None
        status = values.get("exit_code") if isinstance(values, dict) else None
        return status if isinstance(status, int) else None

    def signal(self, number: int, everyone: bool = False) -> None:
        """Send a signal."""
        self._ask({"verb": "signal", "number": number, "everyone": everyone})

    def pause(self) -> None:
        """Stop everything in it."""
        self._ask({"verb": "pause"})

    def resume(self) -> None:
        """Have everything go on."""
        self._ask({"verb": "resume"})

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self._ask({"verb": "paused"}) is True

    def processes(self) -> list[Task]:
        """What runs in it."""
        found = self._ask({"verb": "processes"})
        try:
            assert isinstance(found, list)
            return [Task(**values) for values in found]
        except (AssertionError, TypeError):
            raise self._refusal("its answer is none") from None

    def stats(self) -> Usage:
        """What it uses now."""
        found = self._ask({"verb": "stats"})
        try:
            assert isinstance(found, dict)
            return Usage(**found)
        except (AssertionError, TypeError):
            raise self._refusal("its answer is none") from None

    def resize(self, rows: int, columns: int) -> None:
        """Who is attached does that."""

    def commit(self, name: str, comment: str = "") -> str:
        """Save what it changed as an image."""
        return str(self._ask({"verb": "commit", "name": name, "comment": comment}, SLOW))

    def remove(self) -> None:
        """Its process does that at its end."""
        raise self._refusal("it runs")

    def execute(
        self,
        command: Sequence[str],
        streams: Sequence[int],
        env: Sequence[str] = (),
        cwd: str = "",
        user: str = "",
        terminal: bool = False,
    ) -> "RemoteCommand":
        """Run one more program in it."""
        client = self._connected()
        try:
            client.settimeout(SLOW)
            _send(client, {
                "verb": "execute", "command": list(command), "env": list(env), "cwd": cwd,
                "user": user, "terminal": terminal,
            })  # fmt: skip
            _checked(next(Lines(client), None), self._record.name)
            socket.send_fds(client, [b"!"], list(streams))
            said, found, _, _ = socket.recv_fds(client, 4096, 1)
            master = found[0] if found else None
            if master is not None:
                os.set_inheritable(master, False)
            lines = Lines(client, said)  # it may have ended already, and said so
            values = _checked(next(lines, None), self._record.name)
            client.settimeout(None)
            pid = values.get("pid") if isinstance(values, dict) else None
            return RemoteCommand(client, lines, pid if isinstance(pid, int) else 0, master)
        except (OSError, ValueError):
            client.close()
            raise self._refusal("its process hung up") from None
        except BaseException:
            client.close()
            raise

    def _connected(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client.settimeout(PATIENCE)
            client.connect(self._record.socket)
        except OSError:
            client.close()
            raise self._refusal("its process does not answer") from None
        return client

    def _ask(self, question: Values, patience: float | None = PATIENCE) -> object:
        with self._connected() as client:
            try:
                _send(client, question)
                client.settimeout(patience)
                values = next(Lines(client), None)
            except TimeoutError:
                if question["verb"] == "wait":
                    raise
                raise self._refusal(f"it does not answer in {patience:g} s") from None
            except OSError:
                raise self._refusal("its process hung up") from None
        return _checked(values, self._record.name)


class RemoteCommand:
    """A Command (guest.py) in a machine of another process."""

    def __init__(self, client: socket.socket, lines: Lines, pid: int, terminal: int | None) -> None:
        self.pid, self.terminal = pid, terminal
        self._client, self._lines = client, lines
        self._lock = threading.Lock()
        self._status: int | None = None

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; None if it still runs."""
        with self._lock:
            if self._status is None:
                poll = select.poll()
                poll.register(self._client, select.POLLIN)
                patience = None if timeout is None else timeout * 1000
                if not self._lines.waiting and not poll.poll(patience):
                    return None
                status = (next(self._lines, None) or {}).get("exit_code")
                # 137: its machine was ended meanwhile
                self._status = status if isinstance(status, int) else 137
                self._client.close()
            return self._status

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._order({"signal": number})

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""
        self._order({"resize": [rows, columns]})

    def _order(self, values: Values) -> None:
        try:
            _send(self._client, values)
        except OSError:  # it has ended
            pass


def _send(client: socket.socket, values: Values) -> None:
    client.sendall(json.dumps(values).encode() + b"\n")


def _checked(values: object, name: str) -> object:
    """The answer in a reply; raises Refusal, or NotStarted, if it is none."""
    if isinstance(values, dict) and "answer" in values:
        return values["answer"]
    if isinstance(values, dict) and isinstance(values.get("refused"), str):
        text, status = str(values["refused"]), values.get("status")
        if isinstance(status, int) and status != FAILED:
            raise NotStarted(text, status)
        raise Refusal(text)
    raise Refusal(f"{name}: its process hung up; see `auberge ps --all`")
