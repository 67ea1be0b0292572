"""One more program in a container, and the terminals of programs in containers."""

import fcntl
import os
import socket
import struct
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EACCES, EISDIR, ENOENT, ENOEXEC, ENOTDIR, EPERM

from auberge.container.carry import Failure
from auberge.container.config import Process
from auberge.container.inside import Entry, enter
from auberge.container.light import NamedTuple
from auberge.container.runtime import Container
from auberge.container.steps import EnterFolder, Execute, FindProgram, MakeFolder
from auberge.image import subordinate
from auberge.image.oci.identity import identify
from auberge.monitor.container_config import mappings, whom
from auberge.monitor.container_image import Settled
from auberge.monitor.guest import NOT_EXECUTABLE, NOT_FOUND, NotStarted
from auberge.monitor.offspring import Offspring
from auberge.refusal import Refusal

SIZE = struct.Struct("HHHH")  # struct winsize
REFUSED = (EACCES, EPERM, ENOEXEC, EISDIR, ENOTDIR)


class Console(NamedTuple):
    """What a container's process is started with that is to have a terminal."""

    streams: tuple[int, int, int]
    socket: int  # takes the master


class Terminal:
    """The master of a process's terminal, or none; for any thread."""

    def __init__(self) -> None:
        self._master = -1
        self._lock = threading.Lock()

    @contextmanager
    def expected(self) -> Iterator[Console]:
        """A context in which the process is started; after it the terminal is here."""
        ours, theirs = socket.socketpair()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            with ours:
                with theirs:
                    yield Console((null, null, null), theirs.fileno())
                _, found, _, _ = socket.recv_fds(ours, 64, 1)
        finally:
            os.close(null)
        if not found:
            raise Refusal("terminal: the container did not send it; look at /dev/pts on this host")
        os.set_inheritable(found[0], False)
        self._master = found[0]

    def copy(self) -> int:
        """Another descriptor of it, for whoever shows it."""
        return fcntl.fcntl(self._master, fcntl.F_DUPFD_CLOEXEC, 3)

    def resize(self, rows: int, columns: int) -> None:
        """Set its size, if it is there."""
        with self._lock:
            if self._master >= 0:
                size = SIZE.pack(rows & 0xFFFF, columns & 0xFFFF, 0, 0)
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def close(self) -> None:
        """Forget it; can be said twice."""
        with self._lock:
            if self._master >= 0:
                os.close(self._master)
                self._master = -1


class Joined:
    """A Command (guest.py) in a container."""

    def __init__(self, process: Offspring, screen: Terminal, terminal: int | None) -> None:
        self.pid = process.pid
        self.terminal = terminal
        self._process = process
        self._screen = screen

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; None if it still runs."""
        return self._process.wait(timeout)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.signal(number)

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""
        self._screen.resize(rows, columns)


def more_process(
    first: Process, image: Settled, command: Sequence[str], env: Sequence[str], cwd: str,
    user: str, terminal: bool,
) -> Process:  # fmt: skip
    """A process like a container's first one, but for what is said."""
    variables = {text.partition("=")[0]: text for text in (*first.env, *env)}
    if terminal:
        variables.setdefault("TERM", "TERM=xterm")
    process = first._replace(
        args=tuple(command), env=tuple(variables.values()), cwd=cwd or first.cwd, terminal=terminal
    )
    if not user:
        return process
    who = identify(user, image.record.layers, image.record.reference)
    ids = subordinate.read(image.record.ids)
    if os.geteuid() and ids is None and (who.uid, who.gid) != (first.user.uid, first.user.gid):
        raise Refusal(
            f"-u: {user!r}: this container has one user, who is {first.user.uid} in it; "
            "see `auberge doctor` about subordinate ids, and make another"
        )
    if ids is not None:
        mappings(who, ids)  # which refuses who is not among them
    variables["HOME"] = f"HOME={who.home}"
    return process._replace(
        user=whom(who, os.geteuid() == 0 or ids is not None), env=tuple(variables.values())
    )


def execute(container: Container, process: Process, streams: Sequence[int], image: str) -> Joined:
    """Run it; raises NotStarted, or Refusal if the container does not run."""
    screen = Terminal()
    try:
        if process.terminal:
            with screen.expected() as console:
                how = Entry(streams=console.streams, console=console.socket)
                child = enter(container, process, how)
        else:
            child = enter(container, process, Entry(streams=tuple(streams)))
    except Failure as failure:
        raise not_started(failure, image) from None
    child.close()
    joined = Offspring(child.pid, screen.close)
    return Joined(joined, screen, screen.copy() if process.terminal else None)


def not_started(failure: Failure, image: str) -> Refusal:
    """What docker has a status of its own for; else the failure itself."""
    operation, errno = failure.operation, failure.errno
    if isinstance(operation, FindProgram):
        name = operation.paths[0]
        if len(operation.paths) > 1:  # searched in PATH
            name = name.rpartition("/")[2]
        fix = "give a program that is in the image"
    elif isinstance(operation, Execute):
        name, fix = operation.args[0], "give a program that this host can execute"
    elif isinstance(operation, EnterFolder | MakeFolder):
        name, fix = operation.path, "give another folder with -w"
    else:
        return failure
    if errno == ENOENT:
        return NotStarted(f"{image}: {name}: no such file or directory; {fix}", NOT_FOUND)
    if errno in REFUSED:
        why = os.strerror(errno).lower()
        return NotStarted(f"{image}: {name}: {why}; {fix}", NOT_EXECUTABLE)
    return failure
