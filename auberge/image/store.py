"""Built images in the user's cache directory: found, listed, verified, removed."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple, NotRequired, TypedDict

from auberge.refusal import Refusal

KERNEL, INITRD, DISK, MANIFEST = "Image", "initrd", "disk", "manifest.json"
BUILDING, REMOVED = "building", "removed"


class FileEntry(TypedDict):
    """What a file of an image has to be."""

    size: int
    sha256: str


class PackageEntry(TypedDict):
    """A package that went into an image."""

    name: str
    version: str
    sha256: str


class BootEntry(TypedDict):
    """How an image wants to be booted."""

    memory: str
    append: str


class Manifest(TypedDict):
    """What an image was made of and what it consists of."""

    name: str
    arch: str
    suite: str
    kernel_version: str
    recipe: str
    packages: list[PackageEntry]
    files: dict[str, FileEntry]
    boot: NotRequired[BootEntry]


class Image(NamedTuple):
    """A complete image: paths of its files."""

    name: str
    arch: str
    kernel: str
    initrd: str
    manifest: str

    @property
    def directory(self) -> str:
        """The directory that holds the image and nothing else."""
        return os.path.dirname(self.manifest)

    @property
    def disk(self) -> str:
        """Where the root disk is, if the image has one: never to be written."""
        return os.path.join(self.directory, DISK)


def cache_directory() -> str:
    """Where Auberge keeps what it can make again (XDG Base Directory Specification)."""
    get = os.environ.get
    chosen = get("AUBERGE_CACHE_DIR", "")
    if chosen and not os.path.isabs(chosen):
        return os.path.abspath(chosen)
    return _cache_directory(chosen, get("XDG_CACHE_HOME", ""), get("HOME"), os.getuid())


@cache
def _cache_directory(chosen: str, base: str, home: str | None, user: int) -> str:
    """The same, of variables; the home directory goes by `home`, else by `user`."""
    if not chosen:
        # "If an implementation encounters a relative path [...] it should ignore it."
        if not os.path.isabs(base):
            base = os.path.join(os.path.expanduser("~"), ".cache")
        chosen = os.path.join(base, "auberge")
    return os.path.abspath(chosen)


def images_directory() -> str:
    """Where images are, one directory for each."""
    return os.path.join(cache_directory(), "images")


def parse_reference(text: str, arch: str) -> tuple[str, str]:
    """Name and architecture of `name[:arch]`; `arch` is what is meant when it says none."""
    name, colon, given = text.partition(":")
    if not is_name(name) or (colon and not is_name(given)):
        raise Refusal(f"{text!r}: not the name of an image; write NAME or NAME:ARCH")
    return name, given if colon else arch


def is_name(word: str) -> bool:
    """Whether a word can be a part of a file's name and nothing else."""
    return word.isascii() and word.replace("-", "").replace("_", "").isalnum()


def place(name: str, arch: str) -> Image:
    """Where an image is kept, whether it is there or not."""
    parse_reference(f"{name}:{arch}", arch)
    directory = os.path.join(images_directory(), f"{name}-{arch}")
    kernel, initrd, manifest = (
        os.path.join(directory, file) for file in (KERNEL, INITRD, MANIFEST)
    )
    return Image(name, arch, kernel, initrd, manifest)


def find(name: str, arch: str) -> Image | None:
    """The cached image, its files as long as they should be; no network, nothing changed."""
    image = place(name, arch)
    if not os.path.lexists(image.directory):
        return None
    for file, entry in read_manifest(image)["files"].items():
        path = os.path.join(image.directory, file)
        size = os.path.getsize(path) if os.path.isfile(path) else -1
        if size != entry["size"]:
            found = "is missing" if size < 0 else f"has {size} bytes, not {entry['size']}"
            raise Refusal(f"{path}: {found}; {_again(image)}")
    return image


class Boot(NamedTuple):
    """How an image wants to be booted."""

    memory: str | None = None
    append: str = ""
    disks: tuple[str, ...] = ()
    """As `--disk` takes them: its root disk, whose changes are forgotten; it is never written."""


