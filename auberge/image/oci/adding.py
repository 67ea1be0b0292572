"""Adding to the store of containers' images; see content.py."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from auberge.image.oci import mapped
from auberge.image.oci.below import would_depend
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.content import SHORT, Record, at, blob, contents, empty, layer, locked
from auberge.image.oci.digest import digest_of
from auberge.image.oci.document import Json, write
from auberge.image.oci.layer import Contents
from auberge.image.subordinate import Ids


def key_of(diff_id: str, below: Sequence[str], depends: bool, ids: str = "") -> str:
    """The key of a layer: its diff_id, or, if it depends on those below, theirs too.

    Unpacked for several ids (Record.ids), those are in its key, and it is taken to depend.
    """
    own = diff_id.partition(":")[2]
    if ids:
        return digest_of(" ".join((f"ids={ids}", *below, own)).encode()).partition(":")[2]
    return digest_of(" ".join((*below, own)).encode()).partition(":")[2] if depends else own


def known_layer(diff_id: str, below: Sequence[str], ids: str = "") -> str | None:
    """The key of a layer if it is unpacked, to lie on others (keys, the lowest first)."""
    for depends in (True, False):
        key = key_of(diff_id, below, depends, ids)
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


class Store:
    """The store, while somebody adds to it; `ids` are what layers are unpacked for, beside one."""

    def __init__(self, ids: Ids | None) -> None:
        self.ids = ids
        for name in ("blobs/sha256", "blobs/sha512", "diffs", "layers", "short", "images", "users"):
            os.makedirs(at(name), exist_ok=True)
        os.makedirs(at("temporary"), exist_ok=True)

    @property
    def ids_text(self) -> str:
        """As records of images say it."""
        return self.ids.text if self.ids is not None else ""

    def temporary(self) -> str:
        """A path that nobody else uses."""
        return at("temporary", os.urandom(8).hex())

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
            "ids": record.ids,
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


@contextmanager
def adding() -> Iterator[Store]:
    """Hold the store's lock together with others who add."""
    with locked(fcntl.LOCK_SH) as lock:
        try:
            # alone: what is temporary now was left by the dead
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            empty(at("temporary"))
        except BlockingIOError:
            pass
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield Store(mapped.current())
