"""Guests of programs: containers that belong to a process and are not shown to others.

    programs/PID-TICKS/ID/   the folder of a guest (guest.py) of the process PID, begun at TICKS
                             (proc_pid_stat(5), field 22)

`programs` is beside the images and its user's alone. A process that ends as it should removes its
own, with the guests in it that it has not closed. What a killed one leaves, running containers too,
the next one's first guest removes.
"""

import atexit
import fcntl
import os
import threading
from contextlib import suppress

from auberge.container import processes
from auberge.container.own_folder import check_ours
from auberge.image.store import cache_directory
from auberge.refusal import Refusal, reason

_lock = threading.Lock()
_ours: dict[tuple[int, str], str] = {}


def folder(id: str) -> str:
    """A new folder for a guest of this process; raises Refusal."""
    path = os.path.join(_own(), id)
    try:
        os.makedirs(path, mode=0o700)
    except OSError as error:
        why = reason(error)
        raise Refusal(f"{path}: {why}; set AUBERGE_CACHE_DIR to a folder of yours") from None
    return path


def _own() -> str:
    """This process's folder. After a fork, the child has another."""
    place = os.path.join(cache_directory(), "programs")
    pid = os.getpid()
    with _lock:
        if (pid, place) not in _ours:
            with suppress(OSError):  # `folder` says what is wrong
                os.makedirs(place, mode=0o700, exist_ok=True)
                check_ours(place)  # what is there says whom to kill
                sweep(place)
            own = os.path.join(place, f"{pid}-{processes.start_time(pid)}")
            _ours[pid, place] = own
            atexit.register(_leave, own, pid)
        return _ours[pid, place]


def _leave(own: str, pid: int) -> None:
    if os.getpid() == pid:
        with suppress(OSError, Refusal):  # then it is swept by the next program
            _remove(own)


def sweep(place: str) -> list[str]:
    """Remove the guests of processes that have ended, in a folder of programs; their ids."""
    gone = []
    for name in sorted(os.listdir(place)):
        pid, _, ticks = name.partition("-")
        if not (pid.isdecimal() and ticks.isdecimal()):
            continue
        if processes.is_alive(int(pid), int(ticks)):
            continue
        path = os.path.join(place, name)
        try:
            here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # another one has swept it
            continue
        try:
            fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone += _remove(path)
        except BlockingIOError:  # another one sweeps it
            pass
        finally:
            os.close(here)
    return gone


def _remove(path: str) -> list[str]:
    from auberge.monitor.container_guest import remove_remains

    try:
        ids = sorted(os.listdir(path))
    except FileNotFoundError:  # nothing was ever made there
        return []
    for id in ids:
        remove_remains(os.path.join(path, id), id)
    with suppress(FileNotFoundError):
        os.rmdir(path)
    return ids
