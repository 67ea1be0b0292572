"""Digests and descriptors: what names content, and proves it (image-spec 1.1, descriptor.md)."""

import hashlib
from typing import BinaryIO, NamedTuple, Protocol

from auberge.image.oci.document import Node
from auberge.image.oci.limits import OTHER
from auberge.refusal import Refusal

HEX = frozenset("0123456789abcdef")
LENGTHS = {"sha256": 64, "sha512": 128}
PIECE = 1 << 20


class Stream(Protocol):
    """What content is read from."""

    def read(self, size: int, /) -> bytes:
        """As many bytes as asked for, fewer only at the end."""
        ...


class Descriptor(NamedTuple):
    """What a document says about another."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str]
    platform: Node


def is_digest(text: str) -> bool:
    """Whether this is a registered algorithm and the digest it makes."""
    algorithm, colon, encoded = text.partition(":")
    return bool(colon) and LENGTHS.get(algorithm) == len(encoded) and HEX.issuperset(encoded)


def read_digest(node: Node) -> str:
    """A digest in a document."""
    text = node.text()
    if not is_digest(text):
        raise node.refusal("is not a sha256 or sha512 digest")
    return text


def read_descriptor(node: Node) -> Descriptor:
    """A descriptor in a document."""
    return Descriptor(
        node.get("mediaType").text(""),
        read_digest(node.get("digest")),
        node.get("size").number((1 << 63) - 1),
        node.get("annotations").text_table(),
        node.get("platform"),
    )


def blob_path(digest: str) -> str:
    """Where content is in an OCI layout (image-layout.md)."""
    return f"blobs/{digest.replace(':', '/')}"


def digest_of(data: bytes) -> str:
    """The digest we give."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def hasher(digest: str) -> "hashlib._Hash":
    """What computes digests of the same algorithm."""
    return hashlib.new(digest.partition(":")[0])


def copy_verified(source: Stream, target: BinaryIO, wanted: Descriptor, where: str) -> None:
    """Copy content, refused unless it is what the descriptor says, to the byte."""
    computed = hasher(wanted.digest)
    left = wanted.size
    while piece := source.read(min(PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            break
        computed.update(piece)
        target.write(piece)
    if left:
        more = "more than" if left < 0 else f"{wanted.size - left} of"
        raise Refusal(f"{where}: {more} the {wanted.size} bytes its descriptor says; {OTHER}")
    found = computed.hexdigest()
    if found != wanted.digest.partition(":")[2]:
        raise Refusal(f"{where}: its digest is {found}, not {wanted.digest}; {OTHER}")
