"""The process of a passt(1): found, started, heard from, and ended with us.

A guest that gets the better of passt is where passt has shut itself in: it has no files, few system
calls, and no user's rights (passt(1), "SECURITY").
"""

import os
import signal
import time
from select import poll
from socket import (
    AF_UNIX,
    SO_SNDBUF,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_ntoa,
    socket,
    socketpair,
)
from struct import Struct

from auberge.machine.net.packet import (
    ARP,
    ARP_REQUEST,
    BROADCAST_MAC,
    ETHERNET,
    TYPE_ARP,
    TYPE_IPV4,
)
from auberge.machine.net.wall import GATEWAY, GATEWAY_MAC, GUEST, MASK
from auberge.machine.virtio.net import MTU
from auberge.refusal import Refusal, reason

OPEN_FILES = 1024
"""Descriptors that passt may have, one for each of the guest's connections."""

SOCKET_BUFFER = 4 << 20
"""Bytes between passt and us that are asked for in each direction."""

PATIENCE = 5.0
"""Seconds in which a passt that works has answered."""

FAREWELL = 1.0
"""Seconds in which it has ended by itself."""

LENGTH = Struct("!I")  # before each frame

_LONGEST = ETHERNET.size + 0xFFFF
_CHILD = 3  # the socket's descriptor in passt
_MAC = b"\x52\x54\0\0\0\1"


def find_passt() -> str | None:
    """Where passt is installed; None if it is not."""
    for folder in os.get_exec_path():
        path = os.path.join(folder, "passt")
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def start_passt() -> "PasstProcess":
    """A running passt; raises Refusal if there is none."""
    path = find_passt()
    if path is None:
        raise Refusal("passt: not installed; install the package passt, or use net user,builtin")
    try:
        return PasstProcess(path)
    except OSError as error:
        raise Refusal(f"{path}: {reason(error)}; use net user,builtin") from None


class PasstProcess:
    """A running passt. Its end of the socket is the only thing that keeps it alive."""

    def __init__(self, path: str) -> None:
        """Start it and have it answer; raises Refusal if it does not, OSError if it cannot be."""
        self.path = path
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self.sock: socket = ours
        for each in (ours, theirs):  # as much as the host allows: passt drops what does not fit
            each.setsockopt(SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER)
        self._complaints = os.memfd_create("passt", os.MFD_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        # A limit on descriptors is one on connections; passt raises the soft one. Ours may be less.
        script = f'ulimit -n {OPEN_FILES} 2>/dev/null; exec "$0" "$@"'
        try:
            self.pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", script, path, *_arguments()],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, null, 0),
                    (os.POSIX_SPAWN_DUP2, null, 1),
                    (os.POSIX_SPAWN_DUP2, self._complaints, 2),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), _CHILD),
                ],
                setsid=True,  # a terminal's Ctrl-C is not for it
                setsigdef=[signal.SIGPIPE],
            )
        except BaseException:
            ours.close()
            os.close(self._complaints)
            raise
        finally:
            theirs.close()
            os.close(null)
        try:
            self._await_answer(path)
        except BaseException:
            self.close()
            raise

    def _await_answer(self, path: str) -> None:
        """Ask who has the gateway's address: it answers when it has done all its preparations."""
        fields = 1, TYPE_IPV4, 6, 4, ARP_REQUEST
        question = ETHERNET.pack(BROADCAST_MAC, _MAC, TYPE_ARP)
        question += ARP.pack(*fields, _MAC, GUEST, bytes(6), GATEWAY)
        try:
            self.sock.sendall(LENGTH.pack(len(question)) + question)
            self.sock.settimeout(PATIENCE)
            (size,) = LENGTH.unpack(self._read(LENGTH.size))
            self._read(min(size, _LONGEST))
        except OSError:  # it ended, or says nothing
            raise Refusal(f"{path}: {self._complaint()}; use net user,builtin") from None
        self.sock.setblocking(False)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ConnectionResetError
            data += piece
        return data

    def _complaint(self) -> str:
        """The last line that it wrote to stderr."""
        written = os.pread(self._complaints, 1 << 16, 0).decode(errors="replace")
        lines = [line for line in written.splitlines() if line.strip() and "syslog" not in line]
        return lines[-1].strip() if lines else "it does not answer"

    def close(self) -> None:
        """End it, and wait until it has ended."""
        if self.sock.fileno() < 0:
            return
        self.sock.close()
        os.close(self._complaints)
        _reap(self.pid, time.monotonic() + FAREWELL)


def _reap(pid: int, deadline: float) -> None:
    try:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            poll().poll(2)
    except (ChildProcessError, ProcessLookupError):  # whose parent ignores SIGCHLD has no zombies
        pass


def _arguments() -> list[str]:
    return [
        "--foreground", "--quiet", "--one-off", "--fd", str(_CHILD), "--ipv4-only",
        "--no-map-gw", "--no-dhcp", "--no-dhcp-dns", "--no-dhcp-search", "--no-ra", "--no-ndp",
        "--mtu", str(MTU), "--address", inet_ntoa(GUEST), "--netmask", inet_ntoa(MASK),
        "--gateway", inet_ntoa(GATEWAY), "--mac-addr", GATEWAY_MAC.hex(":"),
    ]  # fmt: skip
