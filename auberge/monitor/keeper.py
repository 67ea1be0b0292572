"""What keeps a guest that nobody waits for: its log, its terminal, its socket, and how it ended.

On the socket (`NAME.keeper`; names.py) a client writes one JSON object and a newline:

    {"verb": "wait"}      answered at the guest's end: {"answer": {"exit_code": 0}}
    {"verb": "attach", "input": true, "rows": 24, "columns": 80}
                          answered at once: {"answer": {"terminal": true, "input": true}}; then
                          frames (frames.py). Rows and columns may be left out; `input` is whether
                          frames of input will come

and what else the guest answers itself. A refusal is {"refused": "why"}, after which the connection
is closed. Clients are of the same user, or root's (SO_PEERCRED, unix(7)).

Whoever is attached and does not read holds the guest up, as a terminal does, but not for longer
than a minute: then he is let go. The log holds nobody up.
"""

import os
import select
import struct
from _socket import SO_PEERCRED, SOL_SOCKET
from _socket import socket as Socket
from time import monotonic

from auberge.container.light import NamedTuple, Protocol, read_json, write_json
from auberge.monitor.frames import (
    ERRORS,
    EXIT,
    INPUT,
    LONGEST,
    OUTPUT,
    SIZE,
    TO_GUEST,
    BadFrame,
    Frames,
    frame,
)
from auberge.monitor.log import Log

CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
MOST_CLIENTS = 64
LONGEST_QUESTION = 1 << 16
SLOW = 10.0
"""Seconds in which a client is to have asked."""
STUCK = 60.0
"""Seconds without reading after which whoever is attached is let go."""
AHEAD = 1 << 18
"""Bytes that wait for a client, or for the guest to read, before nothing more is taken."""
DRAINED = 2.0
"""Seconds after its end in which the guest's last words are waited for."""
AGAIN = 0.5
"""Seconds after which a terminal that nobody had open is looked at again."""


class Streams(NamedTuple):
    """Our ends of a guest's standard streams; -1 is none. A terminal is `output` and `input`."""

    output: int
    errors: int = -1
    input: int = -1
    terminal: bool = False


class Kept(Protocol):
    """What is kept: the guest, as far as this file needs it."""

    def fileno(self) -> int:
        """A descriptor that is ready to be read once the guest has ended."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""

    def stop(self) -> None:
        """Ask it to end; from a handler of a signal."""

    def end(self) -> int:
        """Record how it has ended, and give its status; after this nothing of it runs."""

    def answer(self, question: dict[str, object], client: Socket) -> bool:
        """Whether it has taken this question and its client, to answer it itself."""


class _Client:
    """A connection: first its question comes, then frames if it attaches."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.verb = ""
        self.said = bytearray()
        self.waiting = bytearray()  # for it to read
        self.frames = Frames(TO_GUEST)
        self.deadline = monotonic() + SLOW

    @property
    def attached(self) -> bool:
        return self.verb == "attach"


