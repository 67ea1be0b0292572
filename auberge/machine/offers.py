"""What this host offers, each thing found out by trying it; none needs root or changes anything."""

import ctypes
import errno
import fcntl
import os
import subprocess
from typing import NamedTuple

from auberge.image import subordinate
from auberge.memory.arena import Arena
from auberge.refusal import reason

KVM_GET_API_VERSION = 0xAE00  # linux/kvm.h; 12 since 2007
CLONE_NEWUSER = 0x1000_0000  # linux/sched.h

PATIENCE = 5.0
"""Seconds that a program may take to say its version."""


class Fact(NamedTuple):
    """One thing about this host: whether it is there and works, and what it is or what is wrong."""

    name: str
    works: bool
    what: str


def kvm() -> Fact:
    """Whether this user may use the kernel's hypervisor."""
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        hint = "; add yourself to group 'kvm'" if error.errno == errno.EACCES else ""
        return Fact("kvm", False, f"/dev/kvm: {reason(error)}{hint}")
    try:
        version = fcntl.ioctl(fd, KVM_GET_API_VERSION)
    except OSError as error:
        return Fact("kvm", False, f"/dev/kvm: {reason(error)}")
    finally:
        os.close(fd)
    return Fact("kvm", version == 12, f"API version {version}")


def user_namespaces() -> Fact:
    """Whether this user may make a user namespace: a child of ours tries."""
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        failed = ctypes.get_errno() if unshare(CLONE_NEWUSER) else 0
        os.write(told, bytes([failed & 0xFF]))
        os._exit(0)
    os.close(told)
    answer = os.read(heard, 1)
    os.close(heard)
    os.waitpid(child, 0)
    if answer != b"\0":
        why = os.strerror(answer[0]).lower() if answer else "the child that tried was killed"
        return Fact("user namespaces", False, f"{why} (user.max_user_namespaces is {_most()})")
    return Fact("user namespaces", True, f"can be made; at most {_most()}")


def _most() -> str:
    return first_line("/proc/sys/user/max_user_namespaces") or "unknown"


def subordinate_ids() -> Fact:
    """Whether a user namespace of this user may have more than one user (newuidmap(1))."""
    name = subordinate.user_name(os.getuid())
    if tool := subordinate.missing_tool():
        return Fact("subordinate ids", False, f"{tool}: not installed (package uidmap)")
    ids = subordinate.granted()
    if ids is None:
        return Fact("subordinate ids", False, f"none for {name} in /etc/subuid and /etc/subgid")
    users, groups = ids.last
    return Fact("subordinate ids", True, f"{users} users and {groups} groups for {name}")


def cgroups() -> Fact:
    """The layout of control groups (cgroups(7)), and what this user may do with its own."""
    kinds = [line.split(" - ")[1].split()[0] for line in lines("/proc/self/mountinfo")]
    unified, legacy = "cgroup2" in kinds, "cgroup" in kinds
    if not unified and not legacy:
        return Fact("cgroups", False, "not mounted")
    layout = "hybrid" if unified and legacy else "v2" if unified else "v1"
    if not unified:
        return Fact("cgroups", True, layout)
    path = own_cgroup()
    if path is None:
        return Fact("cgroups", True, f"{layout}; ours is not in sight")
    controllers = first_line(os.path.join(path, "cgroup.controllers")) or "no controllers"
    ours = os.access(path, os.W_OK) and os.access(os.path.join(path, "cgroup.procs"), os.W_OK)
    return Fact(
        "cgroups", True, f"{layout}; {controllers}; {'' if ours else 'not '}delegated to us"
    )


def own_cgroup() -> str | None:
    """The folder of this process's group in the unified hierarchy, if it is in sight."""
    mount = next(
        (
            line.split()[4]
            for line in lines("/proc/self/mountinfo")
            if line.split(" - ")[1].split()[0] == "cgroup2"
        ),
        None,
    )
    group = next((line[3:] for line in lines("/proc/self/cgroup") if line.startswith("0::")), None)
    if mount is None or group is None:
        return None
    path = os.path.normpath(mount + group)
    return path if os.path.isdir(path) else None


