"""Layers as blobs: changes as an archive, compressed, with the digests of both."""

import gzip
import hashlib
import os
from collections.abc import Iterable
from typing import BinaryIO

from auberge.image.oci.adding import Store
from auberge.image.oci.changes import Change
from auberge.image.oci.digest import Descriptor
from auberge.image.oci.document import NOTHING
from auberge.image.oci.manifest import LAYER
from auberge.image.oci.tar_writer import Sink, TarWriter

COMPRESSION = 6
"""gzip's own choice."""


def write_layer(store: Store, changes: Iterable[Change]) -> tuple[Descriptor, str]:
    """Write a layer's blob; what describes it, and its diff_id."""
    temporary = store.temporary()
    with open(temporary, "xb") as file:
        diff_id = write_changes(file, changes)
    return take_layer(store, temporary), diff_id


def write_changes(out: BinaryIO, changes: Iterable[Change]) -> str:
    """Write changes as an archive, compressed; its diff_id."""
    # no name and no time in it: the same changes are the same blob
    packed = gzip.GzipFile("", "wb", COMPRESSION, out, 0)
    hashing = Hashing(packed)
    archive = TarWriter(hashing)
    for change in changes:
        archive.add(change.entry, change.data())
    archive.close()
    packed.close()
    return hashing.digest()


def take_layer(store: Store, path: str) -> Descriptor:
    """Make a blob of a temporary file that is a layer, compressed by gzip."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    store.add_file(path, digest)
    return Descriptor(f"{LAYER}+gzip", digest, size, {}, NOTHING)


class Hashing:
    """A stream whose bytes are counted into a digest on their way."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._digest = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        """Hand bytes on."""
        self._digest.update(data)
        return self._out.write(data)

    def digest(self) -> str:
        """Of all that was written."""
        return f"sha256:{self._digest.hexdigest()}"
