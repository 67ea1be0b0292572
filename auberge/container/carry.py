"""A plan carried out: its table made into a program, started, and talked to until it has ended.

Nothing of Python runs between the start of that program and the container's own: see stub.py.
"""

from __future__ import annotations

import fcntl
import os
from errno import EBUSY, EINVAL

from auberge.container import stub
from auberge.container.light import TYPE_CHECKING, Callable, NamedTuple, Sequence
from auberge.container.processes import SETTABLE, SIGKILL
from auberge.container.talk import CLONED, LONGEST_STATE, MESSAGE, ROW, ROWS
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from auberge.container.steps import Operation

LIFTED = 64  # above what a child may want at fixed numbers
STREAMS = (0, 1, 2)  # standard input, output and errors, as we have them


class Failure(Refusal):
    """What a container could not do, and of which operation."""

    def __init__(self, text: str, operation: object, errno: int) -> None:
        super().__init__(text)
        self.operation = operation
        self.errno = errno


class Program(NamedTuple):
    """An executable, and of which operation each of its rows is."""

    image: bytes
    numbers: Sequence[int]
    operations: Callable[[], Sequence[Operation]]  # asked for where one has failed

    def operation_of(self, address: int) -> Operation | None:
        """The operation whose row has that address; None if there is none."""
        at, rest = divmod(address - ROWS, ROW)
        if rest or not 0 <= at < len(self.numbers) or self.numbers[at] < 0:
            return None
        return self.operations()[self.numbers[at]]


