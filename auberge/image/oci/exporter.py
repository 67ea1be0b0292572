"""Images for others: OCI layouts, archives of them, and what `docker load` reads.

The blobs are those that came in, so that an image keeps its digest on the way through.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

from auberge.image.oci import content
from auberge.image.oci.compression import Uncompressed
from auberge.image.oci.config import read_config
from auberge.image.oci.content import Record
from auberge.image.oci.digest import Descriptor, blob_path
from auberge.image.oci.document import NOTHING, Json, parse, write
from auberge.image.oci.entry import FILE, Entry
from auberge.image.oci.manifest import INDEX, MANIFEST, REF_NAME, descriptor_json
from auberge.image.oci.tar_writer import TarWriter
from auberge.refusal import Refusal, reason

PIECE = 1 << 20


def export_image(record: Record, path: str, form: str) -> None:
    """Write an image to a file or folder, complete or not at all; `-` is standard output.

    The forms are `oci-archive`, `oci-dir` and `docker-archive`, as podman calls them.
    """
    try:
        if form == "oci-dir":
            _write_folder(record, path)
            return
        if path == "-":
            with open(1, "wb", closefd=False) as out:
                _write_archive(record, out, form)
            return
        temporary = f"{path}.{os.getpid()}.partial"
        try:
            with open(temporary, "xb") as out:
                _write_archive(record, out, form)
            os.replace(temporary, path)
        except BaseException:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise Refusal(f"{error.filename or path}: {reason(error)}; name another place") from error


def _write_archive(record: Record, out: BinaryIO, form: str) -> None:
    archive = TarWriter(out)
    if form == "docker-archive":
        _write_docker(record, archive)
    else:
        archive.directory("blobs/")
        archive.directory("blobs/sha256/")
        for digest in dict.fromkeys((*record.blobs, record.config, record.manifest)):
            _add_file(archive, blob_path(digest), content.blob(digest))
        for name, data in _documents(record).items():
            archive.file(name, data)
    archive.close()


def _documents(record: Record) -> dict[str, bytes]:
    """What makes a layout of blobs."""
    config = read_config(content.read_blob(record.config, record.reference), record.reference)
    manifest = content.read_blob(record.manifest, record.reference)
    kind = parse(manifest, record.reference).get("mediaType").text(MANIFEST)
    about: dict[str, Json] = descriptor_json(
        Descriptor(kind, record.manifest, len(manifest), {REF_NAME: record.name}, NOTHING)
    )
    platform: dict[str, Json] = {"architecture": config.arch, "os": "linux"}
    if config.variant:
        platform["variant"] = config.variant
    index: Json = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**about, "platform": platform}],
    }
    return {"oci-layout": write({"imageLayoutVersion": "1.0.0"}), "index.json": write(index)}


def _write_folder(record: Record, path: str) -> None:
    """A layout in a new folder; its index comes last, and makes it one."""
    os.makedirs(os.path.join(path, "blobs/sha256"))
    for digest in dict.fromkeys((*record.blobs, record.config, record.manifest)):
        target = os.path.join(path, blob_path(digest))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(content.blob(digest), "rb") as source, open(target, "xb") as out:
            while piece := source.read(PIECE):
                out.write(piece)
    for name, data in _documents(record).items():
        with open(os.path.join(path, name), "xb") as out:
            out.write(data)


def _write_docker(record: Record, archive: TarWriter) -> None:
    """`manifest.json` and, each once, uncompressed layers named for their diff_ids."""
    data = content.read_blob(record.config, record.reference)
    config = read_config(data, record.reference)
    names = [f"{diff_id.partition(':')[2]}.tar" for diff_id in config.diff_ids]
    for name, digest in dict(zip(names, record.blobs, strict=True)).items():
        with open(content.blob(digest), "rb") as file:
            stream = Uncompressed(file, record.reference)
            stream.finish()
            size = stream.given
            file.seek(0)
            stream = Uncompressed(file, record.reference)
            archive.add(Entry(name, FILE, size=size), _pieces(stream))
    config_name = f"{record.config.partition(':')[2]}.json"
    archive.file(config_name, data)
    tag = f"localhost/{record.name}:latest"
    entry: Json = {"Config": config_name, "RepoTags": [tag], "Layers": list(names)}
    archive.file("manifest.json", write([entry]))


def _pieces(stream: Uncompressed) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def _add_file(archive: TarWriter, name: str, path: str) -> None:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        archive.add(Entry(name, FILE, size=size), iter(lambda: file.read(PIECE), b""))
