"""The image of a container and what it says a program in it is run with, read once a program.

What is kept here is named by digests, so that it cannot become wrong; which image a name means is
looked up again whenever the file that says it is another.
"""

import os
from typing import TypeVar

from auberge.container.light import NamedTuple, read_json, write_json
from auberge.image.oci import content, mapped
from auberge.image.oci.content import Record
from auberge.image.oci.names import existing, host_architecture
from auberge.image.oci.runtime import Defaults, defaults
from auberge.image.store import parse_reference
from auberge.image.subordinate import read
from auberge.monitor.options import Options
from auberge.refusal import Refusal

K = TypeVar("K")
V = TypeVar("V")

MOST = 256  # images, and ways to run them, that are remembered
_records: dict[str, tuple[tuple[int, int], Record]] = {}
_defaults: dict[tuple[object, ...], Defaults] = {}


class Settled(NamedTuple):
    """An image, and how a program is run in it."""

    record: Record
    defaults: Defaults


def find(reference: str) -> Record:
    """The image of that name; raises Refusal if there is none."""
    path = content.at("images", *parse_reference(reference, host_architecture()))
    try:
        status = os.stat(path)
        seen = (status.st_ino, status.st_mtime_ns)
    except OSError:
        return existing(reference)  # which says what is wrong
    known = _records.get(path)
    if known is None or known[0] != seen:
        known = seen, _with_our_ids(existing(reference))
        _remember(_records, path, known)
    return known[1]


def _with_our_ids(record: Record) -> Record:
    if record.ids == mapped.current_text():
        return record
    from auberge.image.oci.importer import current

    return current(record)


def settled(record: Record, options: Options) -> Settled:
    """How these options run a program in that image."""
    key = (
        content.directory(), record.reference, record.config, record.layers, options.command,
        options.user, options.env, options.cwd, options.entrypoint,
    )  # fmt: skip
    found = _defaults.get(key)
    if found is None:
        found = defaults(
            record, options.command, options.user, options.env, options.cwd, options.entrypoint
        )
        _remember(_defaults, key, found)
    return Settled(record, found)


def _remember(place: dict[K, V], key: K, value: V) -> None:
    if len(place) >= MOST:
        place.clear()
    place[key] = value


def save(record: Record, path: str) -> None:
    """Note in a file which image it is: its name may mean another one later."""
    beside = f"{path}.new"
    with open(beside, "wb") as file:
        file.write(write_json(record._asdict()).encode())
    os.rename(beside, path)


def saved(path: str) -> Record | None:
    """What was noted there; None if nothing is. Raises Refusal if it is damaged."""
    try:
        with open(path, "rb") as file:
            values = read_json(file.read())
        assert isinstance(values, dict)
        for field in ("blobs", "layers"):
            values[field] = tuple(map(str, values[field]))
        record = Record(**values)
        read(record.ids)
        return record
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AssertionError, KeyError):
        raise Refusal(f"{path}: damaged; remove the guest with `auberge rm -f`") from None