class Child:
    """A process that carries out a plan: started by the constructor, ended by `close`."""

    def __init__(
        self,
        program: Program,
        streams: Sequence[int] = STREAMS,
        kept: int = 0,
        start: int | None = None,
        console: int | None = None,
        users: Sequence[int] = (),
        listens: Callable[[int, int], None] | None = None,
    ) -> None:
        """`users` are user namespaces that map mounts; `listens` is given the child's number, and
        the listener of its filter for as long as the call lasts."""
        self._program = program
        self._listens = listens
        self.pid = 0  # of the container's process, once it is cloned
        self._told: list[int] = []
        self._hears, tells = os.pipe() if listens is None else _sockets()
        goes, self._go = os.pipe()
        given = [tells, goes, *(fd for fd in (start, console) if fd is not None), *users]
        try:
            self._starter = _spawn(program.image, streams, kept, given)
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(tells)
            os.close(goes)

    def until(self, what: int) -> None:
        """Wait until the child has told that; raises Refusal if it fails before.

        Two processes tell: that the child is READY may be heard before who it is.
        """
        while what not in self._told or not self.pid:
            if not self._hear():
                raise Refusal(
                    "container: its process ended while it was made; was it killed, "
                    "or is the host out of memory?"
                )

    def go(self, state: bytes = b"{}") -> None:
        """Let the child go on; hooks of its own read this state. Raises Refusal if it is long."""
        if len(state) > LONGEST_STATE:
            raise Refusal(
                f"config.json: $.annotations: hooks could not read {len(state)} bytes of state; "
                f"shorten them to {LONGEST_STATE}"
            )
        try:
            os.write(self._go, state)
        except BrokenPipeError:  # it has ended; what it told before is still to be read
            pass

    def started(self) -> None:
        """Wait until the child is another program (all it had from us is closed by that)."""
        while self._hear():
            pass

    def _hear(self) -> bool:
        message = os.read(self._hears, MESSAGE) if self._listens is None else self._receive()
        if len(message) < MESSAGE:
            return False
        # `struct` would take 0.4 ms to import
        what = int.from_bytes(message[:8], "little")
        number = int.from_bytes(message[8:], "little")
        if what >= ROWS:
            raise self._failure(what, number)
        if what == CLONED:
            self.pid = number
            self._reap_starter()
        self._told.append(what)
        return True

    def _receive(self) -> bytes:
        """The next message; a descriptor with it is handed on, and closed."""
        import socket

        with socket.socket(fileno=os.dup(self._hears)) as ours:
            message, fds, _, _ = socket.recv_fds(ours, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        try:
            if fds and self._listens is not None:
                self._listens(self.pid, fds[0])
        finally:
            for fd in fds:
                os.close(fd)
        return message

    def _failure(self, row: int, number: int) -> Refusal:
        return explain(self._program.operation_of(row), number)

    def _reap_starter(self) -> None:
        if self._starter:
            pid, self._starter = self._starter, 0
            _reap(pid)

    def close(self) -> None:
        """Forget the child: if it still waits for us, that ends it."""
        self._close_pipes()
        self._reap_starter()

    def _close_pipes(self) -> None:
        if self._go >= 0:
            os.close(self._hears)
            os.close(self._go)
            self._go = -1

    def kill(self) -> None:
        """End a child that was started by this very process, and wait for its end."""
        self.close()
        if self.pid:
            try:
                os.kill(self.pid, SIGKILL)
            except ProcessLookupError:
                pass
            _reap(self.pid)
            self.pid = 0


def explain(operation: object, number: int) -> Failure:
    """One line about an operation that failed."""
    from auberge.container.mounts import MapIds
    from auberge.container.seccomp_filter import Filter, HandOver
    from auberge.container.steps import EnterGroups, Execute, FindProgram, RunHook

    why = os.strerror(number).lower()
    if isinstance(operation, FindProgram):
        name = operation.paths[-1].rpartition("/")[2]
        name = operation.paths[0] if len(operation.paths) == 1 else name
        text = f"$.process.args[0]: {name!r}: {why}; give a program that is in the container"
    elif isinstance(operation, Execute):
        text = f"{operation.args[0]!r}: {why}; give a program that this host can execute"
    elif isinstance(operation, RunHook):
        what = {125: "it failed", 110: "it took too long"}.get(number, why)
        text = f"hook {operation.hook.path} ({operation.when}): {what}; mend it or take it out"
    elif isinstance(operation, MapIds):
        below = ", or one below it," if operation.deep else ""
        text = (
            f"{operation.where}: {operation.source}: the file system{below} cannot map ids "
            f"({why}); take one that can, such as ext4 or tmpfs, and is not mapped already"
        )
    elif isinstance(operation, Filter):
        text = f"$.linux.seccomp: the kernel refuses the filter: {why}; {_filter_hint(number)}"
    elif isinstance(operation, HandOver):
        text = (
            f"$.linux.seccomp: the listener could not be sent: {why}; let the profile allow "
            "'sendmsg'"
        )
    elif isinstance(operation, EnterGroups):
        text = (
            f"$.linux.intelRdt: the kernel refuses its process: {why}; choose another closID, "
            "whose group is not locked"
        )
    else:
        text = f"{shown(operation)}: {why}; `auberge plan BUNDLE` shows all steps"
    return Failure(f"container: {text}", operation, number)


def _filter_hint(number: int) -> str:
    """What mends a filter that the kernel refuses (seccomp(2), "ERRORS")."""
    if number == EINVAL:
        return "take flags out that this kernel does not know"
    if number == EBUSY:
        return "the runtime itself is under a filter with a listener: only one can be"
    return "set process.noNewPrivileges, or run as root"


def shown(operation: object) -> str:
    """An operation as a line: its name, and what it is about."""
    if operation is None:
        return "start"
    assert isinstance(operation, tuple)
    fields = zip(type(operation).__annotations__, operation, strict=True)
    return " ".join([type(operation).__name__, *(f"{key}={_word(value)}" for key, value in fields)])


def _word(value: object) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = str(value)
    return text if len(text) <= 200 and text.isprintable() else repr(text)[:200]


def _sockets() -> tuple[int, int]:
    """What a pipe is, but descriptors pass it, too: a message is one (unix(7), SOCK_SEQPACKET)."""
    import socket

    hears, tells = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return hears.detach(), tells.detach()


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # a program that ignores SIGCHLD has no children to wait for
        pass


def _spawn(image: bytes, streams: Sequence[int], kept: int, given: Sequence[int]) -> int:
    """Start the program, with `given` after the standard streams and the kept descriptors."""
    lifted: list[int] = []
    above = max(LIFTED, 3 + kept + len(given))
    try:
        memory = stub.sealed(image)
        lifted.append(memory)
        for fd in (memory, *streams, *given):
            lifted.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above))
        places = [0, 1, 2, *range(3 + kept, 3 + kept + len(given))]
        actions: list[tuple[int, int, int]] = [
            (os.POSIX_SPAWN_DUP2, fd, at) for fd, at in zip(lifted[2:], places, strict=True)
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in range(3, 3 + kept)]
        return os.posix_spawn(
            f"/proc/self/fd/{lifted[1]}",
            ["auberge-oci"],
            {},
            file_actions=actions,
            setsigmask=[],
            setsigdef=SETTABLE,
        )
    except OSError as error:
        raise Refusal(
            f"container: its first process cannot be started: {reason(error)}; "
            "look at the limits of descriptors and processes, and that /proc is mounted"
        ) from None
    finally:
        for fd in lifted:
            os.close(fd)
