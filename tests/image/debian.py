"""A Debian archive of our own making: small packages, an index, a signature; no network."""

import hashlib
import io
import lzma
import os
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from auberge.image.debian import DEPENDED

RELEASE = "6.12.1-riscv64"
OTHER_MODULES = ["crc32c_generic", "ext4", "9p", "9pnet_virtio", "vmw_vsock_virtio_transport"]
OTHER_MODULES += ["isofs", *DEPENDED]
APPLETS = ["[", "[[", "ash", "modprobe", "mount", "poweroff", "sh"]
BUSYBOX = b"\x7fELF" + b"\x11\x22" + "".join(name + "\0" for name in APPLETS).encode() + b"\xff"
OS_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n'


def raw_image(size=8192, text=b"kernel", *, flags=0, image_size=None, magic2=b"RSC\x05"):
    """A kernel image as boot-image-header.rst of Linux describes it."""
    total = size if image_size is None else image_size
    header = struct.pack(
        "<IIQQQIIQ8s4sI", 0x5A4D, 0, 0x200000, total, flags, 2, 0, 0, b"RISCV", magic2, 0
    )
    return (header + text).ljust(size, b"\0")


def module(name, depends="", aliases=()):
    """What we read of a kernel module."""
    info = [f"name={name}", f"depends={depends}", *(f"alias={alias}" for alias in aliases)]
    return b"\x7fELF\0" + b"\0".join(entry.encode() for entry in info) + b"\0"


def deb_of(members, path, control=b"Package: x\nVersion: 1\nArchitecture: all\n"):
    """Write a binary package (deb(5)) of TarInfo and data pairs, however hostile."""

    def tar_of(pairs):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for info, data in pairs:
                archive.addfile(info, io.BytesIO(data))
        return out.getvalue()

    about = tarfile.TarInfo("./control")
    about.size = len(control)
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar": tar_of([(about, control)]),
        "data.tar": tar_of(members),
    }
    with open(path, "wb") as out:
        out.write(b"!<arch>\n")
        for name, data in parts.items():
            out.write(f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
            out.write(data + b"\n" * (len(data) % 2))
    return str(path)


def regular(name, data=b""):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b""


class Key:
    """A signing key in a GnuPG home of its own."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self.gpg("--quick-gen-key", name, "ed25519", "sign", "never")
        self.binary = home / "keys.gpg"
        self.armored = home / "keys.asc"
        self.binary.write_bytes(self.gpg("--export"))
        self.armored.write_bytes(self.gpg("--armor", "--export"))

    def gpg(self, *arguments, data=b""):
        always = ["gpg", "--homedir", str(self.home), "--batch", "--passphrase", ""]
        always += ["--pinentry-mode", "loopback", "--quiet"]
        return subprocess.run(
            [*always, *arguments], input=data, capture_output=True, check=True
        ).stdout

    def sign(self, text):
        return self.gpg("--clearsign", data=text)

    def close(self):
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)


class Archive:
    """A directory that apt takes for Debian's archive."""

    def __init__(self, root: Path, key: Key) -> None:
        self._place(root, key)
        self.pool.mkdir(parents=True)
        self.index.mkdir(parents=True)
        self.add_kernel()
        self.add("busybox-static", "1:1.37-1", {"usr/bin/busybox": BUSYBOX})
        self.add("base-files", "13.8", {"usr/lib/os-release": OS_RELEASE})
        self.publish()

    def _place(self, root: Path, key: Key) -> None:
        self.root = root
        self.key = key
        self.uri = f"file:{root}"
        self.pool = root / "pool"
        self.index = root / "dists/trixie/main/binary-riscv64"

    def at(self, root: Path) -> "Archive":
        """This archive, after it was copied to `root`."""
        archive = Archive.__new__(Archive)
        archive._place(root, self.key)
        return archive

    def add_kernel(self, version="6.12.1-1", image=None):
        modules = f"usr/lib/modules/{RELEASE}/kernel/drivers"
        depended = lzma.compress(module("virtio_blk", "virtio_ring"))
        files = {
            f"boot/vmlinux-{RELEASE}": image if image is not None else raw_image(),
            f"{modules}/virtio/virtio_mmio.ko.xz": lzma.compress(
                module("virtio_mmio", aliases=["of:N*T*Cvirtio,mmio"])
            ),
            f"{modules}/virtio/virtio_ring.ko.xz": lzma.compress(module("virtio_ring")),
            f"{modules}/block/virtio_blk.ko.xz": depended,
            f"{modules}/char/hw_random/virtio-rng.ko.xz": lzma.compress(module("virtio_rng")),
            f"{modules}/net/virtio_net.ko.xz": lzma.compress(module("virtio_net")),
            f"{modules}/net/other.ko.xz": b"not looked at",
        }
        for name in OTHER_MODULES:
            files[f"{modules}/{name}.ko.xz"] = lzma.compress(module(name))
        real = f"linux-image-{RELEASE}"
        self.add(real, version, files)
        self.add("linux-image-riscv64", version, {}, f"Depends: {real} (= {version})\n")

    def add(self, name, version, files, more=""):
        """Make a package; an older one of its name is gone from the pool."""
        tree = self.root / "tree"
        for path, data in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(data)
        control = tree / "DEBIAN/control"
        control.parent.mkdir(parents=True)
        control.write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: riscv64\n"
            f"Maintainer: Test <test@example.org>\nInstalled-Size: 64\n{more}"
            "Description: made for a test\n"
        )
        for old in self.pool.glob(f"{name}_*"):
            old.unlink()
        built = self.pool / f"{name}_{version.replace(':', '')}_riscv64.deb"
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", "-Znone", str(tree), str(built)],
            capture_output=True,
            check=True,
        )
        shutil.rmtree(tree)

    def package(self, name):
        """The file of a package."""
        (found,) = self.pool.glob(f"{name}_*")
        return found

    def publish(self, origin="Debian", signed=True):
        """Write the index of what is in the pool, and sign it."""
        entries = []
        for package in sorted(self.pool.iterdir()):
            data = package.read_bytes()
            fields = subprocess.run(
                ["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=True
            ).stdout
            entries.append(
                f"{fields}Filename: pool/{package.name}\nSize: {len(data)}\n"
                f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
            )
        packages = "\n".join(entries).encode()
        (self.index / "Packages").write_bytes(packages)
        release = (
            f"Origin: {origin}\nSuite: stable\nCodename: trixie\n"
            "Date: Sat, 01 Nov 2025 00:00:00 UTC\n"
            "Architectures: riscv64\nComponents: main\nSHA256:\n"
            f" {hashlib.sha256(packages).hexdigest()} {len(packages)}"
            " main/binary-riscv64/Packages\n"
        ).encode()
        suite = self.root / "dists/trixie"
        (suite / "InRelease").unlink(missing_ok=True)
        (suite / "Release").write_bytes(release)
        if signed:
            (suite / "InRelease").write_bytes(self.key.sign(release))


def needs(*tools):
    """Skip a test on hosts without these programs, and say so."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
