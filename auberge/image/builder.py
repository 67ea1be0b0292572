"""Building an image: fetch, unpack, write, and only then show it to anybody."""

import hashlib
import json
import os
from collections.abc import Callable
from typing import NamedTuple

from auberge.image import store
from auberge.image.apt import SUITE, Apt, Archive, archives
from auberge.image.cell import Cell
from auberge.image.debian import Debian
from auberge.image.recipe import WRITE, Chosen, Computer, Progress, Recipe
from auberge.image.sparse import sha256
from auberge.image.store import FileEntry, Image, Manifest, PackageEntry
from auberge.image.tiny import Tiny
from auberge.refusal import Refusal, reason

WAIT = "waiting for another build"
INDEX = "fetching the package index"
FETCH = "fetching packages"

RECIPES: dict[str, Recipe] = {"tiny": Tiny(), "debian": Debian(), "cell": Cell()}


def stages(name: str) -> list[str]:
    """What building an image of this name consists of, in order, as `progress` hears it."""
    recipe = RECIPES.get(name)
    return [INDEX, FETCH, *recipe.stages] if recipe is not None else []


class Sources(NamedTuple):
    """What a build starts from: apt on an archive that has all that is needed."""

    apt: Apt
    chosen: Chosen
    entries: list[PackageEntry]


def build(
    name: str,
    arch: str,
    mirror: str | None,
    keyring: str | None,
    progress: Progress,
    update: bool,
    computer: Computer | None,
) -> Image:
    """The image, complete: the cached one if this version of Auberge built it, else a new one.

    With `update`, a cached one is kept only if its packages are the newest. An interrupted build
    leaves what was there before, and what was downloaded.
    """
    recipe = RECIPES.get(name)
    if recipe is None or arch not in recipe.architectures:
        known = [f"{each}:{on}" for each in RECIPES for on in RECIPES[each].architectures]
        raise Refusal(f"{name}:{arch}: no recipe for such an image; there is {', '.join(known)}")
    image = store.place(name, arch)
    try:
        with store.locked(image, lambda over: progress(WAIT, int(over), 1)) as lock:
            if not update and _is_current(image, recipe):
                return image
            sources = locate(name, arch, recipe.choose, mirror, keyring, progress, lock)
            if not (
                _is_current(image, recipe)
                and store.read_manifest(image)["packages"] == sources.entries
            ):
                fetch(sources, progress)
                _make(image, recipe, sources, computer, progress)
            sources.apt.forget()
            return image
    except OSError as error:
        where = error.filename or store.cache_directory()
        what = reason(error)
        raise Refusal(f"{where}: {what}; AUBERGE_CACHE_DIR may name another place") from error


def locate(
    name: str,
    arch: str,
    choose: Callable[[Apt], Chosen],
    mirror: str | None,
    keyring: str | None,
    progress: Progress,
    lock: int,
) -> Sources:
    """The first archive that has what the image is made of."""
    failures: list[Refusal] = []
    for archive in archives(mirror, keyring):
        try:
            return _locate_in(archive, name, arch, choose, progress, lock)
        except Refusal as refusal:
            failures.append(refusal)
    raise failures[0]


def _locate_in(
    archive: Archive,
    name: str,
    arch: str,
    choose: Callable[[Apt], Chosen],
    progress: Progress,
    lock: int,
) -> Sources:
    key = hashlib.sha256("\0".join((*archive, SUITE, name, arch)).encode()).hexdigest()
    apt = Apt(archive, arch, os.path.join(store.cache_directory(), "apt", key[:16]), lock)
    progress(INDEX, 0, 100)
    apt.update(lambda done, total: progress(INDEX, min(done, total - 1), total))
    chosen = choose(apt)
    progress(INDEX, 100, 100)
    entries = [
        PackageEntry(name=package.name, version=package.version, sha256=package.sha256)
        for package in chosen.packages
    ]
    return Sources(apt, chosen, entries)


def fetch(sources: Sources, progress: Progress) -> None:
    """Fetch what was chosen, or the rest of it."""
    progress(FETCH, 0, 100)
    sources.apt.fetch(
        sources.chosen.packages,
        lambda done, total: progress(FETCH, min(done, total - 1), total),
    )
    progress(FETCH, 100, 100)


def _make(
    image: Image, recipe: Recipe, sources: Sources, computer: Computer | None, progress: Progress
) -> None:
    """Turn fetched packages into an image, then put it into its place in one step."""
    built = store.building_directory(image)
    digest = recipe.digest()
    try:
        made = recipe.make(sources.chosen, built, sources.apt.directory, computer, progress)
    except BaseException:
        # it may be what filled the disk; after a kill, the next build does this
        store.clean(image)
        raise
    manifest = Manifest(
        name=image.name,
        arch=image.arch,
        suite=SUITE,
        kernel_version=made.kernel_version,
        recipe=digest,
        packages=sources.entries,
        files={name: _describe(os.path.join(built, name)) for name in made.files},
    )
    if made.boot is not None:
        manifest["boot"] = made.boot
    progress(WRITE, 2, 3)
    path = os.path.join(built, store.MANIFEST)
    with open(path, "w", encoding="utf-8") as text:
        json.dump(manifest, text, indent=1)
        text.write("\n")
    _describe(path)
    store.replace(image, built)
    progress(WRITE, 3, 3)


def _is_current(image: Image, recipe: Recipe) -> bool:
    """Whether the image is there, whole, and made the way we make it now."""
    try:
        found = store.find(image.name, image.arch)
        return found is not None and store.read_manifest(found)["recipe"] == recipe.digest()
    except Refusal:
        # damaged: building again is what the refusal tells people to do
        return False


def _describe(path: str) -> FileEntry:
    """A file's entry of the manifest, once the file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        digest = sha256(file.fileno())
    return FileEntry(size=os.path.getsize(path), sha256=digest)
