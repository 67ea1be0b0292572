"""The guest `tiny`: Debian's kernel and static busybox, and an initramfs written here."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from typing import BinaryIO

from auberge.image import deb, kernel, tiny_files
from auberge.image.cpio import Cpio
from auberge.image.modules import closure, load_modules, module_name, modules_alias, modules_dep
from auberge.refusal import Refusal

KERNEL = "linux-image-riscv64"
"""Depends on the package that holds the kernel of the day."""
BUSYBOX = "busybox-static"
BASE = "base-files"

MODULES = ("virtio_mmio", "virtio_blk", "virtio_rng", "virtio_net")
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


def recipe() -> str:
    """A digest of everything in Auberge that decides what the image contains."""
    digest = hashlib.sha256()
    for name in ("cpio", "modules", "tiny", "tiny_files"):
        with open(os.path.join(os.path.dirname(__file__), f"{name}.py"), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


class Kernel:
    """Debian's kernel package: the image, its release, and the modules we take."""

    def __init__(self, package: str, moved: Callable[[int, int], None]) -> None:
        kibibytes = deb.field(package, "Installed-Size")
        total = int(kibibytes) << 10 if kibibytes.isdecimal() else 0
        wanted = set(MODULES)

        def is_wanted(path: str) -> bool:
            if path.endswith((".ko", ".ko.xz")):
                return module_name(path) in wanted
            return path.startswith("boot/vmlinu")

        files: dict[str, bytes] = {}

        def report(done: int) -> None:
            if not files:
                moved(min(done, total), total + 1)

        loaded = -1
        # a second pass only if a module we want needs one that we did not know of
        while loaded < len(wanted):
            loaded = len(wanted)
            files = deb.read_members(package, is_wanted, report)
            objects = {path: data for path, data in files.items() if ".ko" in path}
            self.modules = load_modules(objects)
            for module in self.modules.values():
                wanted.update(module.depends)
        images = [path for path in files if path.startswith("boot/")]
        missing = sorted(wanted - self.modules.keys())
        if missing:
            raise Refusal(f"{package}: no module {missing[0]}; use another archive")
        if len(images) != 1:
            raise Refusal(f"{package}: {len(images)} kernels in /boot; use another archive")
        self.image = files[images[0]]
        self.release = images[0].partition("-")[2]
        if not re.fullmatch(r"[\w.+~-]+", self.release, re.ASCII):
            raise Refusal(f"{package}: {self.release!r} is no kernel release; use another archive")
        kernel.check_image(f"{package}: {images[0]}", self.image)
        self.order = closure(MODULES, self.modules)


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
    _write_modules(cpio, linux)
    cpio.close()


def _configuration() -> Mapping[str, str]:
    return {
        "etc/hostname": "tiny\n",
        "etc/hosts": tiny_files.HOSTS,
        "etc/passwd": tiny_files.PASSWD,
        "etc/group": tiny_files.GROUP,
        "etc/profile": tiny_files.PROFILE,
    }


def _write_modules(cpio: Cpio, linux: Kernel) -> None:
    directory = f"lib/modules/{linux.release}"
    cpio.directory(directory)
    cpio.file(f"{directory}/modules.dep", modules_dep(linux.order, linux.modules).encode())
    cpio.file(f"{directory}/modules.alias", modules_alias(linux.order, linux.modules).encode())
    for name in linux.order:
        cpio.file(f"{directory}/{name}.ko", linux.modules[name].object)
