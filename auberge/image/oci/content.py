"""Where images of containers are kept, beside those of machines: blobs, unpacked layers, names.

    oci/blobs/sha256/HEX        manifests, configurations, layers as they came, for `export`
    oci/diffs/HEX               the diff_id of a layer's blob, once it was seen to have that
    oci/layers/KEY/fs           a layer, unpacked once for all images; KEY is its diff_id, mostly
    oci/layers/KEY/layer.json   its Contents
    oci/short/NAME              leads to a layer's root: mount(2) takes one page of options
    oci/images/NAME/ARCH        what the image is: its Record
    oci/users/NAME              the layers that a container needs, whatever becomes of its image
    oci/temporary/              what is not complete; a kill leaves it, and is cleaned up after

Everything appears by a rename when it is complete, and is never changed again. Whoever adds holds
the lock with others; who removes holds it alone.
"""

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.digest import digest_of, hasher, is_digest, read_digest
from auberge.image.oci.document import Json, Node, parse, write
from auberge.image.oci.unpack import Contents, would_depend
from auberge.image.store import cache_directory, is_name
from auberge.refusal import Refusal

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
            size, whiteouts, opaques, owners, overlays, implied, depends = json.load(file)
        return Contents(
            size,
            tuple(whiteouts),
            tuple(opaques),
            {name: (uid, gid) for name, (uid, gid) in owners.items()},
            overlays,
            tuple(implied),
            depends,
        )
    except OSError as error:
        raise Refusal(f"{path}: {(error.strerror or '').lower()}; {AGAIN}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise Refusal(f"{path}: damaged; {AGAIN}") from error


def key_of(diff_id: str, below: Sequence[str], depends: bool) -> str:
    """The key of a layer: its diff_id, or, if it depends on those below, theirs too."""
    own = diff_id.partition(":")[2]
    return digest_of(" ".join((*below, own)).encode()).partition(":")[2] if depends else own


def known_layer(diff_id: str, below: Sequence[str]) -> str | None:
    """The key of a layer if it is unpacked, to lie on others (keys, the lowest first)."""
    for depends in (True, False):
        key = key_of(diff_id, below, depends)
        # what says that it is there is renamed with it
        if os.path.exists(at("layers", key, "layer.json")):
            roots = [layer(each) for each in reversed(below)]
            if depends or not would_depend(contents(key), roots):
                return key
    return None


def known_diff(digest: str) -> str | None:
    """The diff_id that a layer's blob was seen to have."""
    try:
        with open(at("diffs", digest.partition(":")[2]), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return None


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
    return Record(
        name,
        arch,
        read_digest(found.get("manifest")),
        read_digest(found.get("config")),
        tuple(read_digest(digest) for digest in found.get("blobs").array()),
        tuple(_key(key) for key in found.get("layers").array()),
        found.get("recipe").text(""),
    )


def records() -> list[Record]:
    """All images, by name."""
    found = []
    for name in _listed(at("images")):
        for arch in _listed(at("images", name)):
            record = find(name, arch)
            if record is not None:
                found.append(record)
    return found


def _key(node: Node) -> str:
    """A layer's key, which is looked up as a file's name."""
    key = node.text()
    if not is_digest(f"sha256:{key}"):
        raise node.refusal("is not the key of a layer")
    return key


def _listed(path: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


class Store:
    """The store, while somebody adds to it."""

    def __init__(self) -> None:
        for name in ("blobs/sha256", "blobs/sha512", "diffs", "layers", "short", "images", "users"):
            os.makedirs(at(name), exist_ok=True)
        os.makedirs(at("temporary"), exist_ok=True)

    def temporary(self) -> str:
        """A path that nobody else uses."""
        return at("temporary", secrets.token_hex(8))

    def add_file(self, path: str, digest: str) -> None:
        """Make a blob of a complete temporary file."""
        os.replace(path, blob(digest))

    def add_document(self, data: bytes, digest: str = "") -> str:
        """Keep a document; its digest, which may be of another kind than ours."""
        digest = digest or digest_of(data)
        self.write(blob(digest), data)
        return digest

    def add_diff(self, digest: str, diff_id: str) -> None:
        """Note the diff_id that a blob was seen to have."""
        self.write(at("diffs", digest.partition(":")[2]), diff_id.encode())

    def add_layer(self, path: str, key: str, found: Contents) -> None:
        """Make a layer of a temporary directory that has its root, `fs`."""
        self.write(os.path.join(path, "layer.json"), json.dumps(found).encode())
        # before the layer: who finds the layer need not look for its short name
        self._add_short(key)
        try:
            os.rename(path, at("layers", key))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # somebody else was as fast
            remove_tree(path)

    def _add_short(self, key: str) -> None:
        for length in range(SHORT, len(key) + 1):
            link = at("short", key[:length])
            target = f"../layers/{key}/fs"
            try:
                os.symlink(target, link)
                return
            except FileExistsError:
                if os.readlink(link) == target:
                    return

    def add_record(self, record: Record) -> None:
        """Give a name to what is complete; whatever had it has it no more."""
        os.makedirs(at("images", record.name), exist_ok=True)
        data: Json = {
            "manifest": record.manifest,
            "config": record.config,
            "blobs": list(record.blobs),
            "layers": list(record.layers),
            "recipe": record.recipe,
        }
        self.write(at("images", record.name, record.arch), write(data))

    def write(self, path: str, data: bytes) -> None:
        """Write a file that others see complete or not at all."""
        temporary = self.temporary()
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


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
def adding() -> Iterator[Store]:
    """Hold the store's lock together with others who add."""
    with _lock() as lock:
        try:
            # alone: what is temporary now was left by the dead
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _empty(at("temporary"))
        except BlockingIOError:
            pass
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield Store()


def remove(record: Record) -> None:
    """Forget an image, and all that no other image and no container needs."""
    with _lock() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            os.unlink(at("images", record.name, record.arch))
        except FileNotFoundError:
            raise Refusal(f"{record.reference}: no such image; see `auberge image ls`") from None
        with suppress(OSError):
            os.rmdir(at("images", record.name))
        _clean()


def clean() -> None:
    """Remove what nothing needs any more."""
    if not os.path.isdir(directory()):
        return
    with _lock() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clean()


def _clean() -> None:
    """Remove blobs and layers that nobody names; hold the lock alone."""
    kept = records()
    digests = {digest for each in kept for digest in (each.manifest, each.config, *each.blobs)}
    keys = {key for each in kept for key in each.layers}
    for name in _listed(at("users")):
        with open(at("users", name), encoding="ascii") as file:
            keys |= set(file.read().split())
    for algorithm in ("sha256", "sha512"):
        for name in _listed(at("blobs", algorithm)):
            if f"{algorithm}:{name}" not in digests:
                os.unlink(at("blobs", algorithm, name))
                with suppress(FileNotFoundError):
                    os.unlink(at("diffs", name))
    for name in _listed(at("short")):
        if os.readlink(at("short", name)).split("/")[2] not in keys:
            os.unlink(at("short", name))
    for key in _listed(at("layers")):
        if key not in keys:
            # gone at once, even if removing what is in it is interrupted
            os.rename(at("layers", key), at("temporary", secrets.token_hex(8)))
    _empty(at("temporary"))


def _empty(path: str) -> None:
    for name in _listed(path):
        remove_tree(os.path.join(path, name))


def hold(user: str, keys: Sequence[str]) -> None:
    """Have layers stay as long as a container, by its name, needs them."""
    path = at("users", _user(user))
    with _lock() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        for key in keys:
            if not os.path.exists(at("layers", key)):
                raise Refusal(f"{layer(key)}: is not there any more; import the image again")
        os.makedirs(at("users"), exist_ok=True)
        with open(path, "wb") as file:
            file.write(" ".join(keys).encode())


def release(user: str) -> None:
    """A container needs its layers no more; it may not have held any."""
    with suppress(FileNotFoundError):
        os.unlink(at("users", _user(user)))


def _user(name: str) -> str:
    if not name or "/" in name or name.startswith(".") or len(name) > 200:
        raise Refusal(f"{name!r}: not the name of a container; use letters and digits")
    return name


@contextmanager
def _lock() -> Iterator[int]:
    # what is unpacked has modes of strangers, set-user-ID among them: nobody else comes near it
    os.makedirs(directory(), mode=0o700, exist_ok=True)
    descriptor = os.open(at("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
