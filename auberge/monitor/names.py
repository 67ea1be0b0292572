"""Where guests are found by name: sockets in a folder that is their user's alone.

    NAME.control    a machine that `auberge boot` runs answers there: see control.py
    NAME.keeper     who keeps a guest's record does (guests.py): see keeper.py, door.py

A name is one guest's, whichever it is. A keeper outlives its guest's folder for a moment, in which
the name is not free yet, and there is no such guest any more.
"""

import fcntl
import os
import socket
import string
from collections.abc import Iterator
from contextlib import contextmanager

from auberge.container.own_folder import own_folder
from auberge.refusal import Refusal, reason

LONGEST_NAME = 63
ALLOWED = frozenset(string.ascii_letters + string.digits + "_.-")
CONTROL, KEEPER = ".control", ".keeper"
LONGEST_PATH = 107  # unix(7): sun_path, its NUL left out


def folder() -> str:
    """The folder, made if it is not there; raises Refusal if it cannot be ours alone."""
    return own_folder()


def check_name(name: str) -> str:
    """The name itself; raises Refusal for what is none."""
    if not 0 < len(name) <= LONGEST_NAME or not ALLOWED.issuperset(name) or name[0] in "-.":
        raise Refusal(
            f"{name!r}: not a name; write letters, digits, '_', '.' and '-', at most {LONGEST_NAME}"
        )
    return name


def socket_path(name: str, kind: str = CONTROL) -> str:
    """The socket of the guest of that name; raises Refusal for what is no name."""
    path = os.path.join(folder(), check_name(name) + kind)
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Refusal(f"{path}: too long for a socket; set XDG_RUNTIME_DIR to a shorter path")
    return path


def running() -> list[str]:
    """The names of machines that `auberge boot` runs; one that was killed leaves its socket."""
    here = folder()
    sockets = [file for file in os.listdir(here) if file.endswith(CONTROL)]
    alive = [file for file in sockets if is_alive(os.path.join(here, file))]
    return sorted(file.removesuffix(CONTROL) for file in alive)


@contextmanager
def _alone() -> Iterator[None]:
    """A context in which no other process takes a name."""
    directory = os.open(folder(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def is_taken(name: str) -> bool:
    """Whether a guest that runs has that name; raises Refusal for what is no name."""
    return any(is_alive(socket_path(name, kind)) for kind in (CONTROL, KEEPER))


def listen(name: str, kind: str = CONTROL) -> socket.socket:
    """A socket that is the guest's of that name; raises Refusal if another guest has the name."""
    path = socket_path(name, kind)
    with _alone():
        if is_taken(name):
            raise Refusal(f"{name}: a guest of that name runs already; choose another name")
        try:
            os.unlink(path)  # of one that was killed
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
            listener.listen()
        except OSError as error:
            listener.close()
            raise Refusal(f"{path}: {reason(error)}; free some room there") from None
    return listener


def is_alive(path: str) -> bool:
    """Whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # many wait already (EAGAIN in connect(2))
            return True
        except OSError:
            return False
    return True


def leave(name: str, kind: str = CONTROL) -> None:
    """Give the name up."""
    try:
        os.unlink(socket_path(name, kind))
    except FileNotFoundError:
        pass


def forget(path: str) -> None:
    """Remove a socket that a killed guest has left; not one at which somebody listens."""
    with _alone():
        if not is_alive(path):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
