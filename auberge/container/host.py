"""What this host is like: what a plan has to know of it."""

import os

from auberge.container.cgroups_layout import Layout
from auberge.container.plan import CgroupMount, Host

LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"
MODULES = "/sys/kernel/security/lsm"


def this_host(bundle: str, layout: Layout, places: dict[str, str]) -> Host:
    """The host we run on; `places` are paths of the container's cgroups, by mount point."""
    mounts = tuple(
        CgroupMount(
            h.version, h.controllers, places.get(h.mount, h.mount), os.path.basename(h.mount)
        )
        for h in layout.hierarchies
    )
    return Host(
        bundle, os.path.isdir, _mount_of, _last_capability(), os.geteuid() == 0, mounts, _labels()
    )


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
