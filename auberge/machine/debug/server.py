"""GDB at the other end of a TCP connection: one at a time, and never a surprise for the machine."""

import os
import select
import socket
import threading
from collections.abc import Sequence

from auberge.machine.debug.debugger import Debugger
from auberge.machine.debug.packets import Event, Interrupt, Packet, Receiver, Repeat, frame
from auberge.machine.debug.stub import Leave, Say, Stub
from auberge.machine.machine import Machine
from auberge.refusal import Refusal

CHUNK = 1 << 16
AGAIN = 0.05
"""Seconds until a stop that has not come is asked for again."""

BEGINNINGS = b"+-$\x03"
"""What a client may begin with; not, say, `POST`, which a web page could have a browser send."""

PATIENCE = 5.0
"""Seconds that a client may take to read what it asked for."""


def readable(
    sources: Sequence[socket.socket | int], seconds: float | None
) -> list[socket.socket | int]:
    """Those of `sources` that can be read, after at most `seconds`; None waits for one.

    By poll(2): a process with many machines has descriptors that are too large for select(2).
    """
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(None if seconds is None else 1000 * seconds)}
    return [s for s in sources if (s if isinstance(s, int) else s.fileno()) in ready]


class Server:
    """Listens from when it is made until `close`; the machine waits for a client to let it run.

    A client that detaches leaves the machine running, without its breakpoints; one whose connection
    breaks leaves it as it is, without them too. The next client finds it stopped.
    """

    def __init__(self, machine: Machine, host: str, port: int) -> None:
        self._heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family)
        except (OSError, OverflowError, UnicodeError) as error:
            os.close(self._heard)
            os.close(self._told)
            reason = (
                os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            )
            raise Refusal(f"gdb {host}:{port}: {reason}; choose another address") from None
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.debugger = Debugger(machine, self._tell)
        self._client: socket.socket | None = None
        self._stub = Stub(self.debugger)
        self._receiver = Receiver()
        self._sent = b""
        self._heard_of = False  # whether the client has said something
        self._attaching = False  # a client came while the machine ran: it is stopped first
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="gdb", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say goodbye to whoever is there, and listen no more."""
        self._closing = True
        self._tell()
        self._thread.join()
        self._drop()
        self._listener.close()
        os.close(self._heard)
        os.close(self._told)

    def _tell(self) -> None:
        try:
            os.write(self._told, b"!")
        except BlockingIOError:  # it is told often enough
            pass

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as failure:  # to be raised where somebody waits for the machine
            self.debugger.fail(failure)

    def _serve(self) -> None:
        while not self._closing:
            sources: list[socket.socket | int] = [self._heard, self._listener]
            if self._client is not None and not self._attaching:
                sources.append(self._client)
            wait = AGAIN if self.debugger.insisting else None
            ready = readable(sources, wait)
            self.debugger.insist()
            if self._heard in ready:
                os.read(self._heard, CHUNK)
            self._look()
            if self._client is not None and self._client in ready:
                self._receive(self._client)
            if self._listener in ready:  # later: the next client comes when the last has gone
                self._accept()
        self._look()  # how it ended

    def _look(self) -> None:
        """Pass on why the machine stopped; without a client, have it go on."""
        news = self.debugger.news()
        if news is None:
            return
        reply = self._stub.stop_reply(news)
        if self._client is None:
            self.debugger.clear()
            self.debugger.go()
        elif self._attaching:
            self._attaching = False
        else:
            self._send(reply)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # gone again
            return
        if self._client is not None:
            client.close()
            return
        client.settimeout(PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client, self._receiver, self._sent = client, Receiver(), b""
        self._heard_of = False
        self._stub = Stub(self.debugger)
        if self.debugger.running:
            self._attaching = True
            self.debugger.interrupt()
        elif (news := self.debugger.news()) is not None:
            # It stopped since `_look`, for the client before: no news to this one, which will ask.
            self._stub.stop_reply(news)
            self.debugger.clear()

    def _receive(self, client: socket.socket) -> None:
        """Do all that the client has sent; it may be gone then."""
        while self._client is client and readable([client], 0):
            try:
                data = client.recv(CHUNK)
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            if not self._heard_of and data[0] not in BEGINNINGS:
                self._lost()
                return
            self._heard_of = True
            for event in self._receiver.feed(data):
                if self._client is client:
                    self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case Interrupt():
                self.debugger.interrupt()
            case Repeat():
                self._write(self._sent)
            case Packet(data, sound):
                if self._stub.acknowledges:
                    self._write(b"+" if sound else b"-")
                    if not sound:
                        return
                if not self.debugger.running:  # else it comes at a wrong time, and means nothing
                    self._obey(data)

    def _obey(self, packet: bytes) -> None:
        match self._stub.answer(packet):
            case Say(data):
                self._send(data)
            case Leave(data, kill):
                self._send(data)
                self._drop()
                self.debugger.clear()
                if kill:
                    self.debugger.pause()
                else:
                    self.debugger.go()

    # -- the connection -------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self._sent = frame(data)
        self._write(self._sent)

    def _write(self, data: bytes) -> None:
        if self._client is None:
            return
        try:
            self._client.sendall(data)
        except OSError:
            self._lost()

    def _lost(self) -> None:
        self._drop()
        if self.debugger.running:
            self.debugger.interrupt()  # and, when it has stopped, on without breakpoints
        else:
            self.debugger.clear()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._attaching = False
