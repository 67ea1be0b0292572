"""What this host is like: what a plan has to know of it."""

import os

from auberge.container.cgroups_layout import Layout, Node
from auberge.container.light import Sequence
from auberge.container.plan import CgroupMount, Host

LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"
MODULES = "/sys/kernel/security/lsm"


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
