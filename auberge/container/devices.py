"""The device nodes and links in a container's /dev: what must be there, and with which numbers.

config-linux.md, "Default Devices" and "Devices"; runtime-linux.md, "Dev symbolic links".
"""

import os
import stat

from auberge.container.config import Device
from auberge.container.light import NamedTuple, Sequence
from auberge.refusal import Refusal

WHERE = "$.linux.devices"

DEFAULT = tuple(
    Device("c", f"/dev/{name}", major, minor)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
"""Numbers of Linux, Documentation/admin-guide/devices.txt. /dev/console is the terminal, if there
is one, and /dev/ptmx a link."""

LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)

_MODE = 0o666
_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_MAJORS, _MINORS = 1 << 12, 1 << 20
"""How many there are (linux/kdev_t.h)."""


class DeviceNode(NamedTuple):
    """What mknod(2) and chown(2) are to make at `path`."""

    path: str
    mode: int  # with its type
    major: int
    minor: int
    uid: int
    gid: int
    where: str  # the property of config.json that asks for it


def device_nodes(wanted: Sequence[Device]) -> tuple[DeviceNode, ...]:
    """All nodes of a container: a `wanted` one goes before a default one at the same path.

    Raises Refusal for one without its numbers, with impossible ones, or in place of the root.
    """
    found = {device.path: _node(device, "default") for device in DEFAULT}
    for index, device in enumerate(wanted):
        path = "/" + os.path.normpath(device.path).strip("/")
        found[path] = _node(device._replace(path=path), f"{WHERE}[{index}]")
    return tuple(found.values())


def _node(device: Device, where: str) -> DeviceNode:
    if device.path == "/":
        raise Refusal(
            f"config.json: {where}.path: {device.path!r} is no place for a node; write a path such "
            "as '/dev/fuse'"
        )
    if device.type != "p":  # "unless type is p"
        ends = (("major", device.major, _MAJORS), ("minor", device.minor, _MINORS))
        for name, value, end in ends:
            if value is None:
                raise Refusal(f"config.json: {where}.{name}: missing; write the device's number")
            if not 0 <= value < end:
                raise Refusal(
                    f"config.json: {where}.{name}: {value} is no device number; write one from 0 "
                    f"to {end - 1}"
                )
    mode = _MODE if device.file_mode is None else stat.S_IMODE(device.file_mode)
    kind = _KINDS[device.type]
    return DeviceNode(
        device.path,
        kind | mode,
        (device.major or 0) if device.type != "p" else 0,
        (device.minor or 0) if device.type != "p" else 0,
        device.uid or 0,
        device.gid or 0,
        where,
    )


def host_node(node: DeviceNode, dev: str = "/dev") -> str:
    """The host's node with the same numbers, to be bound where mknod(2) is not permitted: in a
    user namespace. At the same path, or where udev(7) has links to all. Raises Refusal."""
    kind = stat.S_IFMT(node.mode)
    folder = "char" if kind == stat.S_IFCHR else "block"
    same = dev + node.path.removeprefix("/dev") if node.path.startswith("/dev/") else node.path
    for path in (same, f"{dev}/{folder}/{node.major}:{node.minor}"):
        try:
            there = os.stat(path)
        except OSError:
            continue
        number = os.makedev(node.major, node.minor)
        if stat.S_IFMT(there.st_mode) == kind and there.st_rdev == number:
            return path
    raise Refusal(
        f"config.json: {node.where}: device nodes cannot be made in a user namespace, and the host "
        f"has no {node.path} with the numbers {node.major}:{node.minor} to bind; leave it out"
    )