def cores() -> Fact:
    """How many harts can run at once."""
    there, ours = os.cpu_count() or 1, len(os.sched_getaffinity(0))
    what = f"{ours} of {there}"
    limit = first_line(os.path.join(own_cgroup() or "/", "cpu.max")).split()
    if len(limit) == 2 and limit[0].isdecimal() and limit[1].isdecimal():
        what += f"; the cgroup's quota is {int(limit[0]) / max(1, int(limit[1])):g}"
    return Fact("cores", True, what)


def memory() -> Fact:
    """How much a guest may have."""
    sizes = {}
    for line in lines("/proc/meminfo"):
        name, _, rest = line.partition(":")
        number = rest.split()[0] if rest.split() else ""
        sizes[name] = int(number) >> 10 if number.isdecimal() else 0
    what = f"{sizes.get('MemAvailable', 0)} MiB available of {sizes.get('MemTotal', 0)}"
    limit = first_line(os.path.join(own_cgroup() or "/", "memory.max"))
    if limit.isdecimal():
        what += f"; the cgroup's limit is {int(limit) >> 20}"
    return Fact("memory", True, what)


def generated_code() -> Fact:
    """Whether memory can be written in one place and executed in another (memfd_create(2))."""
    try:
        Arena(4096)
    except OSError as error:
        return Fact("executable memory", False, f"{reason(error)}; is it forbidden by a policy?")
    return Fact("executable memory", True, "a memfd can be mapped to be written and to be executed")


def runtime_folder() -> Fact:
    """The folder for what lasts as long as the session."""
    path = os.environ.get("XDG_RUNTIME_DIR")
    if not path:
        return Fact("XDG_RUNTIME_DIR", False, "not set")
    usable = os.path.isdir(path) and os.access(path, os.W_OK)
    return Fact("XDG_RUNTIME_DIR", usable, path if usable else f"{path}: not a folder of ours")


def cache_folder(path: str) -> Fact:
    """Whether what can be made again can be kept in `path`, and how much of it."""
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    try:
        space = os.statvfs(there)
        writable = os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
    except OSError as error:
        return Fact("cache", False, f"{path}: {reason(error)}; set AUBERGE_CACHE_DIR")
    if not writable:
        return Fact("cache", False, f"{path}: cannot be written; set AUBERGE_CACHE_DIR")
    return Fact("cache", True, f"{path}; {space.f_bavail * space.f_frsize >> 20} MiB free")


def ping_sockets() -> Fact:
    """Whether this user may ping (icmp(7)), and its guests therefore."""
    first, last = ((first_line("/proc/sys/net/ipv4/ping_group_range") or "1 0").split() + ["0"])[:2]
    allowed = any(int(first) <= group <= int(last) for group in {os.getegid(), *os.getgroups()})
    return Fact("ping", allowed, f"net.ipv4.ping_group_range is {first} {last}")


def program(name: str, *asked: str) -> Fact:
    """Whether a program is installed, and the first line that it says when it is asked."""
    path = subordinate.where(name)
    if path is None:
        return Fact(name, False, "not installed")
    try:
        done = subprocess.run(
            [path, *asked],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except OSError as error:
        return Fact(name, False, f"{path}: {reason(error)}")
    except subprocess.TimeoutExpired:
        return Fact(name, False, f"{path}: does not answer")
    said = done.stdout.decode(errors="replace").strip().splitlines()
    return Fact(name, done.returncode == 0, f"{path}: {said[0]}" if said else path)


def lines(path: str) -> list[str]:
    """The lines of a file; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def first_line(path: str) -> str:
    """The first line of a file; empty if there is none."""
    return next(iter(lines(path)), "").strip()
