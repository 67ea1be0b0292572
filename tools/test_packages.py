"""Install the programs that tests compare with, as root; otherwise say what will be skipped.

`python3 tools/test_packages.py`. Never fails: a test whose peer is missing skips itself.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from typing import NamedTuple


class Peer(NamedTuple):
    """What some tests need, where Debian keeps it, and what goes untested without it."""

    program: str  # or the path of what nobody executes here, or the name of a library
    packages: tuple[str, ...]  # the first that this release of Debian knows
    without: str


PEERS = [
    Peer("qemu-riscv64", ("qemu-user",), "instructions against QEMU"),
    Peer("qemu-system-riscv64", ("qemu-system-riscv", "qemu-system-misc"), "boots against QEMU"),
    Peer("riscv64-linux-gnu-as", ("binutils-riscv64-linux-gnu",), "the assembler against GNU's"),
    Peer("dtc", ("device-tree-compiler",), "device trees against dtc"),
    Peer("cpio", ("cpio",), "archives against cpio"),
    Peer("gpg", ("gpg",), "forged signatures"),
    Peer("gpgv", ("gpgv",), "signatures of archives"),
    Peer("tmux", ("tmux",), "the terminal inside tmux"),
    Peer("gdb-multiarch", ("gdb-multiarch",), "the debugger's server with GDB"),
    Peer("qemu-img", ("qemu-utils",), "disk images of other programs"),
    Peer("mkfs.ext4", ("e2fsprogs",), "file systems on disks"),
    Peer("sfdisk", ("fdisk",), "partitions on disks"),
    Peer("/usr/lib/riscv64-linux-gnu/opensbi", ("opensbi",), "OpenSBI in a guest"),
    Peer("/usr/lib/u-boot", ("u-boot-qemu",), "U-Boot in a guest"),
    Peer("passt", ("passt",), "the network through passt"),
    Peer("runc", ("runc",), "containers against runc"),
    Peer("crun", ("crun",), "benchmarks of containers against crun"),
    Peer("bwrap", ("bubblewrap",), "benchmarks of containers against bubblewrap"),
    Peer("newuidmap", ("uidmap",), "containers of users with ids of their own"),
    Peer("slirp4netns", ("slirp4netns",), "the network of containers without passt"),
    Peer("skopeo", ("skopeo",), "images against skopeo"),
    Peer("podman", ("podman",), "images and containers against podman"),
    Peer("umoci", ("umoci",), "images against umoci"),
    Peer("libseccomp.so.2", ("libseccomp2",), "seccomp filters of containers"),
    Peer("libnl-route-3.so.200", ("libnl-route-3-200",), "the bridge of containers"),
    Peer("nft", ("nftables",), "the bridge of containers"),
    Peer("dbus-daemon", ("dbus-daemon", "dbus"), "containers whose cgroup systemd makes"),
    Peer("/usr/lib/systemd/system", ("systemd",), "the same with a systemd in namespaces"),
]


def missing() -> list[Peer]:
    """The peers this host lacks; sbin counts, whoever asks."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return [
        peer
        for peer in PEERS
        if not (
            shutil.which(peer.program, path=path)
            or os.path.isdir(peer.program)
            or is_library(peer.program)
        )
    ]


def is_library(name: str) -> bool:
    """Whether the loader finds a library of that name."""
    if ".so." not in name:
        return False
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def known(package: str) -> bool:
    """Whether apt could install it."""
    answer = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
    return answer.returncode == 0


def install(peers: list[Peer]) -> None:
    """Ask apt for the peers, without a question to the terminal."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=60"]
    subprocess.run([*quiet, "update"], env=environment, check=False)
    chosen = [next(filter(known, peer.packages), peer.packages[-1]) for peer in peers]
    for package in dict.fromkeys(chosen):  # one by one: one that is gone must not stop the others
        command = [*quiet, "install", "-y", "--no-install-recommends", package]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    """Install what is missing where that is possible, then name what still is."""
    lacking = missing()
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        install(lacking)
        lacking = missing()
    for peer in lacking:
        print(f"{peer.program} is missing: skipping {peer.without}")
    if lacking:
        print("apt install " + " ".join(dict.fromkeys(peer.packages[-1] for peer in lacking)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
