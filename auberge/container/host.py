"""What this host is like: what a plan has to know of it."""

import os

from auberge.container.cgroups_layout import Layout, Node
from auberge.container.devices import DeviceNode, host_node
from auberge.container.light import Callable, NamedTuple, Sequence

LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"
MODULES = "/sys/kernel/security/lsm"


class CgroupMount(NamedTuple):
    """One hierarchy of the host's, for a mount of type cgroup: where ours is, and its name."""

    version: int
    controllers: tuple[str, ...]
    path: str
    name: str


class Host(NamedTuple):
    """What a plan has to know of the host, and of whoever asks for the container."""

    bundle: str
    is_directory: Callable[[str], bool]
    mount_of: Callable[[str], str]  # the mount point that holds a path
    last_capability: int
    privileged: bool  # whether the runtime is root over the host
    cgroups: tuple[CgroupMount, ...] = ()
    labels: tuple[str, ...] = ()  # which of apparmor, selinux confine processes here
    keyrings: bool = True  # whether this kernel has them
    node: Callable[[DeviceNode], str] = host_node  # which of the host's to bind


def this_host(bundle: str, layout: Layout, nodes: Sequence[Node]) -> Host:
    """The host we run on; `nodes` are the container's cgroups."""
    places = {node.mount: node.path for node in nodes}
    mounts = tuple(
        CgroupMount(
            h.version, h.controllers, places.get(h.mount, h.mount), os.path.basename(h.mount)
        )
        for h in layout.hierarchies
    )
    if not _facts:  # what a kernel does not change while it runs
        _facts.append((_last_capability(), _labels(), os.path.exists("/proc/keys")))
    last, labels, keyrings = _facts[0]
    root = os.geteuid() == 0
    return Host(bundle, os.path.isdir, _mount_of, last, root, mounts, labels, keyrings)


_facts: list[tuple[int, tuple[str, ...], bool]] = []


def _last_capability() -> int:
    try:
        with open(LAST_CAPABILITY, encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return 40


def _labels() -> tuple[str, ...]:
    try:
        with open(MODULES, encoding="ascii") as file:
            return tuple(file.read().strip().split(","))
    except OSError:
        found = (("apparmor", "/sys/kernel/security/apparmor"), ("selinux", "/sys/fs/selinux/load"))
        return tuple(name for name, path in found if os.path.exists(path))


def _mount_of(path: str) -> str:
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