class Keeper:
    """Serves one guest until its end: `run` gives the guest's exit status."""

    def __init__(self, kept: Kept, folder: str, listener: Socket, streams: Streams) -> None:
        self._kept, self._listener, self._streams = kept, listener, streams
        self._log = Log(folder)
        self._outputs = {streams.output: 1}
        if streams.errors >= 0:
            self._outputs[streams.errors] = 2
        self._clients: dict[int, _Client] = {}
        self._typed = bytearray()  # for the guest to read
        self._quiet_until = 0.0  # while nobody has the terminal open
        listener.setblocking(False)
        for fd in (streams.output, streams.errors, streams.input):
            if fd >= 0:
                os.set_blocking(fd, False)

    def run(self) -> int:
        """Serve until the guest has ended and everything about that is said."""
        while not self._turn():
            pass
        self._drain()
        status = self._kept.end()
        self._tell(status)
        self._log.close()
        if self._log.lost:
            os.write(2, b"%d bytes of output are not in the log\n" % self._log.lost)
        return status

    # -- one turn -------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Wait for something to do, and do it; whether the guest has ended."""
        poll = select.poll()
        poll.register(self._kept.fileno(), select.POLLIN)
        poll.register(self._listener.fileno(), select.POLLIN)
        now = monotonic()
        patience = self._let_go(now)
        if not any(len(client.waiting) >= AHEAD for client in self._clients.values()):
            if now >= self._quiet_until:
                for fd in self._outputs:
                    poll.register(fd, select.POLLIN)
            else:
                patience = min(patience, self._quiet_until - now)
        for fd, client in self._clients.items():
            events = select.POLLOUT if client.waiting else 0
            # a guest that does not read makes its clients wait; but not one that hangs up
            if not (client.attached and len(self._typed) >= AHEAD):
                events |= select.POLLIN
            poll.register(fd, events)
        if self._typed and self._streams.input >= 0:
            both = select.POLLIN if self._is_polled(now) else 0
            poll.register(self._streams.input, select.POLLOUT | both)
        ready = dict(poll.poll(None if patience == float("inf") else patience * 1000 + 1))
        for fd in list(self._outputs):
            if ready.get(fd, 0) & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._hear(fd)
        if self._typed and ready.get(self._streams.input, 0) & (select.POLLOUT | select.POLLERR):
            self._pass_on()
        for fd, client in list(self._clients.items()):
            events = ready.get(fd, 0)
            if events & select.POLLOUT:
                self._send(client)
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._receive(client)
        if self._listener.fileno() in ready:
            self._accept()
        return self._kept.fileno() in ready

    def _is_polled(self, now: float) -> bool:
        """Whether the terminal, which is output and input, is looked at for output too."""
        return (
            self._streams.input in self._outputs
            and now >= self._quiet_until
            and not any(len(client.waiting) >= AHEAD for client in self._clients.values())
        )

    def _let_go(self, now: float) -> float:
        """Let go who is too slow; seconds until the next may be."""
        patience = float("inf")
        for client in list(self._clients.values()):
            if client.verb and not client.waiting:
                continue
            if client.deadline <= now:
                self._close(client)
            else:
                patience = min(patience, client.deadline - now)
        return patience

    # -- the guest ------------------------------------------------------------------------------

    def _hear(self, fd: int) -> None:
        """Take what the guest has written."""
        try:
            data = os.read(fd, LONGEST)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open; someone may open it again
            self._quiet_until = monotonic() + AGAIN
            return
        if not data:
            del self._outputs[fd]
            return
        stream = self._outputs[fd]
        self._log.add(stream, data)
        for client in list(self._clients.values()):
            if client.attached:
                self._queue(client, frame(OUTPUT if stream == 1 else ERRORS, data))

    def _pass_on(self) -> None:
        """Give the guest what was typed."""
        try:
            written = os.write(self._streams.input, self._typed[:4096])
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            written = len(self._typed)
        del self._typed[:written]

    def _drain(self) -> None:
        """After its end: its last words, which are in the pipes."""
        deadline = monotonic() + DRAINED
        while self._outputs and (rest := deadline - monotonic()) > 0:
            poll = select.poll()
            for fd in self._outputs:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(rest * 1000):
                self._quiet_until = 0.0
                self._hear(fd)
                if self._quiet_until:  # the terminal's other side is closed
                    del self._outputs[fd]

    def _tell(self, status: int) -> None:
        """Say to all who wait how the guest has ended; those who do not read never know."""
        for client in list(self._clients.values()):
            if client.attached:
                self._queue(client, frame(EXIT, bytes([status & 0xFF])))
            elif client.verb == "wait":
                self._queue(client, answered({"exit_code": status}))
            else:
                self._close(client)
        deadline = monotonic() + DRAINED
        while self._clients and (rest := deadline - monotonic()) > 0:
            poll = select.poll()
            for fd, client in list(self._clients.items()):
                if client.waiting:
                    poll.register(fd, select.POLLOUT)
                else:
                    self._close(client)
            for fd, _ in poll.poll(rest * 1000) if self._clients else ():
                self._send(self._clients[fd])
        for client in list(self._clients.values()):
            self._close(client)

    # -- clients --------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:  # gone again, or no descriptor is left
            return
        socket = Socket(fileno=fd)
        _, user, _ = CREDENTIALS.unpack(
            socket.getsockopt(SOL_SOCKET, SO_PEERCRED, CREDENTIALS.size)
        )
        if user not in (os.geteuid(), 0) or len(self._clients) >= MOST_CLIENTS:
            socket.close()
            return
        socket.setblocking(False)
        self._clients[fd] = _Client(socket)

    def _close(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        client.socket.close()

    def _queue(self, client: _Client, data: bytes) -> None:
        if not client.waiting:
            client.deadline = monotonic() + STUCK
        client.waiting += data
        self._send(client)

    def _send(self, client: _Client) -> None:
        try:
            sent = client.socket.send(client.waiting)
        except BlockingIOError:
            return
        except OSError:
            self._close(client)
            return
        del client.waiting[:sent]
        client.deadline = monotonic() + STUCK

    def _receive(self, client: _Client) -> None:
        try:
            data = client.socket.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(client)
        elif client.attached:
            self._take(client, data)
        elif not client.verb:
            client.said += data
            if b"\n" in client.said:
                line, _, rest = bytes(client.said).partition(b"\n")
                self._ask(client, line, rest)
            elif len(client.said) > LONGEST_QUESTION:
                self._close(client)
        else:  # it was to wait, and nothing else
            self._close(client)

    def _take(self, client: _Client, data: bytes) -> None:
        try:
            for kind, content in client.frames.take(data):
                if kind == INPUT:
                    if self._streams.input >= 0:
                        self._typed += content
                elif self._streams.terminal:
                    self._kept.resize(*SIZE.unpack(content))
        except BadFrame:
            self._close(client)
            return
        if self._typed:
            self._pass_on()

    # -- questions ------------------------------------------------------------------------------

    def _ask(self, client: _Client, line: bytes, rest: bytes) -> None:
        try:
            question = read_json(line)
        except (ValueError, RecursionError):
            question = None
        verb = question.get("verb") if isinstance(question, dict) else None
        if not isinstance(question, dict) or not isinstance(verb, str):
            self._refuse(client, "control: not a question; write a JSON object with a verb")
        elif verb == "wait":
            client.verb = verb
        elif verb == "attach":
            self._attach(client, question, rest)
        elif not self._hand_over(client, question):
            self._refuse(client, "control: no such verb; it is one of wait, attach")

    def _hand_over(self, client: _Client, question: dict[str, object]) -> bool:
        fd = client.socket.fileno()
        taken = self._kept.answer(question, client.socket)
        if taken:
            del self._clients[fd]
        return taken

    def _attach(self, client: _Client, question: dict[str, object], rest: bytes) -> None:
        wants, can = question.get("input") is True, self._streams.input >= 0
        size = [question.get("rows", 0), question.get("columns", 0)]
        if not all(type(n) is int and 0 <= n < 1 << 16 for n in size):
            self._refuse(client, "attach: not a size; give rows and columns below 65536")
            return
        client.verb = "attach"
        self._queue(client, answered({"terminal": self._streams.terminal, "input": wants and can}))
        if self._streams.terminal and all(size):
            self._kept.resize(int(str(size[0])), int(str(size[1])))
        if rest and client.socket.fileno() >= 0:
            self._take(client, rest)

    def _refuse(self, client: _Client, why: str) -> None:
        self._queue(client, write_json({"refused": why}).encode() + b"\n")
        self._close(client)


def answered(value: dict[str, object]) -> bytes:
    """An answer as it is sent."""
    return write_json({"answer": value}).encode() + b"\n"


class Pipes(NamedTuple):
    """The pipes between a guest's standard streams, which are `theirs`, and `ours`."""

    theirs: tuple[int, int, int]
    ours: Streams


def pipes(interactive: bool) -> Pipes:
    """New ones; without `interactive` the guest's standard input is empty."""
    theirs_in, ours_in = os.pipe() if interactive else (os.open(os.devnull, os.O_RDONLY), -1)
    ours_out, theirs_out = os.pipe()
    ours_errors, theirs_errors = os.pipe()
    return Pipes((theirs_in, theirs_out, theirs_errors), Streams(ours_out, ours_errors, ours_in))
