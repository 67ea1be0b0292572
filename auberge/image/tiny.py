"""The guest `tiny`: Debian's kernel and static busybox, and an initramfs written here."""

import os
import re
from collections.abc import Mapping
from typing import BinaryIO

from auberge.image import deb, tiny_files
from auberge.image.apt import Apt
from auberge.image.cpio import Cpio
from auberge.image.kernel import METAPACKAGE, Kernel
from auberge.image.recipe import UNPACK, WRITE, Chosen, Computer, Made, Progress, digest_of
from auberge.image.store import INITRD, KERNEL
from auberge.refusal import Refusal

BUSYBOX = "busybox-static"
BASE = "base-files"

MODULES = ("virtio_mmio", "virtio_blk", "virtio_rng", "virtio_net", "9p", "9pnet_virtio")
"""The board's drivers that Debian's kernel has as modules; its virtio console is built in."""

APPLETS = re.compile(rb"(?<![\w.\[\]+-])\[\0\[\[\0(?:[\w.+-]+\0)+")
"""Busybox's table of applet names (applet_names in include/applet_tables.h), sorted, from `[`."""

DIRECTORIES = (
    "bin",
    "dev",
    "etc",
    "lib",
    "lib/modules",
    "mnt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
)


class Tiny:
    """The recipe; see recipe.py."""

    architectures = ("riscv64",)
    stages = (UNPACK, WRITE)

    def digest(self) -> str:
        return digest_of("cpio", "kernel", "modules", "shared_folders", "tiny", "tiny_files")

    def choose(self, apt: Apt) -> Chosen:
        kernel = apt.dependency(METAPACKAGE, "linux-image-")
        return Chosen(apt.locate([kernel, BUSYBOX, BASE]), {}, apt.archive)

    def make(
        self,
        chosen: Chosen,
        directory: str,
        kept: str,
        computer: Computer | None,
        progress: Progress,
    ) -> Made:
        linux, program, base = (package.path for package in chosen.packages)
        progress(UNPACK, 0, 1)
        kernel = Kernel(linux, MODULES, lambda done, total: progress(UNPACK, done, total))
        progress(UNPACK, 1, 1)
        progress(WRITE, 0, 3)
        with open(os.path.join(directory, INITRD), "wb") as file:
            write_initramfs(file, kernel, busybox(program), os_release(base))
        progress(WRITE, 1, 3)
        with open(os.path.join(directory, KERNEL), "wb") as file:
            file.write(kernel.image)
        return Made(kernel.release, (KERNEL, INITRD), None)


def busybox(package: str) -> bytes:
    """The static busybox of its package."""
    path = "usr/bin/busybox"
    files = deb.read_members(package, lambda member: member == path, lambda done: None)
    if path not in files:
        raise Refusal(f"{package}: no {path}; use another archive")
    return files[path]


def os_release(package: str) -> bytes:
    """Debian's own words on which release this is, from base-files."""
    path = "usr/lib/os-release"
    files = deb.read_members(package, lambda member: member == path, lambda done: None)
    if path not in files:
        raise Refusal(f"{package}: no {path}; use another archive")
    return files[path]


def applets(program: bytes) -> list[str]:
    """The names a busybox answers to."""
    table = APPLETS.search(program)
    names = table.group().decode().split("\0")[:-1] if table else []
    if names != sorted(names) or not {"sh", "mount", "poweroff", "modprobe"} <= set(names):
        raise Refusal("busybox: no table of applets in the program; use another archive")
    return names


def write_initramfs(out: BinaryIO, linux: Kernel, program: bytes, release: bytes) -> None:
    """Write the root file system, uncompressed: unpacking costs the guest more than reading."""
    cpio = Cpio(out)
    for directory in DIRECTORIES:
        cpio.directory(directory, 0o1777 if directory == "tmp" else 0o755)
    # the kernel opens it for /init before devtmpfs is mounted
    cpio.character_device("dev/console", 0o600, 5, 1)
    cpio.file("init", tiny_files.INIT.encode(), 0o755)
    cpio.file("etc/udhcpc.sh", tiny_files.UDHCPC.encode(), 0o755)
    cpio.file("bin/busybox", program, 0o755)
    for name in applets(program):
        if name != "busybox":
            cpio.symlink(f"bin/{name}", "busybox")
    cpio.symlink("sbin", "bin")
    cpio.directory("usr")
    cpio.symlink("usr/bin", "../bin")
    cpio.symlink("usr/sbin", "../bin")
    cpio.file("etc/os-release", release)
    for path, text in _configuration().items():
        cpio.file(path, text.encode())
    linux.write_modules(cpio, MODULES)
    cpio.close()


def _configuration() -> Mapping[str, str]:
    return {
        "etc/hostname": "tiny\n",
        "etc/hosts": tiny_files.HOSTS,
        "etc/passwd": tiny_files.PASSWD,
        "etc/group": tiny_files.GROUP,
        "etc/profile": tiny_files.PROFILE,
    }
