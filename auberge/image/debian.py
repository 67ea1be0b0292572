"""The guest `debian`: Debian as its installer makes it, installed by itself in a guest of ours."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from shutil import copyfileobj
from typing import BinaryIO

from auberge.image import debian_files, tiny
from auberge.image.apt import Apt, Package
from auberge.image.checkpoint import Checkpoints
from auberge.image.cpio import Cpio
from auberge.image.deb import write_uncompressed
from auberge.image.guest_apt import (
    PROXY,
    SOURCES,
    guest_keyring,
    guest_proxies,
    guest_sources,
)
from auberge.image.installer import Installation, install
from auberge.image.iso9660 import Cd
from auberge.image.kernel import METAPACKAGE, Kernel
from auberge.image.partition import one_partition
from auberge.image.recipe import (
    COPY,
    INSTALL,
    UNPACK,
    WRITE,
    Chosen,
    Computer,
    Made,
    Progress,
    digest_of,
)
from auberge.image.sources import debian_sources, host_proxies, host_sources, read_os_release
from auberge.image.store import DISK, INITRD, KERNEL, BootEntry
from auberge.refusal import Refusal

ESSENTIAL = "?essential"
"""The set that Debian cannot be without (apt-patterns(7))."""

STEPS = (
    (ESSENTIAL,),
    (METAPACKAGE, "systemd-sysv", "udev"),
    ("python3",),
    (
        "login",
        "passwd",
        "e2fsprogs",
        "apt",
        "dbus",
        "ca-certificates",
        "procps",
        "less",
        "nano",
        # the network as Debian's installer sets it up
        "ifupdown",
        "dhcpcd-base",
        "iproute2",
        "iputils-ping",
    ),
)
"""What makes a system that people can log in to and live in; apt adds what these depend on.

An interrupted installation goes on after the last step that was complete. The kernel comes early
because the index of its modules is made beside the later steps.
"""

FORMATTING = "e2fsprogs"
"""Makes the disk's file system, before anything is installed."""

DRIVERS = (
    "virtio_mmio",
    "virtio_blk",
    "virtio_rng",
    "crc32c_generic",  # ext4 asks for the algorithm by name, not for the module
    "ext4",
    "virtio_net",
    "9p",
    "9pnet_virtio",
    "vmw_vsock_virtio_transport",
)
"""What a root disk, a network and shared folders need before there is a root file system."""

