"""Whether an image in the store is still what was brought there."""

import hashlib

from auberge.image.oci import content
from auberge.image.oci.config import read_config
from auberge.image.oci.content import Record
from auberge.image.oci.manifest import read_manifest
from auberge.refusal import Refusal, reason


def verify(record: Record) -> None:
    """Refuse an image any of whose blobs is not what its digest says, or whose layers are gone."""
    where = record.reference
    read_manifest(content.read_blob(record.manifest, where), where)
    config = read_config(content.read_blob(record.config, where), where)
    for digest in record.blobs:
        path = content.blob(digest)
        try:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, digest.partition(":")[0]).hexdigest()
        except OSError as error:
            raise Refusal(f"{where}: {path}: {reason(error)}; {content.AGAIN}") from error
        if found != digest.partition(":")[2]:
            raise Refusal(f"{where}: {path} is damaged; {content.AGAIN}")
    if len(config.diff_ids) != len(record.layers):
        raise Refusal(f"{where}: its layers are not its configuration's; {content.AGAIN}")
    for key in record.layers:
        content.contents(key)
