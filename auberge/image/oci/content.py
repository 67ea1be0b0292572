"""Where images of containers are kept, beside those of machines: blobs, unpacked layers, names.

    oci/blobs/sha256/HEX        manifests, configurations, layers as they came, for `export`
    oci/diffs/HEX               the diff_id of a layer's blob, once it was seen to have that
    oci/layers/KEY/fs           a layer, unpacked once for all images; KEY is its diff_id, mostly,
                                and where there are several ids says which, too (adding.key_of)
    oci/layers/KEY/layer.json   its Contents
    oci/short/NAME              leads to a layer's root: mount(2) takes one page of options
    oci/images/NAME/ARCH        what the image is: its Record
    oci/users/NAME              the layers that a container needs, whatever becomes of its image
    oci/ids-*, oci/overlay-*    what trials have found out about this host
    oci/temporary/              what is not complete; a kill leaves it, and is cleaned up after

Everything appears by a rename when it is complete, and is never changed again. Whoever adds holds
the lock with others; who removes holds it alone.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from auberge.image import subordinate
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.digest import hasher, is_digest, read_digest
from auberge.image.oci.document import Node, parse
from auberge.image.oci.layer import Contents, read_contents
from auberge.image.store import cache_directory, is_name
from auberge.refusal import Refusal, reason

AGAIN = "remove the image and import or build it again"

SHORT = 8
"""Letters of a short name; more where two begin alike."""


class Record(NamedTuple):
    """An image in the store."""

    name: str
    arch: str
    manifest: str
    """Digest of its manifest."""
    config: str
    """Digest of its configuration."""
    blobs: tuple[str, ...]
    """Digests of its layers' blobs, the lowest first."""
    layers: tuple[str, ...]
    """Keys of its unpacked layers, the lowest first."""
    recipe: str = ""
    """What it was built by, if it was; see recipe.py."""
    ids: str = ""
    """For which ids its layers are unpacked (subordinate.Ids.text); empty for root, who has all,
    and for one id, whom all is given to."""

    @property
    def reference(self) -> str:
        """How a user names it."""
        return f"{self.name}:{self.arch}"


def directory() -> str:
    """Where all of this is."""
    return os.path.join(cache_directory(), "oci")


def at(*parts: str) -> str:
    """A path in the store."""
    return os.path.join(directory(), *parts)


def blob(digest: str) -> str:
    """Where a blob is, or would be."""
    return at("blobs", *digest.split(":"))


def layer(key: str) -> str:
    """The root of an unpacked layer."""
    return at("layers", key, "fs")


def contents(key: str) -> Contents:
    """What is known about an unpacked layer."""
    path = at("layers", key, "layer.json")
    try:
        with open(path, "rb") as file:
            return read_contents(json.load(file))
    except OSError as error:
        raise Refusal(f"{path}: {reason(error)}; {AGAIN}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise Refusal(f"{path}: damaged; {AGAIN}") from error


def read_blob(digest: str, where: str) -> bytes:
    """A document among the blobs, which is what its digest says."""
    try:
        with open(blob(digest), "rb") as file:
            data = file.read()
    except OSError as error:
        raise Refusal(f"{where}: {blob(digest)} is missing; {AGAIN}") from error
    computed = hasher(digest)
    computed.update(data)
    if computed.hexdigest() != digest.partition(":")[2]:
        raise Refusal(f"{where}: {blob(digest)} is damaged; {AGAIN}")
    return data


def find(name: str, arch: str) -> Record | None:
    """The image of this name; nothing is changed."""
    if not is_name(name) or not is_name(arch):
        return None
    path = at("images", name, arch)
    try:
        with open(path, "rb") as file:
            found = parse(file.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    ids = found.get("ids").text("")
    subordinate.read(ids)
    return Record(
        name,
        arch,
        read_digest(found.get("manifest")),
        read_digest(found.get("config")),
        tuple(read_digest(digest) for digest in found.get("blobs").array()),
        tuple(_key(key) for key in found.get("layers").array()),
        found.get("recipe").text(""),
        ids,
    )


def records() -> list[Record]:
    """All images, by name; of one that is damaged there is only the name, so that it can go."""
    found = []
    for name in listed(at("images")):
        for arch in listed(at("images", name)):
            try:
                record = find(name, arch)
            except Refusal:
                record = Record(name, arch, "", "", (), ())
            if record is not None:
                found.append(record)
    return found


def _key(node: Node) -> str:
    """A layer's key, which is looked up as a file's name."""
    key = node.text()
    if not is_digest(f"sha256:{key}"):
        raise node.refusal("is not the key of a layer")
    return key


def listed(path: str) -> list[str]:
    """The names in a directory, if it is there, but for hidden ones."""
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def short(key: str) -> str:
    """The shortest name of an unpacked layer's root."""
    for length in range(SHORT, len(key) + 1):
        link = at("short", key[:length])
        try:
            if os.readlink(link) == f"../layers/{key}/fs":
                return link
        except OSError:
            break
    return layer(key)


@contextmanager
def locked(kind: int) -> Iterator[int]:
    """Hold the store's lock (flock(2)): LOCK_SH to add, LOCK_EX to remove."""
    # what is unpacked has modes of strangers, set-user-ID among them: nobody else comes near it
    os.makedirs(directory(), mode=0o700, exist_ok=True)
    descriptor = os.open(at("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield descriptor
    finally:
        os.close(descriptor)


def empty(path: str) -> None:
    """Remove all that is in a directory of the store, but what only root could remove now.

    That is of ids that were taken from this user; the next one tries again.
    """
    for name in listed(path):
        with suppress(PermissionError):
            remove_tree(os.path.join(path, name))
