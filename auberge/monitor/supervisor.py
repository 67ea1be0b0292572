"""A guest that nobody waits for has a process of its own that does: its supervisor.

It starts the guest, which is its child then, and says how that went to whoever asked for it. A
container's supervisor then becomes a smaller program, by execve(2), which keeps its number, its
child and its descriptors: images, plans and networks take more memory than what is left to do.
What is needed of them at the guest's end is imported then. A machine lives in its supervisor.

A signal to the supervisor to end is passed on to the guest, as the one that ends it politely.
"""

import os
import sys

from auberge.container.light import TYPE_CHECKING, NamedTuple, read_json, write_json
from auberge.container.processes import SETTABLE
from auberge.monitor import guests
from auberge.monitor.guests import EXITED, RUNNING, Folder, Record
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from _socket import socket as Socket

    from auberge.monitor.guest import Guest
    from auberge.monitor.keeper import Kept, Streams
    from auberge.monitor.options import Options

ERRORS = "supervisor.errors"
"""In the guest's folder: what the supervisor itself has to say; empty, but for our mistakes."""
REPORT = 3  # the descriptor on which it is said how the start went
BEGIN = "import sys; sys.path.insert(0, sys.argv[1]); from auberge.monitor.{0} import main; main()"
SIGHUP, SIGINT, SIGQUIT, SIGTERM = 1, 2, 3, 15
FAILED = 125


# -- for who wants a guest ------------------------------------------------------------------------


def start_detached(options: "Options", size: tuple[int, int] | None = None) -> str:
    """Start a guest that goes on without us; its name. Its terminal, if it has one, has these rows
    and columns. Raises Refusal, or NotStarted, and then nothing is left of it."""
    from auberge.monitor.guest import NotStarted, choose
    from auberge.monitor.options import check

    options = choose(check(options)).options
    record = new_record(options)
    folder = guests.create(record)
    try:
        said = _spawn(folder, size or (0, 0))
    except OSError as error:
        folder.remove()
        raise Refusal(f"{record.name}: its supervisor cannot be started: {reason(error)}") from None
    values = read_json(said) if said else None
    if not isinstance(values, dict):
        raise _vanished(folder)
    if "refused" not in values:
        return record.name
    if values["status"] == FAILED:
        raise Refusal(str(values["refused"]))
    raise NotStarted(str(values["refused"]), int(values["status"]))


def new_record(options: "Options") -> Record:
    """The record of a guest that this process is about to start."""
    from auberge.monitor.options import written

    return Record(
        options.id,
        options.name or guests.fresh_name(options.image),
        options.isolation,
        options.image,
        options.command,
        options.labels,
        options.ports,
        created=guests.now(),
        supervisor=guests.process(os.getpid()),
        terminal=options.terminal,
        interactive=options.interactive,
        remove=options.remove,
        options=written(options),
    )


def started(record: Record, guest: "Guest") -> Record:
    """The record of a guest that runs now."""
    return record._replace(
        status=RUNNING,
        started=guests.now(),
        process=guests.process(guest.pid),
        image=guest.image,
        command=guest.command,
        ports=guest.ports,
        stop_signal=guest.stop_signal,
    )


def ended(record: Record, status: int, oom_killed: bool) -> Record:
    """The record of a guest that has ended."""
    return record._replace(
        status=EXITED,
        exit_code=status,
        oom_killed=oom_killed,
        finished=guests.now(),
        socket="",
    )