INSTALLER = ("virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "isofs")

DEPENDED = (
    "crc16", "jbd2", "mbcache", "libcrc32c", "failover", "net_failover", "netfs", "9pnet",
    "vsock", "vmw_vsock_virtio_transport_common", "cdrom",
)  # fmt: skip
"""What those depended on when this was written: it saves passes over the package, no more."""

DISK_SIZE = 4 << 30
"""Of a sparse file, three quarters of which are the guest's to fill."""

BOOT = BootEntry(memory="1G", append="root=/dev/vda1 rw net.ifnames=0")
"""One network device is eth0, whatever bus it is on: /etc/network/interfaces counts on it."""

LINUX, TOOLS = "kernel", "tools"

DIRECTORIES = ("bin", "dev", "etc", "lib", "lib/modules", "proc", "root", "sys", "tmp")


class Debian:
    """The recipe; see recipe.py."""

    architectures = ("riscv64",)
    stages = (UNPACK, COPY, INSTALL, WRITE)

    def digest(self) -> str:
        return digest_of(
            "checkpoint",
            "cpio",
            "deb",
            "debian",
            "debian_files",
            "guest_apt",
            "installer",
            "iso9660",
            "kernel",
            "modules",
            "partition",
            "shared_folders",
            "sparse",
            "tiny",
        )

    def choose(self, apt: Apt) -> Chosen:
        kernel = apt.dependency(METAPACKAGE, "linux-image-")
        steps = steps_of(apt)
        names = [name for step in steps for name in step]
        tools = [tiny.BASE, *apt.solve([FORMATTING])]
        missing = {tiny.BASE, FORMATTING, kernel} - set(names)
        if missing or not set(tools) <= set(names):
            raise Refusal(f"{apt.archive.uri}: apt's choice lacks packages; try another mirror")
        # busybox does the work before there is anything else, and is not installed
        packages = apt.locate([tiny.BUSYBOX, *names])
        groups = {LINUX: [kernel], TOOLS: tools}
        groups |= {str(number): step for number, step in enumerate(steps, 1)}
        hosts = host_sources()
        # elsewhere than on Debian and what derives from it, names of suites mean something else
        if not debian_sources(hosts, read_os_release()):
            hosts = []
        files = {
            SOURCES: guest_sources(apt.archive, hosts, apt.can_read),
            PROXY: guest_proxies(host_proxies()),
        }
        return Chosen(packages, groups, apt.archive, files)

    def make(
        self,
        chosen: Chosen,
        directory: str,
        kept: str,
        computer: Computer | None,
        progress: Progress,
    ) -> Made:
        if computer is None:
            raise Refusal("debian: installs itself in a guest; use `auberge image build debian`")
        busybox, *packages = chosen.packages
        (linux,) = (package for package in packages if package.name in chosen.groups[LINUX])
        progress(UNPACK, 0, 1)
        drivers = (*DRIVERS, *INSTALLER, *DEPENDED)
        kernel = Kernel(linux.path, drivers, lambda done, total: progress(UNPACK, done, total))
        progress(UNPACK, 1, 1)
        program = tiny.busybox(busybox.path)
        with open(os.path.join(directory, KERNEL), "wb") as file:
            file.write(kernel.image)
        with open(os.path.join(directory, INITRD), "wb") as file:
            write_initramfs(file, kernel, DRIVERS, program, debian_files.INIT, {})
        cd, installer = (os.path.join(directory, name) for name in ("packages", "installer"))
        with open(cd, "wb") as file:
            places = write_cd(file, packages, os.path.join(directory, INITRD), progress)
        steps = steps_in(chosen)
        with open(installer, "wb") as file:
            files = installer_files(chosen, steps, places)
            write_initramfs(file, kernel, INSTALLER, program, debian_files.INSTALL, files)
        disk = os.path.join(directory, DISK)
        linux_image = os.path.join(directory, KERNEL)
        checkpoints = Checkpoints(os.path.join(kept, "checkpoints"), inputs(packages, steps))
        if not (done := checkpoints.restore(disk)):
            with open(disk, "wb") as file:
                file.write(one_partition(DISK_SIZE))
                file.truncate(DISK_SIZE)
        guest = Installation(linux_image, installer, disk, cd, [len(step) for step in steps], done)
        install(guest, checkpoints.keep, computer, progress)
        os.unlink(cd)
        os.unlink(installer)
        progress(WRITE, 0, 3)
        return Made(kernel.release, (KERNEL, INITRD, DISK), BOOT)


def write_initramfs(
    out: BinaryIO,
    kernel: Kernel,
    drivers: Sequence[str],
    program: bytes,
    script: str,
    files: Mapping[str, bytes],
) -> None:
    """Write an initramfs that runs `script`: busybox, the drivers in their order, and `files`."""
    cpio = Cpio(out)
    for name in DIRECTORIES:
        cpio.directory(name)
    # the kernel opens it for /init before devtmpfs is mounted
    cpio.character_device("dev/console", 0o600, 5, 1)
    cpio.file("init", script.encode(), 0o755)
    cpio.file("bin/busybox", program, 0o755)
    for name in tiny.applets(program):
        if name != "busybox":
            cpio.symlink(f"bin/{name}", "busybox")
    # where the kernel looks for modprobe
    cpio.symlink("sbin", "bin")
    kernel.write_modules(cpio, drivers)
    there = set(DIRECTORIES)
    for path, data in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent not in there:
                cpio.directory(parent)
                there.add(parent)
        cpio.file(path, data)
    cpio.close()


def write_cd(
    out: BinaryIO, packages: Sequence[Package], initrd: str, progress: Progress
) -> dict[str, str]:
    """Write the packages to a CD, uncompressed, and the initramfs; where the guest has each."""
    cd = Cd(out)
    places = {}
    total = sum(package.size for package in packages)
    done = 0
    for number, package in enumerate(packages):
        progress(COPY, done, total)
        name = f"P{number:04}.DEB"
        cd.file(name, partial(write_uncompressed, package.path))
        places[package.name] = f"/mnt/{name.lower()}"
        done += package.size
    with open(initrd, "rb") as file:
        cd.file("INITRD.IMG", partial(copyfileobj, file))
    cd.close()
    progress(COPY, total, total)
    return places


def steps_of(apt: Apt) -> list[list[str]]:
    """The packages of each step, none twice, each step with all that those up to it depend on."""
    asked: list[str] = []
    chosen: list[list[str]] = []
    for step in STEPS:
        asked += step
        chosen.append(apt.solve(asked))
    everything = set(chosen[-1])
    steps: list[list[str]] = []
    there: set[str] = set()
    for names in chosen:
        # for fewer packages apt may have taken another alternative; then this is no step of its own
        if everything >= set(names):
            steps.append([name for name in names if name not in there])
            there |= set(names)
    return steps


def steps_in(chosen: Chosen) -> list[Sequence[str]]:
    """The steps as they were chosen."""
    numbers = range(1, len(STEPS) + 1)
    return [chosen.groups[str(number)] for number in numbers if str(number) in chosen.groups]


def inputs(packages: Sequence[Package], steps: Sequence[Sequence[str]]) -> str:
    """A digest of all that decides what the disk holds after each step but the last."""
    digest = hashlib.sha256(debian_files.INSTALL.encode())
    for package in packages:
        digest.update(package.sha256.encode())
    for step in steps:
        digest.update(" ".join(["", *step, "\n"]).encode())
    return digest.hexdigest()


def installer_files(
    chosen: Chosen, steps: Sequence[Sequence[str]], places: Mapping[str, str]
) -> dict[str, bytes]:
    """What the installer is told: the packages in apt's order, and Debian's configuration."""
    lists = {"tools": chosen.groups[TOOLS]}
    lists |= {str(number): step for number, step in enumerate(steps, 1)}
    files = {
        f"etc/packages.{name}": "".join(f"{places[package]}\n" for package in packages)
        for name, packages in lists.items()
    }
    files["etc/masked"] = "".join(f"{name}\n" for name in debian_files.MASKED)
    files["etc/modules"] = "".join(f"{name}\n" for name in INSTALLER)
    asked_for = {*steps[0], *(name for step in STEPS for name in step)}
    after = {**configuration(), **{path: text for path, text in chosen.files.items() if text}}
    after["var/lib/apt/extended_states"] = "".join(
        f"Package: {name}\nArchitecture: riscv64\nAuto-Installed: 1\n\n"
        for name in places
        if name not in asked_for
    )
    files |= {f"etc/after/{path}": text for path, text in after.items()}
    data = {path: text.encode() for path, text in files.items()}
    if chosen.archive.keyring:
        data[f"etc/after{guest_keyring(chosen.archive)}"] = read(chosen.archive.keyring)
    return data


def configuration() -> dict[str, str]:
    """The files that Debian's installer would write, and what reports on the system."""
    return {
        "etc/hostname": "debian\n",
        "etc/hosts": debian_files.HOSTS,
        "etc/fstab": debian_files.FSTAB,
        "etc/network/interfaces": debian_files.INTERFACES,
        "etc/modprobe.d/no-wireless.conf": debian_files.NO_WIRELESS,
        "etc/default/locale": "LANG=C.UTF-8\n",
        "boot/extlinux/extlinux.conf": debian_files.EXTLINUX.format(append=BOOT["append"]),
        "etc/systemd/system-generators/auberge-report": debian_files.REPORT_GENERATOR,
        "etc/systemd/system/auberge-report.service": debian_files.REPORT_SERVICE,
    }


def read(path: str) -> bytes:
    """The contents of a file."""
    with open(path, "rb") as file:
        return file.read()
