"""The guest `debian`: Debian as its installer makes it, installed by itself in a guest of ours."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import BinaryIO

from auberge.image import debian_files, tiny
from auberge.image.apt import DEBIAN_KEYRING, SUITE, Apt, Archive, Package
from auberge.image.cpio import Cpio
from auberge.image.deb import write_uncompressed
from auberge.image.installer import install
from auberge.image.iso9660 import Cd
from auberge.image.kernel import METAPACKAGE, Kernel
from auberge.image.recipe import (
    COPY,
    UNPACK,
    WRITE,
    Chosen,
    Computer,
    Made,
    Progress,
    digest_of,
)
from auberge.image.sources import Source, debian_sources, host_sources, read_os_release
from auberge.image.store import DISK, INITRD, KERNEL, BootEntry
from auberge.refusal import Refusal

ESSENTIAL = "?essential"
"""The set that Debian cannot be without (apt-patterns(7))."""

WANTED = (
    METAPACKAGE,
    "systemd-sysv",
    "udev",
    "login",
    "passwd",
    "e2fsprogs",
    "apt",
    "python3",
    "ca-certificates",
    "procps",
    "less",
    "nano",
    # the network as Debian's installer sets it up
    "ifupdown",
    "dhcpcd-base",
    "iproute2",
    "iputils-ping",
)
"""What makes a system that people can log in to and live in; apt adds what these depend on."""

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

BOOT = BootEntry(memory="1G", append="root=/dev/vda rw net.ifnames=0")
"""One network device is eth0, whatever bus it is on: /etc/network/interfaces counts on it."""

LINUX, TOOLS, FIRST = "kernel", "tools", "essential"

DIRECTORIES = ("bin", "dev", "etc", "lib", "lib/modules", "proc", "root", "sys", "tmp")


class Debian:
    """The recipe; see recipe.py."""

    architectures = ("riscv64",)

    def digest(self) -> str:
        return digest_of(
            "cpio",
            "deb",
            "debian",
            "debian_files",
            "iso9660",
            "kernel",
            "modules",
            "shared_folders",
            "tiny",
        )

    def choose(self, apt: Apt) -> Chosen:
        kernel = apt.dependency(METAPACKAGE, "linux-image-")
        essential = apt.solve([ESSENTIAL])
        wanted = apt.solve([ESSENTIAL, *WANTED])
        tools = [tiny.BASE, *apt.solve([FORMATTING])]
        names = [*essential, *(name for name in wanted if name not in set(essential))]
        missing = {tiny.BASE, FORMATTING, kernel} - set(names)
        if missing or not set(tools) <= set(names):
            raise Refusal(f"{apt.archive.uri}: apt's choice lacks packages; try another mirror")
        # busybox does the work before there is anything else, and is not installed
        packages = apt.locate([tiny.BUSYBOX, *names])
        groups = {LINUX: [kernel], TOOLS: tools, FIRST: essential}
        return Chosen(packages, groups, apt.archive)

    def make(
        self, chosen: Chosen, directory: str, computer: Computer | None, progress: Progress
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
            places = write_cd(file, packages, progress)
        with open(installer, "wb") as file:
            files = installer_files(chosen, places)
            write_initramfs(file, kernel, INSTALLER, program, debian_files.INSTALL, files)
        disk = os.path.join(directory, DISK)
        with open(disk, "wb") as file:
            file.truncate(DISK_SIZE)
        linux_image = os.path.join(directory, KERNEL)
        install(linux_image, installer, disk, cd, 2 * len(packages), computer, progress)
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


def write_cd(out: BinaryIO, packages: Sequence[Package], progress: Progress) -> dict[str, str]:
    """Write the packages to a CD, uncompressed; where the guest finds each of them."""
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
    cd.close()
    progress(COPY, total, total)
    return places


def installer_files(chosen: Chosen, places: Mapping[str, str]) -> dict[str, bytes]:
    """What the installer is told: the packages in apt's order, and Debian's configuration."""
    first = [name for name in places if name in set(chosen.groups[FIRST])]
    lists = {
        "tools": chosen.groups[TOOLS],
        "essential": first,
        "others": [name for name in places if name not in set(first)],
    }
    files = {
        f"etc/packages.{name}": "".join(f"{places[package]}\n" for package in packages)
        for name, packages in lists.items()
    }
    files["etc/modules"] = "".join(f"{name}\n" for name in INSTALLER)
    hosts = host_sources()
    # elsewhere than on Debian and what derives from it, names of suites mean something else
    after = configuration(chosen.archive, hosts if debian_sources(hosts, read_os_release()) else [])
    after["var/lib/apt/extended_states"] = "".join(
        f"Package: {name}\nArchitecture: riscv64\nAuto-Installed: 1\n\n"
        for name in places
        if name not in {*WANTED, *first}
    )
    files |= {f"etc/after/{path}": text for path, text in after.items()}
    data = {path: text.encode() for path, text in files.items()}
    if chosen.archive.keyring:
        data[f"etc/after{mirror_keys(chosen.archive)}"] = read(chosen.archive.keyring)
    return data


def configuration(archive: Archive, hosts: Sequence[Source]) -> dict[str, str]:
    """The files that Debian's installer would write."""
    return {
        "etc/hostname": "debian\n",
        "etc/hosts": debian_files.HOSTS,
        "etc/fstab": debian_files.FSTAB,
        "etc/network/interfaces": debian_files.INTERFACES,
        "etc/default/locale": "LANG=C.UTF-8\n",
        "etc/apt/sources.list.d/debian.sources": guest_sources(archive, hosts),
    }


def guest_sources(archive: Archive, hosts: Sequence[Source]) -> str:
    """Where the guest's apt gets packages from: as the host's, which the image is made of.

    The archive of security updates is another; it is taken from the host's entries if they have it.
    """
    uris = {archive.uri: [SUITE]}
    for source in () if archive.keyring else hosts:
        for suite in source.suites:
            part = suite.partition("-")[2]
            is_security = part == "security" and source.uri.rstrip("/").endswith("debian-security")
            suites = uris.setdefault(source.uri, []) if is_security else uris.get(source.uri, [])
            if part in ("security", "updates") and f"{SUITE}-{part}" not in suites:
                suites.append(f"{SUITE}-{part}")
    signed_by = mirror_keys(archive) if archive.keyring else DEBIAN_KEYRING
    entries = [
        f"Types: deb\nURIs: {without_credentials(uri)}\nSuites: {' '.join(suites)}\n"
        f"Components: main\nSigned-By: {signed_by}\n"
        for uri, suites in uris.items()
        if uri.startswith(("http:", "https:"))
    ]
    return "\n".join(entries) or "# The image was made without a mirror that a guest can reach.\n"


def without_credentials(uri: str) -> str:
    """The URI without a user and password in it: an image may be given to others."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def mirror_keys(archive: Archive) -> str:
    """Where in the guest the keys are that the user named; apt goes by the extension."""
    armored = read(archive.keyring).startswith(b"-----")
    return f"/etc/apt/keyrings/mirror.{'asc' if armored else 'gpg'}"


def read(path: str) -> bytes:
    """The contents of a file."""
    with open(path, "rb") as file:
        return file.read()
