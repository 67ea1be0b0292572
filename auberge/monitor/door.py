"""What a machine's own process answers about it, to other processes of the user: it alone can.

After the question (keeper.py), of which `verb` is one of these, an answer comes, as {"answer": ...}
or {"refused": "why", "status": 125}:

    signal    number, everyone     pause     resume     paused     processes     stats
    commit    name, comment        wait
    execute   command, env, cwd, user, terminal

`execute` is answered twice: with {"ready": true}, whereupon the client sends one byte with three
descriptors, the streams (SCM_RIGHTS, unix(7)); and with {"pid": N}, which comes with the terminal's
master if there is one. Then the client may send lines, {"signal": N} or {"resize": [rows,
columns]}, until a last one comes: {"exit_code": N}. A client that hangs up lets the command go on.
"""

import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from auberge.container.light import TYPE_CHECKING
from auberge.monitor.guest import Command, Guest
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from _socket import socket as Plain

CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
LONGEST_LINE = 1 << 16
MOST = 64
"""Questions that are answered at a time."""
PATIENCE = 20.0
"""Seconds that a client may take to say, or to hear, what is due."""

Values = dict[str, object]


class Door:
    """Answers about one guest, each question in a thread of its own."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._places = threading.BoundedSemaphore(MOST)
        self._verbs: dict[str, Callable[[Values], object]] = {
            "signal": self._signal,
            "pause": lambda _: guest.pause(),
            "resume": lambda _: guest.resume(),
            "paused": lambda _: guest.paused,
            "processes": lambda _: [task._asdict() for task in guest.processes()],
            "stats": lambda _: guest.stats()._asdict(),
            "commit": lambda values: guest.commit(_text(values, "name"), _text(values, "comment")),
            "wait": lambda _: {"exit_code": guest.wait()},
        }

    def answer(self, question: Values, client: "Plain | socket.socket") -> bool:
        """Whether this question is one for here; then the client is ours, too."""
        verb = question.get("verb")
        if not isinstance(verb, str) or verb not in (*self._verbs, "execute"):
            return False
        ours = socket.socket(fileno=client.detach())
        if not self._places.acquire(blocking=False):
            ours.close()
            return True
        threading.Thread(
            target=self._serve, args=(question, ours), name="door", daemon=True
        ).start()
        return True

    def _serve(self, question: Values, client: socket.socket) -> None:
        with client, suppress(OSError):
            try:
                client.settimeout(PATIENCE)
                verb = str(question["verb"])
                if verb == "execute":
                    self._execute(question, client)
                else:
                    _send(client, {"answer": self._verbs[verb](question)})
            except Refusal as refusal:
                status = getattr(refusal, "status", 125)
                _send(client, {"refused": str(refusal), "status": status})
            finally:
                self._places.release()

    def _signal(self, values: Values) -> None:
        number = values.get("number")
        if type(number) is not int or not 0 < number <= 64:
            raise Refusal(f"signal: {number!r} is none; give a number of signal(7)")
        self._guest.signal(number, values.get("everyone") is True)

    def _execute(self, values: Values, client: socket.socket) -> None:
        command, env = _texts(values, "command"), _texts(values, "env")
        _send(client, {"answer": {"ready": True}})
        _, streams, _, _ = socket.recv_fds(client, 1, 3)
        try:
            if len(streams) != 3:
                raise Refusal("execute: not three descriptors; send the standard streams")
            running = self._guest.execute(
                command, streams, env, _text(values, "cwd"), _text(values, "user"),
                values.get("terminal") is True,
            )  # fmt: skip
        finally:
            for fd in streams:
                os.close(fd)
        said = json.dumps({"answer": {"pid": running.pid}}).encode() + b"\n"
        with suppress(OSError):  # who is gone lets it go on; it is waited for all the same
            if running.terminal is None:
                client.sendall(said)
            else:
                socket.send_fds(client, [said], [running.terminal])
        if running.terminal is not None:
            os.close(running.terminal)
        threading.Thread(target=_orders, args=(running, client.dup()), daemon=True).start()
        status = running.wait()
        _send(client, {"exit_code": status})
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)  # whoever reads orders stops, too


def _orders(running: Command, client: socket.socket) -> None:
    """Do what the client of a command says, until it hangs up."""
    with client, suppress(OSError, Refusal):
        client.settimeout(None)
        for values in Lines(client):
            number, size = values.get("signal"), values.get("resize")
            if isinstance(number, int) and 0 < number <= 64:
                running.signal(number)
            elif isinstance(size, list) and len(size) == 2:
                rows, columns = size
                if all(isinstance(n, int) and 0 <= n < 1 << 16 for n in size):
                    running.resize(rows, columns)


class Lines:
    """An iterator of the objects that come, one a line, after what was said; it ends with what is
    none."""

    def __init__(self, client: socket.socket, said: bytes = b"") -> None:
        self._client, self._said = client, bytearray(said)

    @property
    def waiting(self) -> bool:
        """Whether there is one already."""
        return b"\n" in self._said

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> Values:
        while b"\n" not in self._said:
            data = self._client.recv(4096)
            if not data or len(self._said) > LONGEST_LINE:
                raise StopIteration
            self._said += data
        line, _, rest = bytes(self._said).partition(b"\n")
        self._said = bytearray(rest)
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            raise StopIteration from None
        if not isinstance(values, dict):
            raise StopIteration
        return values


class Entrance:
    """A socket that leads to a door, for a guest that has no keeper: a context."""

    def __init__(self, guest: Guest, listener: socket.socket) -> None:
        self._door, self._listener = Door(guest), listener
        self._heard, self._told = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="entrance", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let nobody in any more."""
        os.close(self._told)
        self._thread.join()
        os.close(self._heard)
        self._listener.close()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._heard, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while self._heard not in dict(poll.poll()):
            try:
                client, _ = self._listener.accept()
            except OSError:
                continue
            threading.Thread(target=self._ask, args=(client,), daemon=True).start()

    def _ask(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(PATIENCE)
            whose = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
            if CREDENTIALS.unpack(whose)[1] not in (os.geteuid(), 0):
                return
            for values in Lines(client):
                if not self._door.answer(values, client):
                    why = "it runs in somebody's foreground; `auberge exec` works"
                    _send(client, {"refused": why})
                return


def _send(client: socket.socket, values: Values) -> None:
    client.sendall(json.dumps(values).encode() + b"\n")


def _text(values: Values, field: str) -> str:
    value = values.get(field, "")
    if not isinstance(value, str):
        raise Refusal(f"{field}: {value!r} is no text; write one")
    return value


def _texts(values: Values, field: str) -> tuple[str, ...]:
    value = values.get(field, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Refusal(f"{field}: {value!r} is no list of texts; write one")
    return tuple(value)
