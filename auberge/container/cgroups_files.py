"""The files of a cgroup: read, written, and what it means when the kernel says no."""

import os
from errno import EDQUOT

from auberge.container.light import NamedTuple
from auberge.refusal import Refusal, reason

_LONGEST = 1 << 25  # bytes read of one file: the numbers of four million processes
_PIECE = 1 << 16


class Write(NamedTuple):
    """A value for a file of the container's cgroup in the hierarchy with `controller`."""

    controller: str
    file: str
    text: str
    where: str  # the property of config.json that asks for it
    again: bool = False
    """If the kernel says EINVAL, it is tried once more after the next ones: two values that bound
    each other must be written in an order that depends on the ones before."""
    otherwise: "Write | None" = None
    """Written instead where this kernel does not have the file."""
    kept: bool = False
    """Looked at afterwards: kernels where it is gone take a value and forget it."""
    above: str = ""
    """A file with a number: not written if that is higher (memory in use, and its limit)."""


def read(path: str) -> str:
    """What is in a file of a cgroup; empty if the file is not there (cgroup or feature is not)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    found = b""
    try:
        while len(found) < _LONGEST and (piece := os.read(fd, _PIECE)):
            found += piece  # a page at a time is what kernfs gives of a long list of processes
        return found.decode("ascii", "replace")
    except OSError:
        return ""  # ENODEV, EOPNOTSUPP: the kernel knows the file but not the number
    finally:
        os.close(fd)


def write(path: str, text: str) -> None:
    """Give a file of a cgroup a value, in one write as kernfs wants it; raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def number(text: str) -> int | None:
    """A file's number; None for `max`, for nothing, and for what is no number."""
    text = text.strip()
    return int(text) if text.removeprefix("-").isdecimal() else None


def numbers(text: str) -> dict[str, int]:
    """A flat keyed file (cgroup-v2.rst, "Interface Files"): `KEY VALUE` a line."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def refusal(write: Write, path: str, error: OSError) -> Refusal:
    """What to tell a user when the kernel does not take a value."""
    place = f"config.json: {write.where}"
    why = reason(error)
    if write.above and error.errno == EDQUOT:
        return Refusal(f"{place}: more than {write.text} bytes are in use; write a higher limit")
    if isinstance(error, FileNotFoundError):
        return Refusal(f"{place}: this kernel has no {write.file}; leave it out")
    if isinstance(error, PermissionError):
        return Refusal(
            f"{place}: {path}: {why}; be root, or have the cgroup delegated "
            "(systemd-run --user --scope -p Delegate=yes ...)"
        )
    return Refusal(
        f"{place}: the kernel refuses {write.text!r} for {path}: {why}; change the value"
    )
