"""Speaking to the supervisor of a guest: waiting for its end, and being attached. See keeper.py."""

import json
import os
import select
import socket
from time import monotonic

from auberge.container.light import Iterator, NamedTuple
from auberge.monitor.frames import FROM_GUEST, LONGEST, RESIZE, SIZE, BadFrame, Frames, frame
from auberge.monitor.guests import EXITED, Folder, Process, Record
from auberge.refusal import Refusal

LONGEST_ANSWER = 1 << 16
PATIENCE = 20.0
"""Seconds that a supervisor may take to answer what it can answer at once."""


class End(NamedTuple):
    """How a guest has ended."""

    status: int | None  # None: nobody has seen it


def wait(folder: Folder, record: Record, timeout: float | None = None) -> End | None:
    """How a guest ends; None if it still runs after `timeout` seconds. Raises Refusal."""
    deadline = None if timeout is None else monotonic() + timeout
    if record.status == EXITED:
        return End(record.exit_code)
    if record.socket and record.supervised:
        try:
            with _asked(record, {"verb": "wait"}) as client:
                answer = _answer(client, record.name, deadline)
        except TimeoutError:
            return None
        except (ConnectionError, FileNotFoundError):
            answer = None  # it has just ended, or was killed
        if answer is not None and isinstance(status := answer.get("exit_code"), int):
            return End(status)
    for process in (record.process, record.supervisor):
        if process.lives and not _gone(process, deadline):
            return None
    try:
        return End(folder.load().exit_code)
    except Refusal:  # removed with its end
        return End(None)


def _gone(process: Process, deadline: float | None) -> bool:
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not process.lives:  # what we hold has got its number since
            return True
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        rest = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
        return bool(poll.poll(rest))
    finally:
        os.close(fd)


class Attached:
    """A connection to a guest's standard streams: a context, from when it is made."""

    def __init__(self, record: Record, wants_input: bool, size: tuple[int, int] | None) -> None:
        """Raises Refusal."""
        question: dict[str, object] = {"verb": "attach", "input": wants_input}
        if size is not None:
            question |= {"rows": size[0], "columns": size[1]}
        if not record.socket:
            raise Refusal(
                f"{record.name}: runs in somebody's foreground; `auberge logs` and `exec` work"
            )
        try:
            self._socket = _asked(record, question)
            answer = _answer(self._socket, record.name, monotonic() + PATIENCE)
        except (OSError, TimeoutError):
            answer = None
        if answer is None:
            raise Refusal(f"{record.name}: its supervisor does not answer; see `auberge ps --all`")
        self.terminal = answer.get("terminal") is True
        self.input = answer.get("input") is True
        self._frames = Frames(FROM_GUEST)
        self._name = record.name

    def __enter__(self) -> "Attached":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """Ready to be read when the guest has written."""
        return self._socket.fileno()

    def send(self, kind: bytes, data: bytes) -> None:
        """Send a frame; nothing happens if the guest has ended, which is read then."""
        try:
            self._socket.sendall(frame(kind, data))
        except ConnectionError:
            pass

    def resize(self, rows: int, columns: int) -> None:
        """Tell the guest the size of its terminal."""
        self.send(RESIZE, SIZE.pack(min(rows, 0xFFFF), min(columns, 0xFFFF)))

    def receive(self) -> Iterator[tuple[bytes, bytes]]:
        """The frames that are there, waiting for some; raises Refusal if there will be none."""
        try:
            data = self._socket.recv(LONGEST)
        except ConnectionError:
            data = b""
        if not data:
            raise Refusal(f"{self._name}: its supervisor hung up; see `auberge ps --all`")
        try:
            yield from self._frames.take(data)
        except BadFrame:
            raise Refusal(f"{self._name}: its supervisor makes no sense; end it") from None


def _asked(record: Record, question: dict[str, object]) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(PATIENCE)
        client.connect(record.socket)
        client.sendall(json.dumps(question).encode() + b"\n")
        client.settimeout(None)
    except BaseException:
        client.close()
        raise
    return client


def _answer(client: socket.socket, name: str, deadline: float | None) -> dict[str, object] | None:
    """The answer, and not a byte of what follows it; None if none comes. Raises Refusal, OSError,
    TimeoutError."""
    said = bytearray()
    while not said.endswith(b"\n"):
        if deadline is not None:
            client.settimeout(max(0.001, deadline - monotonic()))
        data = client.recv(1)
        if not data or len(said) > LONGEST_ANSWER:
            return None
        said += data
    client.settimeout(None)
    try:
        reply = json.loads(said)
    except (ValueError, RecursionError):
        return None
    if isinstance(reply, dict) and isinstance(reply.get("refused"), str):
        raise Refusal(f"{name}: {reply['refused']}")
    answer = reply.get("answer") if isinstance(reply, dict) else None
    return answer if isinstance(answer, dict) else None
