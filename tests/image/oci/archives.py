"""Layers, layouts and archives of tests, written by Python's tarfile: not by what is tested."""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

ROOT = {"uid": 0, "gid": 0, "mtime": 1_000_000_000}


def member(name, data=b"", kind=tarfile.REGTYPE, **fields):
    """A TarInfo and its data."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in {**ROOT, **fields}.items():
        setattr(info, field, value)
    return info, data


def folder(name, **fields):
    return member(name, kind=tarfile.DIRTYPE, **fields)


def link(name, target, kind=tarfile.SYMTYPE, **fields):
    return member(name, kind=kind, linkname=target, **fields)


def tar_of(members, form=tarfile.PAX_FORMAT):
    """An archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def zstd(data):
    if sys.version_info >= (3, 14):
        from compression import zstd as library
    else:
        from backports import zstd as library
    return library.compress(data)


PACKED = {
    "": lambda data: data,
    "+gzip": lambda data: gzip.compress(data, mtime=0),
    "+zstd": zstd,
}


def configuration(layers, arch="amd64", **more):
    """A configuration for uncompressed layers."""
    return {
        "architecture": arch,
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        "history": [{"created_by": "a test"} for _ in layers],
        **more,
    }


class Layout:
    """An OCI layout in memory: path to bytes; `write` makes a folder of it, `tar` an archive."""

    def __init__(self):
        self.files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.manifests = []

    def blob(self, data):
        """Add a blob; its descriptor, but for the media type."""
        digest = sha256(data)
        self.files["blobs/" + digest.replace(":", "/")] = data
        return {"digest": digest, "size": len(data)}

    def image(self, layers, config=None, packed="+gzip", name="box", **fields):
        """Add an image of uncompressed layers."""
        config = configuration(layers) if config is None else config
        kind = "application/vnd.oci.image.layer.v1.tar" + packed
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                **self.blob(json.dumps(config).encode()),
            },
            "layers": [{"mediaType": kind, **self.blob(PACKED[packed](each))} for each in layers],
        }
        self.manifests.append(
            {
                "mediaType": manifest["mediaType"],
                **self.blob(json.dumps(manifest).encode()),
                "annotations": {"org.opencontainers.image.ref.name": name},
                **fields,
            }
        )
        return self

    def complete(self):
        index = {"schemaVersion": 2, "manifests": self.manifests}
        return {"index.json": json.dumps(index).encode(), **self.files}

    def write(self, path):
        for name, data in self.complete().items():
            (Path(path) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(path) / name).write_bytes(data)
        return str(path)

    def tar(self, path):
        Path(path).write_bytes(tar_of([member(*item) for item in self.complete().items()]))
        return str(path)


def write_layout(folder, layers, arch, name="box", **settings):
    """Write a layout of an image into a new folder below `folder`; its path."""
    config = configuration(layers, arch, config=settings)
    return Layout().image(layers, config, packed="", name=name).write(Path(folder) / name)


def docker_archive(path, layers, config=None, tags=("box:latest",)):
    """What `docker save` wrote for many years."""
    data = json.dumps(configuration(layers) if config is None else config).encode()
    name = hashlib.sha256(data).hexdigest() + ".json"
    places = [f"{sha256(layer)[7:]}/layer.tar" for layer in layers]
    pairs = dict(zip(places, layers, strict=True))
    members = [member(place, layer) for place, layer in pairs.items()]
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": places}]
    members += [member(name, data), member("manifest.json", json.dumps(manifest).encode())]
    Path(path).write_bytes(tar_of(members))
    return str(path)
