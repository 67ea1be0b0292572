"""A guest that answers other processes of its user: a JSON object a line, one question each.

`{"verb": "inspect", ...}` is answered by `{"answer": ...}` or `{"refused": "why"}`. Who may connect
is decided by the folder's mode and, again, by SO_PEERCRED (unix(7)).
"""

import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping

from auberge.monitor.names import leave, listen, running
from auberge.refusal import Refusal

LONGEST_QUESTION = 1 << 16
MOST_CLIENTS = 16
PATIENCE = 5.0
"""Seconds that a client may take to read its answer."""
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

Question = Mapping[str, object]
Verb = Callable[[Question], object]


class Control:
    """Answers in a thread of its own, from when it is made until `close`. Raises Refusal."""

    def __init__(self, name: str, verbs: Mapping[str, Verb]) -> None:
        self._name, self._verbs = name, verbs
        self._listener = listen(name)
        self._listener.setblocking(False)
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._heard, self._told = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and give the name up."""
        os.write(self._told, b"!")
        self._thread.join()
        leave(self._name)
        self._listener.close()
        for client, _ in self._clients.values():
            client.close()
        os.close(self._heard)
        os.close(self._told)

    def _serve(self) -> None:
        while True:
            poll = select.poll()
            for source in (self._heard, self._listener.fileno(), *self._clients):
                poll.register(source, select.POLLIN)
            ready = [source for source, _ in poll.poll()]
            if self._heard in ready:
                return
            for source in ready:
                if source in self._clients:
                    self._receive(source)
            if self._listener.fileno() in ready:
                self._accept()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # gone again, or no descriptor is left
            return
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        _, user, _ = CREDENTIALS.unpack(credentials)
        if user not in (os.geteuid(), 0) or len(self._clients) >= MOST_CLIENTS:
            client.close()
            return
        client.setblocking(False)
        self._clients[client.fileno()] = client, bytearray()

    def _receive(self, source: int) -> None:
        client, said = self._clients[source]
        try:
            data = client.recv(LONGEST_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        said += data
        if b"\n" in said:
            self._answer(client, bytes(said[: said.index(b"\n")]))
        elif data and len(said) <= LONGEST_QUESTION:
            return
        del self._clients[source]
        client.close()

    def _answer(self, client: socket.socket, line: bytes) -> None:
        try:
            reply: dict[str, object] = {"answer": self._ask(line)}
        except Refusal as refusal:
            reply = {"refused": str(refusal)}
        except Exception as bug:  # ours: the guest shall not suffer from it
            reply = {"refused": f"this question made Auberge fail: {bug!r}; please report it"}
        client.settimeout(PATIENCE)
        try:
            client.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:  # gone, or not reading
            pass

    def _ask(self, line: bytes) -> object:
        try:
            question = json.loads(line)
        except (ValueError, RecursionError):
            raise Refusal("control: not JSON; write an object and a newline") from None
        verb = self._verbs.get(str(question.get("verb"))) if isinstance(question, dict) else None
        if verb is None:
            raise Refusal(f"control: no such verb; it is one of {', '.join(self._verbs)}")
        return verb(question)


def ask(name: str, path: str, question: Question, timeout: float) -> object:
    """What the guest that listens at `path` answers; raises Refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            client.connect(path)
            client.sendall(json.dumps(question).encode() + b"\n")
            with client.makefile("rb") as file:
                line = file.readline()
            reply = json.loads(line)
        except (FileNotFoundError, ConnectionRefusedError):
            others = running()
            hint = (
                f"these do: {', '.join(others)}"
                if others
                else f"start one with `auberge boot --name {name}`"
            )
            raise Refusal(f"{name}: no such guest runs; {hint}") from None
        except TimeoutError:
            raise Refusal(f"{name}: does not answer in {timeout:g} s; it may be stuck") from None
        except (OSError, ValueError):
            raise Refusal(f"{name}: its answer broke off; see whether it still runs") from None
    if "refused" in reply:
        raise Refusal(f"{name}: {reply['refused']}")
    return reply["answer"]
