"""Building an image: fetch, unpack, write, and only then show it to anybody."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from auberge.image import store, tiny
from auberge.image.apt import SUITE, Apt, Archive, Package, archives
from auberge.image.store import FileEntry, Image, Manifest, PackageEntry
from auberge.refusal import Refusal

Progress = Callable[[str, int, int], None]
"""Hears the name of a stage, how much of it is done, and out of how much."""

WAIT = "waiting for another build"
INDEX = "fetching the package index"
FETCH = "fetching packages"
UNPACK = "unpacking the kernel"
WRITE = "writing the image"

ARCHITECTURES = {"tiny": ("riscv64",)}


class Sources(NamedTuple):
    """What a build starts from: apt on an archive that has all that is needed."""

    apt: Apt
    packages: Sequence[Package]
    """The kernel, busybox and base-files."""
    entries: list[PackageEntry]


def build(
    name: str,
    arch: str,
    mirror: str | None,
    keyring: str | None,
    progress: Progress,
    update: bool,
) -> Image:
    """The image, complete: the cached one if this version of Auberge built it, else a new one.

    With `update`, a cached one is kept only if its packages are the newest. An interrupted build
    leaves what was there before, and what was downloaded.
    """
    if arch not in ARCHITECTURES.get(name, ()):
        known = (f"{name}:{arch}" for name, arches in ARCHITECTURES.items() for arch in arches)
        raise Refusal(f"{name}:{arch}: no recipe for such an image; there is {', '.join(known)}")
    image = store.place(name, arch)
    try:
        with store.locked(image, lambda over: progress(WAIT, int(over), 1)) as lock:
            if not update and _is_current(image):
                return image
            sources = _locate(image, mirror, keyring, progress, lock)
            if not (
                _is_current(image) and store.read_manifest(image)["packages"] == sources.entries
            ):
                progress(FETCH, 0, 100)
                sources.apt.fetch(
                    sources.packages,
                    lambda done, total: progress(FETCH, min(done, total - 1), total),
                )
                progress(FETCH, 100, 100)
                _make(image, sources, progress)
            sources.apt.forget()
            return image
    except OSError as error:
        where = error.filename or store.cache_directory()
        what = (error.strerror or str(error)).lower()
        raise Refusal(f"{where}: {what}; AUBERGE_CACHE_DIR may name another place") from error


def _locate(
    image: Image, mirror: str | None, keyring: str | None, progress: Progress, lock: int
) -> Sources:
    """The first archive that has what the image is made of."""
    failures: list[Refusal] = []
    for archive in archives(mirror, keyring):
        try:
            return _locate_in(archive, image, progress, lock)
        except Refusal as refusal:
            failures.append(refusal)
    raise failures[0]


def _locate_in(archive: Archive, image: Image, progress: Progress, lock: int) -> Sources:
    key = hashlib.sha256("\0".join((*archive, SUITE, image.name, image.arch)).encode()).hexdigest()
    apt = Apt(archive, image.arch, os.path.join(store.cache_directory(), "apt", key[:16]), lock)
    progress(INDEX, 0, 100)
    apt.update(lambda done, total: progress(INDEX, min(done, total - 1), total))
    kernels = [name for name in apt.dependencies(tiny.KERNEL) if name.startswith("linux-image-")]
    if len(kernels) != 1:
        found = f"{len(kernels)} kernels for {tiny.KERNEL}"
        raise Refusal(f"{archive.uri}: {found}; try another mirror with --mirror URL")
    packages = apt.locate([kernels[0], tiny.BUSYBOX, tiny.BASE])
    progress(INDEX, 100, 100)
    entries = [
        PackageEntry(name=package.name, version=package.version, sha256=package.sha256)
        for package in packages
    ]
    return Sources(apt, packages, entries)


def _make(image: Image, sources: Sources, progress: Progress) -> None:
    """Turn fetched packages into an image, then put it into its place in one step."""
    linux, busybox, base = (package.path for package in sources.packages)
    progress(UNPACK, 0, 1)
    kernel = tiny.Kernel(linux, lambda done, total: progress(UNPACK, done, total))
    progress(UNPACK, 1, 1)
    progress(WRITE, 0, 3)
    built = store.building_directory(image)
    with open(os.path.join(built, store.INITRD), "wb") as file:
        tiny.write_initramfs(file, kernel, tiny.busybox(busybox), tiny.os_release(base))
    progress(WRITE, 1, 3)
    with open(os.path.join(built, store.KERNEL), "wb") as file:
        file.write(kernel.image)
    manifest = Manifest(
        name=image.name,
        arch=image.arch,
        suite=SUITE,
        kernel_version=kernel.release,
        recipe=tiny.recipe(),
        packages=sources.entries,
        files={name: _describe(os.path.join(built, name)) for name in (store.KERNEL, store.INITRD)},
    )
    progress(WRITE, 2, 3)
    path = os.path.join(built, store.MANIFEST)
    with open(path, "w", encoding="utf-8") as text:
        json.dump(manifest, text, indent=1)
        text.write("\n")
    _describe(path)
    store.replace(image, built)
    progress(WRITE, 3, 3)


def _is_current(image: Image) -> bool:
    """Whether the image is there, whole, and made the way we make it now."""
    try:
        found = store.find(image.name, image.arch)
        return found is not None and store.read_manifest(found)["recipe"] == tiny.recipe()
    except Refusal:
        # damaged: building again is what the refusal tells people to do
        return False


def _describe(path: str) -> FileEntry:
    """A file's entry of the manifest, once the file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(size=os.path.getsize(path), sha256=digest)
