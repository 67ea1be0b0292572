"""Building a container's image out of Debian's packages: choose, fetch, install, and name it."""

import hashlib
import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from shutil import copyfile

import auberge
from auberge.image import builder, store
from auberge.image.apt import SUITE, Package
from auberge.image.builder import FETCH, INDEX, WAIT, Sources
from auberge.image.guest_apt import guest_keyring
from auberge.image.oci import adding, content, debian, namespace, removal
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.commit import add_image
from auberge.image.oci.content import Record
from auberge.image.oci.layer_writer import take_layer
from auberge.image.oci.names import host_architecture
from auberge.image.oci.staging import PACKAGES, Order
from auberge.image.recipe import WRITE, Progress
from auberge.refusal import Refusal, reason

INSTALL = "installing packages"
NAME = "debian"
STEPS_OF_DPKG = 4
"""`status:` lines of a package: unpacked twice, half-configured, installed."""

STAGES = (INDEX, FETCH, INSTALL, WRITE)


def is_built(name: str, arch: str) -> bool:
    """Whether there is a recipe for such an image of a container."""
    return name == NAME and arch == host_architecture()


def build(
    name: str,
    arch: str,
    mirror: str | None,
    keyring: str | None,
    progress: Progress,
    update: bool,
) -> Record:
    """The image, complete: the one that is there if this version of Auberge built it, else anew."""
    if not is_built(name, arch):
        recipes = builder.RECIPES
        known = [f"{each}:{on}" for each in recipes for on in recipes[each].architectures]
        known.append(f"{NAME}:{host_architecture()}")
        raise Refusal(f"{name}:{arch}: no recipe for such an image; there is {', '.join(known)}")
    place = store.place(name, arch)
    try:
        with store.locked(place, lambda over: progress(WAIT, int(over), 1)) as lock:
            found = content.find(name, arch)
            recipe = debian.digest()
            if found is not None and not update and found.recipe.startswith(recipe):
                return found
            wanted = debian.debian_architecture(arch)
            sources = builder.locate(name, wanted, debian.choose, mirror, keyring, progress, lock)
            recipe = f"{recipe} {packages_digest(sources.chosen.packages)}"
            if found is None or found.recipe != recipe:
                builder.fetch(sources, progress)
                found = _install(sources, name, arch, recipe, progress)
                removal.clean()
            sources.apt.forget()
            return found
    except OSError as error:
        where = error.filename or store.cache_directory()
        what = reason(error)
        raise Refusal(f"{where}: {what}; AUBERGE_CACHE_DIR may name another place") from error


def packages_digest(packages: Sequence[Package]) -> str:
    """Changes when any of the packages does."""
    return hashlib.sha256(" ".join(package.sha256 for package in packages).encode()).hexdigest()


def _install(sources: Sources, name: str, arch: str, recipe: str, progress: Progress) -> Record:
    """Install what was fetched, and name what it makes."""
    chosen = sources.chosen
    first = set(chosen.groups[debian.FIRST])
    steps = [
        [os.path.basename(each.path) for each in chosen.packages if each.name in first],
        [os.path.basename(each.path) for each in chosen.packages if each.name not in first],
    ]
    files = {path: text.encode() for path, text in chosen.files.items() if text}
    if chosen.archive.keyring:
        with open(chosen.archive.keyring, "rb") as file:
            files[guest_keyring(chosen.archive).lstrip("/")] = file.read()
    with adding.adding() as added:
        stage, layer = added.temporary(), added.temporary()
        try:
            _lay_out(stage, chosen.packages)
            diff_id = _run(stage, steps, files, layer, progress)
        finally:
            remove_tree(stage)
        progress(WRITE, 0, 1)
        config = debian.configuration(arch, SUITE)
        made = take_layer(added, layer)
        record = add_image(added, None, made, diff_id, name, config, "Debian's packages", recipe)
        progress(WRITE, 1, 1)
    return record


def _lay_out(stage: str, packages: Sequence[Package]) -> None:
    """A directory that is to be a root, with the packages in it."""
    place = os.path.join(stage, PACKAGES)
    os.makedirs(place)
    for package in packages:
        target = os.path.join(place, os.path.basename(package.path))
        try:
            os.link(package.path, target)
        except OSError:
            copyfile(package.path, target)
    if os.geteuid() == 0:
        # who installs has other ids then
        for path in (stage, place):
            os.chown(path, namespace.BASE, namespace.BASE)


def _run(
    stage: str,
    steps: list[list[str]],
    files: dict[str, bytes],
    layer: str,
    progress: Progress,
) -> str:
    """Have a process of its own install the packages and write the layer; its diff_id."""
    total = STEPS_OF_DPKG * sum(map(len, steps))
    progress(INSTALL, 0, total)
    encoded = {path: b64encode(data).decode() for path, data in files.items()}
    with open(layer, "xb") as out:
        order = Order(steps, encoded, out.fileno())
        # isolated from what the working directory holds: it is a root of Debian's
        command = [sys.executable, "-P", "-m", "auberge.image.oci.staging"]
        roots = [os.path.dirname(os.path.dirname(auberge.__file__)), os.environ.get("PYTHONPATH")]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=stage,
            pass_fds=(out.fileno(),),
            env={**os.environ, "PYTHONPATH": ":".join(filter(None, roots))},
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            done, said = 0, "ended without a word"
            for line in process.stdout:
                word, _, rest = line.rstrip().partition(" ")
                if word == "entered":
                    if os.geteuid() == 0:
                        namespace.map_range(process.pid)
                    process.stdin.write(json.dumps(order._asdict()) + "\n")
                    process.stdin.flush()
                elif word == "status:":
                    done = min(done + 1, total - 1)
                    progress(INSTALL, done, total)
                elif word in ("done", "failed"):
                    said = rest
                    if word == "done":
                        progress(INSTALL, total, total)
                        return rest
    raise Refusal(f"{NAME}: {said}")
