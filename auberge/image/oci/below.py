"""Layers that are not the same over all others: what they do not mention is as it is below."""

import os
import stat
from collections.abc import Sequence

from auberge.image.oci.beneath import Parts, opened
from auberge.image.oci.entry import DIRECTORY, Entry
from auberge.image.oci.layer import Contents
from auberge.refusal import Refusal


def would_depend(contents: Contents, below: Sequence[str]) -> bool:
    """Whether a layer that did not depend on others would be another over these."""
    if not below:
        return bool(contents.whiteouts)
    found = (as_below(tuple(filter(None, path.split("/"))), below) for path in contents.implied)
    return any(entry is not None and not is_usual(entry) for entry in found)


def as_below(parts: Parts, below: Sequence[str]) -> Entry | None:
    """A directory as the topmost of these layers has it that has one."""
    is_root = os.geteuid() == 0
    for root in below:
        try:
            with opened(root, root) as tree:
                found = os.stat(tree.directory(parts))
        except (OSError, Refusal):
            continue
        mode = stat.S_IMODE(found.st_mode)
        uid, gid = (found.st_uid, found.st_gid) if is_root else (0, 0)
        return Entry("/".join(parts), DIRECTORY, mode, uid, gid, 0, found.st_mtime_ns)
    return None


def is_usual(entry: Entry) -> bool:
    """Whether a directory is as it would be that nobody has mentioned; its time does not count."""
    return (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0)