def boot_options(image: Image) -> Boot:
    """How to boot an image that was found."""
    manifest = read_manifest(image)
    asked = manifest.get("boot")
    disks = (f"{image.disk},temporary",) if DISK in manifest["files"] else ()
    return Boot(disks=disks) if asked is None else Boot(asked["memory"], asked["append"], disks)


def verify(image: Image) -> None:
    """Refuse an image any of whose files is not the one that was built."""
    from auberge.image.sparse import sha256

    for file, entry in read_manifest(image)["files"].items():
        path = os.path.join(image.directory, file)
        try:
            with open(path, "rb") as stream:
                digest = sha256(stream.fileno())
        except OSError as error:
            raise Refusal(f"{path}: {error.strerror}; {_again(image)}") from error
        if digest != entry["sha256"]:
            raise Refusal(f"{path}: its SHA-256 is not the manifest's; {_again(image)}")


def read_manifest(image: Image) -> Manifest:
    """The manifest, checked to be one."""
    try:
        with open(image.manifest, encoding="utf-8") as file:
            manifest: Manifest = json.load(file)
        files = manifest["files"]
        boot = manifest.get("boot", BootEntry(memory="", append=""))
        sound = (
            {KERNEL, INITRD} <= files.keys() <= {KERNEL, INITRD, DISK}
            and all(
                isinstance(entry["size"], int) and isinstance(entry["sha256"], str)
                for entry in files.values()
            )
            and isinstance(boot["memory"], str)
            and isinstance(boot["append"], str)
        )
    except OSError as error:
        raise Refusal(f"{image.manifest}: {error.strerror}; {_again(image)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise Refusal(f"{image.manifest}: not the manifest of an image; {_again(image)}")
    return manifest


def images() -> list[Image]:
    """All images that are there, by name."""
    try:
        names = sorted(os.listdir(images_directory()))
    except FileNotFoundError:
        return []
    found = []
    for directory in names:
        name, dash, arch = directory.rpartition("-")
        if dash and is_name(name) and is_name(arch):
            found.append(place(name, arch))
    return found


def remove(image: Image) -> None:
    """Forget an image: gone at once, even if removing its files is interrupted."""
    with locked(image):
        if not os.path.lexists(image.directory):
            raise Refusal(f"{image.name}:{image.arch}: no such image; see `auberge image ls`")
        clean(image)
        os.rename(image.directory, _beside(image, REMOVED))
        clean(image)


def replace(image: Image, built: str) -> None:
    """Put a directory that is complete in an image's place; hold the lock."""
    if os.path.lexists(image.directory):
        os.rename(image.directory, _beside(image, REMOVED))
    os.rename(built, image.directory)
    clean(image)


def building_directory(image: Image) -> str:
    """A new directory to build in, where the lock's holder may rename it from."""
    clean(image)
    path = _beside(image, BUILDING)
    os.mkdir(path)
    return path


def clean(image: Image) -> None:
    """Remove what interrupted builds and removals left; hold the lock."""
    for purpose in (BUILDING, REMOVED):
        path = _beside(image, purpose)
        if os.path.lexists(path):
            # not needed to find an image, and slow to import
            from shutil import rmtree

            rmtree(path)


def _beside(image: Image, purpose: str) -> str:
    return os.path.join(images_directory(), f".{image.name}-{image.arch}.{purpose}")


def _again(image: Image) -> str:
    return f"run `auberge image build {image.name}:{image.arch}`"


@contextmanager
def locked(image: Image, waiting: Callable[[bool], None] = lambda over: None) -> Iterator[int]:
    """Hold the image's lock; if somebody else holds it, `waiting` hears so, and when that is over.

    A child that inherits the descriptor holds the lock as long as it lives (flock(2)).
    """
    os.makedirs(images_directory(), exist_ok=True)
    descriptor = os.open(_beside(image, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting(False)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            waiting(True)
        yield descriptor
    finally:
        os.close(descriptor)
