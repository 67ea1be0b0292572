"""The guest `cell`: what a machine boots that runs a container's image. It has no shell to enter.

Debian's kernel with the drivers of disks, networks and folders, static busybox for the setup, and
the agent.
"""

import os
from typing import BinaryIO

from auberge.image import cell_files
from auberge.image.apt import Apt
from auberge.image.cell_agent_text import agent
from auberge.image.cpio import Cpio
from auberge.image.kernel import METAPACKAGE, Kernel
from auberge.image.module_symbols import without_labels
from auberge.image.recipe import UNPACK, WRITE, Chosen, Computer, Made, Progress, digest_of
from auberge.image.store import INITRD, KERNEL
from auberge.image.tiny import BUSYBOX, applets, busybox

NAME = "cell"

MODULES = (
    "virtio_mmio", "virtio_blk", "virtio_net", "9p", "9pnet_virtio", "crc32c_generic", "ext4"
)  # fmt: skip

DIRECTORIES = ("bin", "dev", "devices", "lib", "lib/modules", "newroot", "proc", "sys", "tmp")

DEVICES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0),
)  # fmt: skip
"""What config-linux.md has in /dev, "Default Devices"."""

LINKS = (
    ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"), ("core", "/proc/kcore"),
)  # fmt: skip


class Cell:
    """The recipe; see recipe.py."""

    architectures = ("riscv64",)
    stages = (UNPACK, WRITE)

    def digest(self) -> str:
        return digest_of(
            "cell",
            "cell_agent",
            "cell_agent_text",
            "cell_files",
            "cpio",
            "kernel",
            "module_symbols",
            "modules",
        )

    def choose(self, apt: Apt) -> Chosen:
        kernel = apt.dependency(METAPACKAGE, "linux-image-")
        return Chosen(apt.locate([kernel, BUSYBOX]), {}, apt.archive)

    def make(
        self,
        chosen: Chosen,
        directory: str,
        kept: str,
        computer: Computer | None,
        progress: Progress,
    ) -> Made:
        linux, program = (package.path for package in chosen.packages)
        progress(UNPACK, 0, 1)
        kernel = Kernel(linux, MODULES, lambda done, total: progress(UNPACK, done, total))
        for module in kernel.modules.values():
            module.object = without_labels(module.name, module.object)
        progress(UNPACK, 1, 1)
        progress(WRITE, 0, 3)
        with open(os.path.join(directory, INITRD), "wb") as file:
            write_initramfs(file, kernel, busybox(program))
        progress(WRITE, 1, 3)
        with open(os.path.join(directory, KERNEL), "wb") as file:
            file.write(kernel.image)
        return Made(kernel.release, (KERNEL, INITRD), None)


def write_initramfs(out: BinaryIO, linux: Kernel, program: bytes) -> None:
    """Write the root file system that the agent lives in, uncompressed as that of `tiny`."""
    cpio = Cpio(out)
    for directory in DIRECTORIES:
        cpio.directory(directory)
    # the kernel opens it for /init before devtmpfs is mounted
    cpio.character_device("dev/console", 0o600, 5, 1)
    cpio.file("init", cell_files.INIT.encode(), 0o755)
    cpio.file("setup", cell_files.SETUP.encode())
    cpio.file("usage", cell_files.USAGE.encode())
    cpio.file("tasks", cell_files.TASKS.encode())
    cpio.file("agent", agent(), 0o755)
    cpio.file("bin/busybox", program, 0o755)
    for name in applets(program):
        if name != "busybox":
            cpio.symlink(f"bin/{name}", "busybox")
    cpio.directory("devices/pts")
    cpio.directory("devices/shm")
    for name, major, minor in DEVICES:
        cpio.character_device(f"devices/{name}", 0o666, major, minor)
    for name, target in LINKS:
        cpio.symlink(f"devices/{name}", target)
    linux.write_modules(cpio, MODULES)
    cpio.close()
