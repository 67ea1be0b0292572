"""A container's changes, saved: its image with one more layer is a new image."""

import json
import os
import time
from collections.abc import Iterable, Sequence

from auberge.image import subordinate
from auberge.image.oci import adding, content, mapped
from auberge.image.oci.adding import Store
from auberge.image.oci.changes import Change, Range, Seen, Walk, as_inside, differing
from auberge.image.oci.config import ImageConfig, read_config, write_config
from auberge.image.oci.content import Record
from auberge.image.oci.digest import Descriptor
from auberge.image.oci.document import NOTHING, Json, parse, write
from auberge.image.oci.importer import add_layer, unpacked_again
from auberge.image.oci.layer import Owner
from auberge.image.oci.layer_writer import take_layer, write_layer
from auberge.image.oci.manifest import CONFIG, read_manifest, write_manifest
from auberge.image.oci.rootfs import COPIED, Rootfs
from auberge.image.store import is_name
from auberge.refusal import Refusal, reason


def commit(
    record: Record,
    rootfs: Rootfs,
    name: str,
    uids: Sequence[Range] = (),
    gids: Sequence[Range] = (),
    comment: str = "",
) -> Record:
    """Save what a container changed in its root file system as a new image.

    The container should be stopped or paused. `uids` and `gids` are the maps of its user namespace.
    """
    if not is_name(name):
        raise Refusal(f"{name!r}: cannot be an image's name; use letters, digits, - and _")
    try:
        with adding.adding() as store:
            if ids := subordinate.read(record.ids):
                made = store.temporary()
                said = mapped.call(
                    ids, "write", [list(record.layers), rootfs.path, rootfs.upper, made]
                )
                layer, diff_id = take_layer(store, made), str(said)
            else:
                changes = as_inside(
                    changes_of(rootfs),
                    uids or own_range(os.geteuid()),
                    gids or own_range(os.getegid()),
                    owners_in(record.layers),
                )
                layer, diff_id = write_layer(store, changes)
            return add_image(store, record, layer, diff_id, name, None, comment)
    except OSError as error:
        what = reason(error)
        raise Refusal(f"{error.filename or rootfs.path}: {what}; the image is not made") from error


def own_range(own: int) -> Sequence[Range]:
    """What a container has whose root is this user; root itself needs no map."""
    return [Range(0, own, 1)] if os.geteuid() else ()


def owners_in(keys: Sequence[str]) -> dict[str, Owner]:
    """Owners that the files of these layers could not be given; the topmost layer's word counts."""
    found: dict[str, Owner] = {}
    for key in keys:
        found |= content.contents(key).owners
    return found


def changes_of(rootfs: Rootfs) -> Iterable[Change]:
    """What is to be in the new layer."""
    if rootfs.upper:
        return Walk(rootfs.upper, True)
    path = os.path.join(os.path.dirname(rootfs.path), COPIED)
    try:
        with open(path, encoding="ascii") as file:
            before = {name: Seen(*fields) for name, fields in json.load(file).items()}
    except FileNotFoundError:
        raise Refusal(f"{rootfs.path}: read-only; nothing can have changed in it") from None
    return differing(Walk(rootfs.path, False), before)


def add_image(
    store: Store,
    record: Record | None,
    layer: Descriptor,
    diff_id: str,
    name: str,
    config: ImageConfig | None,
    comment: str,
    recipe: str = "",
) -> Record:
    """Add an image that has one more layer than another, or that alone, and `config` then."""
    old: tuple[Descriptor, ...] = ()
    document: dict[str, Json] = {}
    keys: tuple[str, ...] = ()
    if record is not None:
        record = unpacked_again(store, record)
        data = content.read_blob(record.config, record.reference)
        config = read_config(data, record.reference)
        # what we have no name for stays
        document = {name: field.value for name, field in parse(data, "").table().items()}
        manifest = content.read_blob(record.manifest, record.reference)
        old = read_manifest(manifest, record.reference).layers
        keys = record.layers
    if config is None:
        raise ValueError("an image of one layer needs a configuration")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event: Json = {"created": now, "created_by": "auberge", "comment": comment}
    config = config._replace(created=now, diff_ids=(*config.diff_ids, diff_id))
    data = write(write_config(config, event, document))
    config_digest = store.add_document(data)
    layers = (*old, layer)
    described = Descriptor(CONFIG, config_digest, len(data), {}, NOTHING)
    manifest_digest = store.add_document(write(write_manifest(described, layers)))
    key = add_layer(store, layer.digest, diff_id, keys, f"{name}: new layer")
    new = Record(
        name,
        config.platform,
        manifest_digest,
        config_digest,
        tuple(each.digest for each in layers),
        (*keys, key),
        recipe,
        store.ids_text,
    )
    store.add_record(new)
    return new
