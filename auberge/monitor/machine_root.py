"""The root file system of a machine that runs a container's image: a disk, made once an image.

A container's image becomes an ext4 file system of its layers, named by them; of an image that is a
machine's, as `debian:riscv64`, its own disk is taken. Either is only read: what a guest writes is
its own, and gone with it.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from auberge.image import store, subordinate
from auberge.image.oci import content, mapped
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.config import DEFAULT_PATH
from auberge.image.oci.content import Record
from auberge.image.oci.identity import Identity
from auberge.image.oci.importer import current
from auberge.image.oci.layer import Owner
from auberge.image.oci.merge import copy_layers
from auberge.image.oci.rootfs import distinct
from auberge.image.oci.runtime import Defaults, defaults
from auberge.monitor.options import Options
from auberge.refusal import Refusal, reason

ARCH = "riscv64"
"""What machines execute."""

ROOM = 8 << 30
"""Bytes that a guest can write beyond what its image has; the file has holes for them."""

SUFFIX = ".ext4"


class Root(NamedTuple):
    """An image, and how a program is run in it."""

    reference: str
    disk: str
    """A raw disk with one ext4 file system, in its first partition if it has one."""
    defaults: Defaults
    layers: tuple[str, ...]
    """Of a container's image; their files say who users are."""


def find(options: Options) -> Root:
    """The image that the options name; raises Refusal if there is none, or it cannot be used."""
    name, arch = store.parse_reference(options.image, ARCH)
    if arch != ARCH:
        raise Refusal(
            f"{name}:{arch}: machines execute {ARCH} alone, and this is for others; "
            f"name {name}:{ARCH}, if there is one"
        )
    record = content.find(name, arch)
    if record is not None:
        record = current(record)
        settled = defaults(
            record, options.command, options.user, options.env, options.cwd, options.entrypoint
        )
        return Root(record.reference, disk_of(record), settled, record.layers)
    image = store.find(name, arch)
    if image is not None and os.path.exists(image.disk):
        return Root(f"{name}:{arch}", image.disk, _plain(options), ())
    raise Refusal(
        f"{name}:{arch}: no such image; make it with `auberge image build debian:{arch}`,"
        " or `auberge image import FILE`"
    )


def _plain(options: Options) -> Defaults:
    """How a program is run in an image that says nothing of that: as its root, a shell."""
    variables = {text.partition("=")[0]: text for text in (DEFAULT_PATH, *options.env)}
    variables.setdefault("HOME", "HOME=/root")
    return Defaults(
        (*filter(None, options.entrypoint), *options.command) or ("/bin/sh",),
        tuple(variables.values()),
        options.cwd or "/",
        Identity(0, 0, (), "/root"),
        (),
        "SIGTERM",
        {},
    )


# -- disks of containers' images ------------------------------------------------------------------


def disk_of(record: Record) -> str:
    """The disk of an image's layers, made if it is not there."""
    keys = distinct(record.layers)
    name = hashlib.sha256("\0".join(keys).encode()).hexdigest()[:32] + SUFFIX
    folder = os.path.join(store.cache_directory(), "disks")
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return path
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as working:
            made = _make(keys, working, record.ids)
            forget_others(folder, path)
            os.rename(made, path)
    except OSError as error:
        why = reason(error)
        raise Refusal(f"{folder}: {why}; free some space, or set AUBERGE_CACHE_DIR") from None
    return path


def forget_others(folder: str, but: str) -> None:
    """Remove disks of images that are not there any more."""
    there = {but}
    for record in content.records():
        keys = distinct(record.layers)
        name = hashlib.sha256("\0".join(keys).encode()).hexdigest()[:32] + SUFFIX
        there.add(os.path.join(folder, name))
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.endswith(SUFFIX) and path not in there:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _make(keys: tuple[str, ...], working: str, ids: str) -> str:
    tree, disk = os.path.join(working, "root"), os.path.join(working, "disk")
    os.mkdir(tree, 0o755)
    known: dict[str, Owner] = {}
    for key in keys:
        known.update(content.contents(key).owners)
    if others := subordinate.read(ids):
        known = mapped.merge(others, keys, tree) | known
    else:
        copy_layers(keys, tree)
    size = ROOM
    for folder, _, names in os.walk(tree):
        size += 4096 + sum(os.lstat(os.path.join(folder, name)).st_size + 4096 for name in names)
    with open(disk, "wb") as file:
        file.truncate(-(-size // (1 << 20)) << 20)
    # no journal: what is written is nobody's after the machine's end
    features = ["-O", "^has_journal,^metadata_csum_seed", "-E", "lazy_itable_init=1,nodiscard"]
    _run(["mke2fs", "-q", "-F", "-t", "ext4", *features, "-L", "root", "-d", tree, disk])
    if os.geteuid():
        _give(disk, _owners(known, tree))
    remove_tree(tree)
    with open(disk, "rb") as file:
        os.fsync(file.fileno())
    return disk


def _owners(known: dict[str, Owner], tree: str) -> Iterator[tuple[str, int, int]]:
    """Whose each file is: they are all one user's who is not root."""
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = os.path.relpath(os.path.join(folder, name), tree)
            yield path, *known.get(path, (0, 0))
    yield "/", *known.get("", (0, 0))


def _give(disk: str, owners: Iterator[tuple[str, int, int]]) -> None:
    """Set the owners in a file system that is not mounted; see debugfs(8)."""
    commands = []
    for path, uid, gid in owners:
        if '"' in path or "\n" in path:
            continue  # debugfs cannot be told such a name: the file is its maker's
        commands.append(f'sif "{path}" uid {uid}\nsif "{path}" gid {gid}\n')
    _run(["debugfs", "-w", "-f", "-", disk], "".join(commands))


def _run(command: list[str], text: str = "") -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command,
            input=os.fsencode(text),
            capture_output=True,
            check=False,
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise Refusal(
            f"{command[0]}: not on this host, and disks of images are made with it; "
            "apt install e2fsprogs"
        ) from None
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().split("\n")[-1]
        raise Refusal(f"{command[0]}: {said}; free some space, or import the image again")
