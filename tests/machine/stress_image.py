"""Debian's stress-ng for the guest `tiny`: one more archive behind its initramfs; cached.

The kernel unpacks initramfs archives one after the other (buffer-format.rst of Linux), so nothing
of `tiny` is made anew.
"""

import hashlib
import io
import os
import subprocess
import tarfile
import tempfile

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from auberge.image import store
from auberge.image.apt import Apt, archives
from auberge.image.cpio import Cpio

PROGRAM = "stress-ng"
LOADER = "ld-linux-riscv64-lp64d.so.1"
DRIVERS = ("libllvm", "libz3", "mesa-")
"""Packages of graphics drivers: large, and loaded only by those who draw."""


def initrd_with_stress_ng(tiny: store.Image) -> str:
    """The path of an initramfs: `tiny` and /bin/stress-ng. Raises Refusal where apt cannot."""
    with open(tiny.initrd, "rb") as file:
        base = file.read()
    folder = os.path.join(store.cache_directory(), "tests")
    path = os.path.join(folder, f"stress-{hashlib.sha256(base).hexdigest()[:16]}")
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as out:
            out.write(base + bytes(-len(base) % 4) + _archive(_needed(_libraries())))
        os.rename(out.name, path)
    return path


def _libraries() -> dict[str, bytes]:
    """The program and all that its packages have of shared libraries, by the name of the file."""
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        lock = os.open(folder, os.O_RDONLY)
        try:
            apt = Apt(archives(None, None)[0], "riscv64", folder, lock)
            apt.update(lambda done, total: None)
            names = [name for name in apt.solve([PROGRAM]) if not name.startswith(DRIVERS)]
            packages = apt.locate(names)
            apt.fetch(packages, lambda done, total: None)
        finally:
            os.close(lock)
        for package in packages:
            files |= _files(package.path)
    return files


def _files(package: str) -> dict[str, bytes]:
    argv = ["dpkg-deb", "--fsys-tarfile", package]
    unpacked = subprocess.run(argv, capture_output=True, check=True).stdout
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        for member in archive:
            name = os.path.basename(member.name)
            if name != PROGRAM and ".so" not in name:
                continue
            if member.issym():
                links[name] = os.path.basename(member.linkname)
            elif member.isreg():
                data = archive.extractfile(member)
                assert data is not None
                files.setdefault(name, data.read())
    return files | {name: files[to] for name, to in links.items() if to in files}


def _needed(files: dict[str, bytes]) -> dict[str, bytes]:
    """Those of the files that the program is linked with, and their own libraries."""
    wanted, found = [PROGRAM, LOADER], dict[str, bytes]()
    while wanted:
        name = wanted.pop()
        if name in found or name not in files:
            continue
        found[name] = files[name]
        dynamic = ELFFile(io.BytesIO(files[name])).get_section_by_name(".dynamic")
        if isinstance(dynamic, DynamicSection):
            wanted += [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")]
    return found


def _archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    cpio = Cpio(out)
    for folder in ("bin", "lib"):
        cpio.directory(folder)
    for name, data in sorted(files.items()):
        cpio.file(f"bin/{name}" if name == PROGRAM else f"lib/{name}", data, 0o755)
    cpio.close()
    return out.getvalue()
