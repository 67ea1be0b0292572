"""A place to run programs of a root file system in, without root: namespaces and nothing more.

Meant for Debian's own maintainer scripts, whose packages were verified: it keeps mistakes of theirs
from the host, not attacks. (user_namespaces(7), pivot_root(2), seccomp(2))
"""

import ctypes
import os
import platform
import struct

from auberge.refusal import Refusal

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, SIGKILL = 1, 9
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

DEVICES = ("null", "zero", "full", "random", "urandom")

RANGE = 65536
BASE = 0x40000000
"""Where root's builds have their ids on the host: far from everybody's, so that nothing that gets
out of its place owns anything."""


PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
OWNING = {
    "x86_64": (92, 93, 94, 260, 133, 259, 116),
    "aarch64": (54, 55, 33, 159),
    "riscv64": (54, 55, 33, 159),
}
"""chown, fchown, lchown, fchownat, mknod, mknodat, setgroups, as far as there are such."""


def enter() -> None:
    """New namespaces for this process, and a new pid namespace for its children.

    Whoever may maps ids afterwards, by `map_range` of another process or `map_self`.
    """
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
    _call("unshare", "user namespaces", flags)


def enter_users() -> None:
    """A new user namespace for this process, whose ids somebody else maps."""
    _call("unshare", "user namespaces", CLONE_NEWUSER)


def map_range(process: int) -> None:
    """Give a process 65,536 ids; root's privilege."""
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{process}/{name}", "w", encoding="ascii") as file:
            file.write(f"0 {BASE} {RANGE}\n")


def map_self(uid: int, gid: int) -> None:
    """Be root in the namespace, and have no other ids (the privilege of everybody)."""
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)


def die_with_parent() -> None:
    """Be killed when the parent ends, however it ends; a change of ids undoes that."""
    _call("prctl", "the parent", PR_SET_PDEATHSIG, SIGKILL)


def become_root(groups: bool = True) -> None:
    """Be root of the namespace, in no other `groups` if they can be dropped there."""
    if groups:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    die_with_parent()


def move_in() -> None:
    """Make the working directory the root, with a few devices and /proc, and nothing else there."""
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    # where does not matter, but it is one that everybody reaches: the way to the working directory
    # may be closed to ids that are mapped
    _mount(".", "/tmp", "", MS_BIND | MS_REC)
    os.chdir("/tmp")
    for name in ("proc", "dev"):
        os.makedirs(name, exist_ok=True)
    try:
        _mount("proc", "proc", "proc", 0)
    except Refusal:
        # not allowed where the host's own is not all visible, as in containers
        _mount("/proc", "proc", "", MS_BIND | MS_REC)
    # of a directory that anybody may write to, a device of the host's could not be opened to create
    _mount("tmpfs", "dev", "tmpfs", 0, b"mode=755")
    for name in DEVICES:
        with open(f"dev/{name}", "wb"):
            pass
        _mount(f"/dev/{name}", f"dev/{name}", "", MS_BIND)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"dev/{name}")
    # the old root is stacked on the new one, and then gone (pivot_root(2), 'pivot_root(".", ".")')
    _call("syscall", "pivot_root", PIVOT_ROOT[platform.machine()], b".", b".")
    _call("umount2", "the old root", b".", MNT_DETACH)
    os.chdir("/")


def move_out() -> None:
    """Leave the root file system without what `move_in` mounted in it."""
    for name in ("dev", "proc"):
        _call("umount2", name, f"/{name}".encode(), MNT_DETACH)


def pretend_owners() -> None:
    """Have changes of owners and new devices succeed without happening.

    A namespace with one id has nobody else to give a file to. What remains is all root's.
    """
    machine = platform.machine()
    numbers = OWNING[machine]
    # struct seccomp_data: nr at 0, arch at 4; classic BPF: load, jump if equal, return
    code = [struct.pack("<HBBI", 0x20, 0, 0, 4)]
    code.append(struct.pack("<HBBI", 0x15, 0, len(numbers) + 1, AUDIT_ARCH[machine]))
    code.append(struct.pack("<HBBI", 0x20, 0, 0, 0))
    for at, number in enumerate(numbers):
        code.append(struct.pack("<HBBI", 0x15, len(numbers) - at, 0, number))
    code.append(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000))
    code.append(struct.pack("<HBBI", 0x06, 0, 0, 0x00050000))
    program = ctypes.create_string_buffer(b"".join(code))
    fprog = struct.pack("@HP", len(code), ctypes.addressof(program))
    _call("prctl", "no_new_privs", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", "seccomp", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog)


def _mount(source: str, target: str, kind: str, flags: int, data: bytes | None = None) -> None:
    _call("mount", target, source.encode(), target.encode(), kind.encode(), flags, data)


def _call(name: str, what: str, *arguments: int | bytes | None) -> None:
    """Call a function of the C library that returns -1 if it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    function = {
        "mount": libc.mount,
        "umount2": libc.umount2,
        "unshare": libc.unshare,
        "prctl": libc.prctl,
        "syscall": libc.syscall,
    }[name]
    if function(*arguments) == -1:
        why = os.strerror(ctypes.get_errno()).lower()
        raise Refusal(f"{what}: {name}: {why}; this host allows no user namespaces")
