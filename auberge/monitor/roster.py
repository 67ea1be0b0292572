"""Which guests there are and how they fare, whatever was killed meanwhile; and their removal."""

import fcntl
import os
from contextlib import suppress

from auberge.container import processes
from auberge.container.light import TYPE_CHECKING, Iterator, NamedTuple
from auberge.monitor import guests
from auberge.monitor.guests import CREATED, EXITED, Folder, Record
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.monitor.guest import Guest

RUNNING, PAUSED, DAMAGED = "running", "paused", "damaged"
ALONE = "its supervisor was killed"
PATIENCE = 10.0
"""Seconds for a supervisor to end when its guest has."""


class Seen(NamedTuple):
    """A guest as it is at one time."""

    name: str
    status: str  # created, running, paused, exited or damaged
    note: str = ""  # what a user should know about that
    record: Record | None = None  # None: damaged, or a machine that `auberge boot` runs
    folder: Folder | None = None  # None: a machine that `auberge boot` runs

    @property
    def is_machine(self) -> bool:
        """Whether it is a machine that `auberge boot` runs, which keeps no record."""
        return self.folder is None


def all_guests() -> list[Seen]:
    """All of them, those first that were made last."""
    found = [look(folder) for folder in guests.folders()]
    found.sort(key=lambda seen: seen.record.created if seen.record else "", reverse=True)
    known = {seen.name for seen in found}
    from auberge.monitor.names import running

    return found + [Seen(name, RUNNING) for name in running() if name not in known]


def find(word: str) -> Seen:
    """The guest that a user means by a name, or by how an id begins; raises Refusal."""
    try:
        return look(guests.find(word))
    except Refusal:
        from auberge.monitor.names import check_name, is_alive, socket_path

        try:
            if is_alive(socket_path(check_name(word))):
                return Seen(word, RUNNING)
        except Refusal:
            pass
        raise


def kept(word: str) -> tuple[Seen, Record, Folder]:
    """The same, of guests that have a record; raises Refusal for others."""
    seen = find(word)
    if seen.folder is None:
        raise Refusal(
            f"{word}: a machine that `auberge boot` runs, which takes no orders but `inspect`; "
            "use its console"
        )
    if seen.record is None:
        raise Refusal(seen.note)
    return seen, seen.record, seen.folder


def running(word: str) -> tuple[Seen, Record, Folder]:
    """The same, of guests that run; raises Refusal for others."""
    found = kept(word)
    if found[0].status not in (RUNNING, PAUSED):
        raise Refusal(f"{found[0].name}: it is {found[0].status}, not running; start another")
    return found


def look(folder: Folder) -> Seen:
    """The guest of a folder."""
    try:
        record = folder.load()
    except Refusal as refusal:
        return Seen(folder.name, DAMAGED, str(refusal), None, folder)
    if not record.process.pid and record.status != EXITED and not record.supervised:
        # who started it was killed before it could say which process it is
        from auberge.monitor.leftovers import first_process

        found = guests.Process(*first_process(folder.path, record.id))
        record = record._replace(process=found)
    status, note = _status(folder, record)
    return Seen(folder.name, status, note, record, folder)


def _status(folder: Folder, record: Record) -> tuple[str, str]:
    if record.status == EXITED:
        return EXITED, record.error
    supervised = record.supervised
    if not record.process.pid:
        return (CREATED, "") if supervised else (EXITED, ALONE)
    if not record.process.lives:
        return (RUNNING, "") if supervised else (EXITED, ALONE)
    note = "" if supervised else ALONE
    if record.isolation == "container":
        from auberge.monitor.leftovers import is_paused

        return (PAUSED if is_paused(folder.path, record.id) else RUNNING), note
    try:
        return (PAUSED if guest(record, folder).paused else RUNNING), note
    except Refusal as refusal:
        return RUNNING, str(refusal)