def _vanished(folder: Folder) -> Refusal:
    """A supervisor was killed before it could say anything: clean up after it."""
    try:
        with open(folder.at(ERRORS), encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        lines = []
    why = lines[-1] if lines else "was it killed, or is the host out of memory?"
    from auberge.monitor.roster import remove

    remove(folder)
    return Refusal(f"{folder.name}: its supervisor ended before it started: {why}")


def _spawn(folder: Folder, size: tuple[int, int]) -> bytes:
    """Start the supervisor; what it reports."""
    import auberge

    environment = dict(os.environ)
    if chosen := environment.get("AUBERGE_CACHE_DIR"):
        environment["AUBERGE_CACHE_DIR"] = os.path.abspath(chosen)  # it goes to another directory
    root = os.path.dirname(os.path.dirname(os.path.abspath(auberge.__file__)))
    command = [sys.executable, *_flags(), "-c", BEGIN.format("supervisor"), root, folder.path]
    hears, tells = os.pipe()
    try:
        errors = os.open(
            folder.at(ERRORS), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            pid = os.posix_spawn(
                sys.executable,
                [*command, *map(str, size)],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, errors, 1),
                    (os.POSIX_SPAWN_DUP2, errors, 2),
                    (os.POSIX_SPAWN_DUP2, tells, REPORT),  # the last: `errors` may be that
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=SETTABLE,
            )
        finally:
            os.close(errors)
    finally:
        os.close(tells)
    with open(hears, "rb") as report:
        said = report.read(guests.LONGEST_RECORD)
    if b"refused" in said or not said:  # it ends now
        os.waitpid(pid, 0)
    return said


def _flags() -> list[str]:
    return ["-B"] if sys.dont_write_bytecode else []


# -- the supervisor's own -------------------------------------------------------------------------


def main() -> None:
    """Be the supervisor: what was asked for is in argv, where `_spawn` has put it."""
    import _signal  # type: ignore[import-not-found]

    root, path, rows, columns = sys.argv[1:5]
    for number in (SIGHUP, SIGINT, SIGQUIT):  # a terminal's, or somebody's by mistake
        _signal.signal(number, _signal.SIG_IGN)
    os.closerange(REPORT + 1, 1024)  # what our caller's caller has left open
    os.set_inheritable(REPORT, False)
    os.chdir("/")
    folder = Folder(path)
    try:
        begun = _begin(folder, (int(rows), int(columns)))
    except Refusal as refusal:
        from auberge.monitor.roster import remove

        status = getattr(refusal, "status", FAILED)
        try:
            remove(folder)
        except Refusal as worse:
            refusal = worse
        os.write(REPORT, write_json({"refused": str(refusal), "status": status}).encode())
        return
    os.write(REPORT, b'{"started": true}')
    os.close(REPORT)
    listener, streams = begun.listener, begun.streams
    if begun.guest.isolation == "machine":
        from auberge.monitor.kept_machine import KeptMachine

        _keep(KeptMachine(folder, begun.guest), folder, listener, streams)
        return
    fds = [listener.detach(), streams.output, streams.errors, streams.input]
    for fd in fds:
        if fd >= 0:
            os.set_inheritable(fd, True)
    words = [BEGIN.format("supervisor").replace("main", "go_on"), root, path, *map(str, fds)]
    os.execv(sys.executable, [sys.executable, "-I", "-S", *_flags(), "-c", *words])


class _Begun(NamedTuple):
    guest: "Guest"
    listener: "Socket"
    streams: "Streams"


def _begin(folder: Folder, size: tuple[int, int]) -> "_Begun":
    """Start the guest; raises Refusal."""
    from auberge.monitor.guest import make
    from auberge.monitor.names import KEEPER, leave, listen, socket_path
    from auberge.monitor.options import read_options

    record = folder.load()
    listener = listen(record.name, KEEPER)
    try:
        record = record._replace(
            supervisor=guests.process(os.getpid()), socket=socket_path(record.name, KEEPER)
        )
        folder.save(record)
        guest = make(read_options(record.options), folder.path)
        streams = _started(guest, record.interactive)
        if streams.terminal and all(size):
            guest.resize(*size)
        folder.save(started(record, guest))
    except BaseException:
        listener.close()
        leave(record.name, KEEPER)
        raise
    return _Begun(guest, listener, streams)


def _started(guest: "Guest", interactive: bool) -> "Streams":
    """Start it; our ends of its streams."""
    from auberge.monitor.keeper import Streams, pipes

    theirs, ours = pipes(interactive)
    try:
        master = guest.start(theirs)
    finally:
        for fd in theirs:
            os.close(fd)
    if master is None:
        return ours
    for fd in (ours.output, ours.errors, ours.input):
        if fd >= 0:
            os.close(fd)
    return Streams(master, -1, master, True)


def go_on() -> None:
    """Be a container's supervisor after execve(2)."""
    from _socket import socket as Socket

    from auberge.monitor.keeper import Streams
    from auberge.monitor.kept_container import KeptContainer

    path = sys.argv[2]
    listener, output, errors, typed = map(int, sys.argv[3:7])
    for fd in (listener, output, errors, typed):
        if fd >= 0:
            os.set_inheritable(fd, False)
    folder = Folder(path)
    streams = Streams(output, errors, typed, output == typed)
    _keep(KeptContainer(folder, output), folder, Socket(fileno=listener), streams)


def _keep(kept: "Kept", folder: Folder, listener: "Socket", streams: "Streams") -> None:
    import _signal

    from auberge.monitor.keeper import Keeper

    _signal.signal(SIGTERM, lambda *_: kept.stop())
    Keeper(kept, folder.path, listener, streams).run()
