"""The other end of the protocol: what GDB does, by hand."""

import socket
import threading

from auberge.machine.debug.packets import frame

PATIENCE = 20


class Client:
    """Speaks packets; `ask` waits for the answer."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.acknowledges = True

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, packet):
        self.raw(frame(packet))

    def answer(self):
        """The next packet from there."""
        while True:
            start = self.buffer.find(b"$")
            end = self.buffer.find(b"#", start)
            if start >= 0 and 0 <= end <= len(self.buffer) - 3:
                packet = self.buffer[start + 1 : end]
                assert self.buffer[end + 1 : end + 3] == b"%02x" % (sum(packet) & 0xFF)
                self.buffer = self.buffer[end + 3 :]
                if self.acknowledges:
                    self.raw(b"+")
                return packet
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data

    def take(self, size):
        """That many bytes, whatever they are."""
        return b"".join(self.socket.recv(1) for _ in range(size))

    def ask(self, packet):
        self.send(packet)
        return self.answer()

    def closed(self):
        """Whether the other side has nothing more to say."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Running:
    """`machine.run` in a thread of its own."""

    def __init__(self, machine, **options):
        self.outcome = None
        self.machine = machine
        self.thread = threading.Thread(target=self._run, kwargs=options, daemon=True)
        self.thread.start()

    def _run(self, **options):
        self.outcome = self.machine.run(**options)

    def result(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "it runs still"
        return self.outcome
