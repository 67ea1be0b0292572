"""Images out of files: OCI layouts and archives of them, and what `docker save` writes.

An image gets its name when all of it is there, verified and unpacked. What another image has
brought already is not unpacked again.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from auberge.image.oci import adding, content, mapped, removal
from auberge.image.oci.adding import Store
from auberge.image.oci.compression import GZIP, ZSTD, Uncompressed
from auberge.image.oci.config import ImageConfig, read_config
from auberge.image.oci.content import Record
from auberge.image.oci.digest import Descriptor, blob_path, copy_verified, digest_of
from auberge.image.oci.document import NOTHING, parse, write
from auberge.image.oci.limits import IMAGES, LAYERS, LIMITS, OTHER, Limits
from auberge.image.oci.manifest import (
    CONFIG,
    LAYER,
    Manifest,
    manifests,
    read_manifest,
    read_verified,
    write_manifest,
)
from auberge.image.oci.source import Source, open_source, read_document
from auberge.image.oci.unpack import unpack
from auberge.image.store import cache_directory, is_name
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from auberge.image.apt import Moved


class Candidate(NamedTuple):
    """An image in a file, before any of its layers was looked at."""

    name: str
    config: ImageConfig
    config_data: bytes
    manifest: Manifest
    manifest_data: bytes | None
    """None where it is to be made, of what its layers are found to be."""
    paths: tuple[str, ...]
    """Where its layers are in the file."""


def import_image(
    path: str,
    name: str | None = None,
    moved: "Moved" = lambda done, total: None,
    limits: Limits = LIMITS,
) -> list[Record]:
    """Take all images of a file or a folder into the store; `-` is standard input.

    Without a name, an image gets the one that the file gives to it, or the file's own. `moved`
    hears how many layers are done, and of how many.
    """
    try:
        with adding.adding() as store:
            source = open_source(path, store.temporary(), limits)
            try:
                found = named(list(candidates(source)), name, path)
                total = sum(len(candidate.paths) for candidate in found)
                done = 0
                records = []
                for candidate in found:

                    def layer_done(count: int, before: int = done) -> None:
                        moved(before + count, total)

                    records.append(_take(source, store, candidate, layer_done, limits))
                    done += len(candidate.paths)
                for record in records:
                    store.add_record(record)
            finally:
                source.close()
        # what had one of the names may be gone
        removal.clean()
        return records
    except OSError as error:
        where = error.filename or cache_directory()
        what = reason(error)
        raise Refusal(f"{where}: {what}; AUBERGE_CACHE_DIR may name another place") from error


def candidates(source: Source) -> Iterator[Candidate]:
    """The images in a file, for every platform that is there."""
    if source.has("oci-layout") and source.has("index.json"):
        found = _in_layout(source)
    elif source.has("manifest.json"):
        found = _in_docker_archive(source)
    else:
        raise Refusal(
            f"{source.name}: neither an OCI layout nor what `docker save` writes; {OTHER}"
        )
    for count, candidate in enumerate(found):
        if count == IMAGES:
            raise Refusal(f"{source.name}: more than {IMAGES} images; {OTHER}")
        yield candidate


def _in_layout(source: Source) -> Iterator[Candidate]:
    for ref, wanted, data in manifests(source):
        manifest = read_manifest(data, f"{source.name}: {blob_path(wanted.digest)}")
        config_data = read_verified(source, manifest.config)
        config = read_config(config_data, f"{source.name}: {blob_path(manifest.config.digest)}")
        if len(config.diff_ids) != len(manifest.layers):
            raise Refusal(
                f"{source.name}: {len(manifest.layers)} layers, but its configuration says"
                f" {len(config.diff_ids)}; {OTHER}"
            )
        paths = tuple(blob_path(layer.digest) for layer in manifest.layers)
        yield Candidate(ref, config, config_data, manifest, data, paths)


def _in_docker_archive(source: Source) -> Iterator[Candidate]:
    """`manifest.json` of docker's archives: configuration and layers by their paths."""
    document = parse(read_document(source, "manifest.json"), f"{source.name}: manifest.json")
    for element in document.array():
        path = element.get("Config").text()
        config_data = read_document(source, path)
        config = read_config(config_data, f"{source.name}: {path}")
        paths = element.get("Layers").texts()
        if len(paths) != len(config.diff_ids) or len(paths) > LAYERS:
            raise Refusal(
                f"{source.name}: {len(paths)} layers, but its configuration says"
                f" {len(config.diff_ids)}; {OTHER}"
            )
        wanted = Descriptor(CONFIG, digest_of(config_data), len(config_data), {}, NOTHING)
        tags = element.get("RepoTags").texts()
        for tag in tags or ("",):
            yield Candidate(tag, config, config_data, Manifest(wanted, ()), None, paths)


def named(found: Sequence[Candidate], name: str | None, path: str) -> list[Candidate]:
    """The same images with names for the store; refused unless all get different ones."""
    if not found:
        raise Refusal(f"{path}: no image for Linux in it; {OTHER}")
    if name is not None and len({candidate.name for candidate in found}) > 1:
        names = ", ".join(sorted({repr(candidate.name) for candidate in found}))
        raise Refusal(f"{path}: several images, {names}; import it without --name")
    chosen: dict[tuple[str, str], Candidate] = {}
    for candidate in found:
        new = name if name is not None else plain_name(candidate.name) or plain_name(path)
        if not is_name(new):
            raise Refusal(f"{path}: {new!r} cannot be an image's name here; give one with --name")
        key = (new, candidate.config.platform)
        if key in chosen and chosen[key].config_data != candidate.config_data:
            raise Refusal(f"{path}: two images would be {':'.join(key)}; import one at a time")
        chosen[key] = candidate._replace(name=new)
    return list(chosen.values())


