"""Indexes and manifests (image-spec 1.1, image-index.md, manifest.md), and docker's like them."""

from collections.abc import Iterator
from typing import NamedTuple

from auberge.image.oci.digest import Descriptor, blob_path, digest_of, read_descriptor
from auberge.image.oci.document import Json, Node, parse
from auberge.image.oci.limits import IMAGES, LAYERS, OTHER
from auberge.image.oci.source import Source, read_document
from auberge.refusal import Refusal

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker."
INDEXES = (INDEX, f"{DOCKER}distribution.manifest.list.v2+json")
MANIFESTS = (MANIFEST, f"{DOCKER}distribution.manifest.v2+json")
CONFIGS = (CONFIG, f"{DOCKER}container.image.v1+json")
LAYERS_OF = (
    LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    f"{DOCKER}image.rootfs.diff.tar",
    f"{DOCKER}image.rootfs.foreign.diff.tar",
)
COMPRESSIONS = ("", "+gzip", "+zstd", ".gzip", ".zstd")

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
"""What containerd and docker write: the whole name, where the other may be but a tag."""
REFERENCE_TYPE = "vnd.docker.reference.type"
"""Says that this is about an image, an attestation for one, and no image."""

NESTED = 3
"""An index of indexes is allowed; a long chain of them is no image."""


class Manifest(NamedTuple):
    """An image for one platform."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


class Found(NamedTuple):
    """A manifest in a layout, and what the layout calls it."""

    ref: str
    descriptor: Descriptor
    data: bytes


def read_verified(source: Source, wanted: Descriptor) -> bytes:
    """A document of a layout, refused unless it is what its descriptor says."""
    path = blob_path(wanted.digest)
    data = read_document(source, path)
    where = f"{source.name}: {path}"
    if len(data) != wanted.size:
        raise Refusal(f"{where}: has {len(data)} bytes, its descriptor says {wanted.size}; {OTHER}")
    computed = digest_of(data)
    if wanted.digest.startswith("sha512:"):
        import hashlib

        computed = f"sha512:{hashlib.sha512(data).hexdigest()}"
    if computed != wanted.digest:
        raise Refusal(f"{where}: its digest is {computed}; {OTHER}")
    return data


def manifests(source: Source) -> Iterator[Found]:
    """The images of an OCI layout, as its index lists them."""
    layout = parse(read_document(source, "oci-layout"), f"{source.name}: oci-layout")
    version = layout.get("imageLayoutVersion")
    if not version.text().startswith("1."):
        raise version.refusal("is not a version that is known")
    index = parse(read_document(source, "index.json"), f"{source.name}: index.json")
    yield from _in_index(source, index, "", NESTED, [IMAGES])


def _in_index(
    source: Source, index: Node, above: str, depth: int, left: list[int]
) -> Iterator[Found]:
    for element in index.get("manifests").array():
        wanted = read_descriptor(element)
        ref = wanted.annotations.get(FULL_NAME) or wanted.annotations.get(REF_NAME) or above
        if REFERENCE_TYPE in wanted.annotations or not source.has(blob_path(wanted.digest)):
            # an archive may hold only some of the platforms that its index lists
            continue
        if wanted.platform.get("os").text("linux") != "linux":
            continue
        if wanted.media_type in INDEXES:
            if not depth:
                raise element.refusal("is an index in too many others")
            if not left[0]:
                raise element.refusal(f"is one of more than {IMAGES} indexes")
            left[0] -= 1
            data = read_verified(source, wanted)
            nested = parse(data, f"{source.name}: {blob_path(wanted.digest)}")
            yield from _in_index(source, nested, ref, depth - 1, left)
        elif wanted.media_type in MANIFESTS:
            yield Found(ref, wanted, read_verified(source, wanted))


def read_manifest(data: bytes, where: str) -> Manifest:
    """The manifest of a container's image; what else registries keep is refused."""
    document = parse(data, where)
    config = document.get("config")
    layers = document.get("layers").array()
    if config.get("mediaType").text() not in CONFIGS:
        raise config.get("mediaType").refusal("is not the configuration of a container's image")
    if len(layers) > LAYERS:
        raise Refusal(f"{where}: more than {LAYERS} layers; {OTHER}")
    for layer in layers:
        kind = layer.get("mediaType")
        if not any(kind.text() == each + how for each in LAYERS_OF for how in COMPRESSIONS):
            raise kind.refusal("is not a layer that can be read")
    return Manifest(
        read_descriptor(config),
        tuple(read_descriptor(layer) for layer in layers),
    )


def write_manifest(config: Descriptor, layers: tuple[Descriptor, ...]) -> Json:
    """The document of a manifest."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor_json(config),
        "layers": [descriptor_json(layer) for layer in layers],
    }


def descriptor_json(descriptor: Descriptor) -> dict[str, Json]:
    """A descriptor as a document has it."""
    found: dict[str, Json] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        found["annotations"] = dict(descriptor.annotations)
    return found
