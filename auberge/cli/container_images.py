"""What `auberge image` does with images of containers."""

import json
import os
import sys
from collections.abc import Sequence

from auberge.cli.patience import patience
from auberge.image import store
from auberge.image.apt import Moved
from auberge.image.oci import content, names
from auberge.image.oci.content import Record
from auberge.image.recipe import Progress
from auberge.refusal import Refusal


def take(file: str, name: str | None, moved: Moved) -> None:
    """Import what is in a file or folder, and say what that was."""
    # a third of the time of a listing to import
    from auberge.image.oci.importer import import_image

    records = import_image(file, name, moved)
    for record in records:
        count = len(record.layers)
        print(f"{record.reference}: {count} layer{'' if count == 1 else 's'}", file=sys.stderr)


def stages(name: str, arch: str) -> Sequence[str]:
    """What building such an image consists of."""
    from auberge.image.oci import build

    return build.STAGES if build.is_built(name, arch) else ()


def build(
    name: str,
    arch: str,
    mirror: str | None,
    keyring: str | None,
    progress: Progress,
    update: bool,
) -> None:
    """Build an image, and say where it is."""
    from auberge.image.oci import build

    record = build.build(name, arch, mirror, keyring, progress, update)
    print(f"{record.reference}: in {content.layer(record.layers[0])}", file=sys.stderr)


def give(reference: str, file: str, form: str) -> None:
    """Export an image to a file or folder."""
    from auberge.image.oci.exporter import export_image

    record = names.existing(reference)
    if file == "-" and sys.stdout.isatty():
        raise Refusal("standard output: a terminal; name a file, or send it on with |")
    with patience(f"exporting {record.reference}"):
        export_image(record, file, form)


def meant(reference: str) -> Record | None:
    """The container's image that a user means; None if it is a machine's, or none.

    Without an architecture, a machine's image comes first, then the host's own, then the only one.
    """
    name, colon, arch = reference.partition(":")
    if colon:
        return None if machine_has(name, arch) else one(name, arch)
    if any(image.name == name for image in store.images()):
        return None
    found = one(name, names.host_architecture())
    others = [record for record in content.records() if record.name == name]
    if found is None and len(others) > 1:
        known = ", ".join(record.reference for record in others)
        raise Refusal(f"{name}: several images, {known}; say which")
    return found or (others[0] if others else None)


def one(name: str, arch: str) -> Record | None:
    """The image of this name, also if it is damaged."""
    for record in content.records():
        if (record.name, record.arch) == (name, arch):
            return record
    return None


def machine_has(name: str, arch: str) -> bool:
    """Whether this is the name of a machine's image."""
    return any((image.name, image.arch) == (name, arch) for image in store.images())


def inspected(record: Record) -> str:
    """An image as JSON, once all of it is seen to be what its digests say."""
    from auberge.image.oci.inspection import verify

    verify(record)
    data = content.read_blob(record.config, record.reference)
    return json.dumps(
        {
            **record._asdict(),
            "size": size(record),
            "configuration": json.loads(data),
            "directories": [content.layer(key) for key in record.layers],
        },
        indent=1,
    )


def size(record: Record) -> int:
    """Bytes of an image's unpacked layers; what others share with it counts too."""
    return sum(content.contents(key).size for key in dict.fromkeys(record.layers))


def describe(record: Record) -> tuple[str, int]:
    """What a listing says of an image, also of one that is damaged: its kind, its size."""
    if not record.manifest:
        return "damaged", 0
    try:
        missing = [each for each in record.blobs if not os.path.exists(content.blob(each))]
        return ("damaged", 0) if missing else ("container", size(record))
    except Refusal:
        return "damaged", 0