def guest(record: Record, folder: Folder) -> "Guest":
    """The guest itself, to be asked and told; raises Refusal."""
    if record.isolation == "machine" and record.supervised:
        from auberge.monitor.remote import RemoteGuest

        return RemoteGuest(record)
    return _made(record, folder)


def _made(record: Record, folder: Folder) -> "Guest":
    from auberge.monitor.guest import make
    from auberge.monitor.options import read_options

    return make(read_options(record.options), folder.path)


# -- removing -------------------------------------------------------------------------------------


def remove(folder: Folder) -> None:
    """End the guest if it runs, and remove all that it has, its folder too; nothing to do if it is
    gone. For any process, and when its record is damaged. Raises Refusal."""
    with suppress(Refusal):
        _end_process(folder.load())  # before the lock, which it may want itself at its end
    for _ in _alone(folder):
        try:
            record = folder.load()
            made = _made(record, folder)
        except Refusal:
            record, made = None, None
        if made is not None:
            made.remove()
        _remove_rest(folder)
        # until its supervisor says that it is that, we who started it are said to be
        if record is None or not record.supervised or record.supervisor.pid == os.getpid():
            _forget_socket(folder.name, record)


def _end_process(record: Record) -> None:
    """End a machine, with the process that it is in if need be, for nothing of it is elsewhere; and
    the process that is about to start a container, which would go on with that."""
    supervisor = record.supervisor
    if supervisor.pid == os.getpid() or not supervisor.lives:
        return
    if record.status != CREATED and record.isolation != "machine":
        return
    if record.status != CREATED:
        from auberge.monitor.remote import RemoteGuest

        with suppress(Refusal):
            RemoteGuest(record).signal(processes.SIGKILL, everyone=True)
        if processes.wait_gone(supervisor.pid, supervisor.ticks, PATIENCE):
            return  # having put back its terminal, if it had one
    processes.send(supervisor.pid, supervisor.ticks, processes.SIGKILL)
    processes.wait_gone(supervisor.pid, supervisor.ticks, PATIENCE)


def _forget_socket(name: str, record: Record | None) -> None:
    from auberge.monitor.names import KEEPER, forget, socket_path

    try:
        forget(record.socket if record is not None and record.socket else socket_path(name, KEEPER))
    except Refusal:  # not a name, or no folder for sockets: then there is none
        pass


def _remove_rest(folder: Folder) -> None:
    """What is left if its options, or its image, can no longer be read."""
    from auberge.image.oci.rootfs import release
    from auberge.monitor.leftovers import let_go as let_go_containers

    for name in let_go_containers(folder.path):
        release(name)
    folder.remove()


def let_go(folder: Folder, record: Record) -> None:
    """Take away what a guest that has ended has on the host, but what it has changed."""
    if record.isolation == "container":
        from auberge.monitor.leftovers import let_go as let_go_containers

        for _ in _alone(folder):
            let_go_containers(folder.path)


def tidy(folder: Folder, record: Record) -> None:
    """The same of a guest that has ended without its supervisor, which was killed, and all of it if
    it was to be removed with its end; nothing to do if that lives, and does it itself."""
    if record.supervised or record.process.lives:
        return
    if record.remove:
        remove(folder)
    else:
        let_go(folder, record)


def gone(record: Record) -> bool:
    """Wait for the supervisor of a guest that was removed; whether it has ended."""
    supervisor = record.supervisor
    if not supervisor.lives or supervisor.pid == os.getpid():
        return True
    return processes.wait_gone(supervisor.pid, supervisor.ticks, PATIENCE)


def _alone(folder: Folder) -> Iterator[None]:
    """Once, while no other process removes it; not at all if it is gone."""
    try:
        fd = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        os.unlink(folder.path)  # nothing that we have made
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if not os.path.samestat(os.fstat(fd), os.stat(folder.path)):
                return
        except FileNotFoundError:
            return
        yield
    finally:
        os.close(fd)
