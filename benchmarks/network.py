"""TCP between a guest and a server on this host's loopback, both ways; the same in QEMU."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from harness.guests import QEMU, QEMU_PACKAGE, boot_tiny, qemu_boot_tiny, qemu_is_here
from harness.process import Process
from harness.report import Target, compare, interleaved, missing, rounds

PROMPT = "root@tiny:~# "
SIZE = 64 << 20
TARGET = Target(least=100)


class Server:
    """Sends `SIZE` bytes by HTTP to everyone who asks."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                peer.sendall(bytes(SIZE))


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def command(guest: Process, words: str) -> float:
    """Seconds that a command takes in the guest."""
    return guest.carry_out(words, PROMPT).wall


def to_guest(guest: Process, port: int) -> float:
    """Mbit/s from a server of the host to the guest."""
    seconds = command(guest, f"wget -q -O /dev/null http://10.0.2.2:{port}/")
    return SIZE * 8e-6 / seconds


def from_guest(port: int) -> float:
    """Mbit/s from a server in the guest to the host."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        begin = time.monotonic()
        sock.sendall(b"GET /file HTTP/1.0\r\n\r\n")
        size = 0
        while piece := sock.recv(1 << 18):
            size += len(piece)
        return size * 8e-6 / (time.monotonic() - begin)


def main() -> None:
    """Two guests at their shells, one transfer in one and then in the other."""
    count = rounds(3)
    server = Server()
    ports = [free_port()]
    net = ["--net", "user,host-loopback", "-p", f"{ports[0]}:80"]
    commands = [[*boot_tiny(), *net]]
    if qemu_is_here():
        ports.append(free_port())
        forward = f"user,id=net,hostfwd=tcp:127.0.0.1:{ports[1]}-:80"
        device = ["-netdev", forward, "-device", "virtio-net-device,netdev=net"]
        commands.append([*qemu_boot_tiny(), *device])
    else:
        missing(QEMU, QEMU_PACKAGE)
    with ExitStack() as stack:
        guests = [stack.enter_context(Process(words)) for words in commands]
        for guest in guests:
            guest.await_text(PROMPT)
            command(guest, f"head -c {SIZE} /dev/zero > /tmp/file; httpd -p 80 -h /tmp")
        sending: list[Callable[[], float]] = [partial(from_guest, port) for port in ports]
        receiving: list[Callable[[], float]] = [
            partial(to_guest, guest, server.port) for guest in guests
        ]
        for name, measures in (("from_guest", sending), ("to_guest", receiving)):
            found = interleaved(count, *measures)
            theirs = found[1] if len(found) > 1 else []
            compare(f"network.tcp_{name}", "Mbit/s", found[0], theirs, TARGET)


if __name__ == "__main__":
    main()