def plain_name(reference: str) -> str:
    """The last part of a repository's name: `docker.io/library/debian:12@sha256:...` is `debian`.

    Of a file, its name without what says that it is an archive.
    """
    last = reference.partition("@")[0].rstrip("/").rpartition("/")[2]
    for extension in (".gz", ".zst", ".tar", ".tgz", ".oci"):
        last = last.removesuffix(extension)
    return last.partition(":")[0]


def _take(
    source: Source,
    store: Store,
    candidate: Candidate,
    done: Callable[[int], None],
    limits: Limits,
) -> Record:
    """Bring an image's blobs and layers into the store."""
    keys: list[str] = []
    layers: list[Descriptor] = []
    for number, (path, diff_id) in enumerate(
        zip(candidate.paths, candidate.config.diff_ids, strict=True)
    ):
        done(number)
        if candidate.manifest_data is None:
            layer = _take_file(source, store, path)
        else:
            layer = candidate.manifest.layers[number]
            _take_blob(source, store, path, layer)
        layers.append(layer)
        keys.append(add_layer(store, layer.digest, diff_id, keys, f"{source.name}: {path}", limits))
    done(len(candidate.paths))
    config = store.add_document(candidate.config_data, candidate.manifest.config.digest)
    data = candidate.manifest_data
    if data is None:
        data = write(write_manifest(candidate.manifest.config, tuple(layers)))
    return Record(
        candidate.name,
        candidate.config.platform,
        store.add_document(data),
        config,
        tuple(layer.digest for layer in layers),
        tuple(keys),
        ids=store.ids_text,
    )


def _take_blob(source: Source, store: Store, path: str, wanted: Descriptor) -> None:
    """Bring a blob of a layout into the store, if it is not there."""
    if os.path.exists(content.blob(wanted.digest)):
        return
    temporary = store.temporary()
    with source.open(path) as stream, open(temporary, "xb") as copy:
        copy_verified(stream, copy, wanted, f"{source.name}: {path}")
        copy.flush()
        os.fsync(copy.fileno())
    store.add_file(temporary, wanted.digest)


def _take_file(source: Source, store: Store, path: str) -> Descriptor:
    """Bring a layer of docker's archive into the store; its digest is found out."""
    import hashlib

    temporary = store.temporary()
    computed = hashlib.sha256()
    with source.open(path) as stream, open(temporary, "xb") as copy:
        start = b""
        while piece := stream.read(1 << 20):
            start = start or piece[:4]
            computed.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
        size = copy.tell()
    digest = f"sha256:{computed.hexdigest()}"
    store.add_file(temporary, digest)
    kind = LAYER + {GZIP: "+gzip", ZSTD[:2]: "+zstd"}.get(start[:2], "")
    return Descriptor(kind, digest, size, {}, NOTHING)


def add_layer(
    store: Store,
    digest: str,
    diff_id: str,
    below: Sequence[str],
    where: str,
    limits: Limits = LIMITS,
) -> str:
    """Unpack a layer's blob to lie on others (keys, the lowest first), if need be; its key.

    Refused unless what comes out of the blob has this diff_id, also if it is unpacked already: the
    blob may be another than the one that was unpacked.
    """
    key = adding.known_layer(diff_id, below, store.ids_text)
    if key is not None and adding.known_diff(digest) == diff_id:
        return key
    with open(content.blob(digest), "rb") as file:
        stream = Uncompressed(file, where, limits)
        if key is not None:
            _check(stream.finish(), diff_id, where)
        else:
            temporary = store.temporary()
            root = os.path.join(temporary, "fs")
            os.makedirs(root)
            roots = [content.layer(each) for each in reversed(below)]
            if store.ids is not None:
                was, found = mapped.unpack(store.ids, file.name, root, where, roots, limits)
            else:
                found = unpack(stream, root, where, roots, limits)
                was = stream.finish()
            _check(was, diff_id, where)
            key = adding.key_of(diff_id, below, found.depends, store.ids_text)
            store.add_layer(temporary, key, found)
    store.add_diff(digest, diff_id)
    return key


def current(record: Record) -> Record:
    """The image with its layers unpacked for the ids that this user's containers have now.

    They had others when newuidmap(1) was not there yet, or is not any more; containers that were
    made then keep theirs.
    """
    if record.ids == mapped.current_text():
        return record
    with adding.adding() as store:
        new = unpacked_again(store, record)
        if content.find(record.name, record.arch) == record:
            store.add_record(new)
    removal.clean()
    return new


def unpacked_again(store: Store, record: Record) -> Record:
    """The same, by who adds to the store; the image's name stays with what had it."""
    if record.ids == store.ids_text:
        return record
    config = read_config(content.read_blob(record.config, record.reference), record.reference)
    keys: list[str] = []
    for digest, diff_id in zip(record.blobs, config.diff_ids, strict=True):
        keys.append(add_layer(store, digest, diff_id, keys, record.reference))
    return record._replace(layers=tuple(keys), ids=store.ids_text)


def _check(found: str, diff_id: str, where: str) -> None:
    if found != diff_id:
        raise Refusal(f"{where}: its diff_id is {found}, not {diff_id}; {OTHER}")
