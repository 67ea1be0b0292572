"""The process that works on files of several ids (mapped.py), as root of a user namespace.

`python -m auberge.image.oci.mapped_work VERB`: it prints `entered`, is given its maps, reads its
arguments as JSON and answers with JSON. All paths are of the store or of a guest's folder, whose
directories are the user's; what is in them is strangers' work, and nothing of it is followed.
"""

import json
import sys
from collections.abc import Callable

from auberge.image.oci import namespace
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.changes import as_inside
from auberge.image.oci.commit import changes_of, owners_in
from auberge.image.oci.compression import Uncompressed
from auberge.image.oci.layer import Owner
from auberge.image.oci.layer_writer import write_changes
from auberge.image.oci.limits import Limits
from auberge.image.oci.merge import copy_layers
from auberge.image.oci.rootfs import OVERLAY, Rootfs, copy_root, like_root
from auberge.image.oci.unpack import unpack
from auberge.refusal import Refusal, reason


def nothing() -> None:
    """Nothing: that it can be done says enough."""


def unpacked(blob: str, root: str, where: str, below: list[str], limits: list[int]) -> object:
    """Unpack a layer's blob; its diff_id, and its Contents."""
    numbers = Limits(*limits)
    with open(blob, "rb") as file:
        stream = Uncompressed(file, where, numbers)
        found = unpack(stream, root, where, below, numbers)
        return stream.finish(), found


def written(keys: list[str], path: str, upper: str, out: str) -> str:
    """Write a container's changes as a layer; its diff_id. Owners are as the container has them."""
    rootfs = Rootfs(OVERLAY, path, None, upper)
    changes = as_inside(changes_of(rootfs), (), (), owners_in(tuple(keys)))
    with open(out, "xb") as file:
        return write_changes(file, changes)


def made_upper(upper: str, top: str) -> None:
    """Make an upper directory."""
    like_root(upper, top)


def copied(keys: list[str], directory: str, path: str) -> None:
    """Make a root file system that is a copy."""
    copy_root(tuple(keys), directory, path)


def merged(keys: list[str], path: str) -> dict[str, Owner]:
    """Copy layers into a directory, all as its user's; whose it was."""
    owners: dict[str, Owner] = {}
    copy_layers(keys, path, owners)
    return owners


VERBS: dict[str, Callable[..., object]] = {
    "nothing": nothing,
    "remove": remove_tree,
    "unpack": unpacked,
    "write": written,
    "upper": made_upper,
    "copy": copied,
    "merge": merged,
}


def main() -> None:
    """Enter a namespace, become its root, and do it."""
    try:
        namespace.enter_users()
        namespace.die_with_parent()
        print("entered", flush=True)
        arguments = json.loads(sys.stdin.readline())
        namespace.become_root()
        answer = {"done": VERBS[sys.argv[1]](*arguments)}
    except Refusal as refusal:
        answer = {"refused": str(refusal)}
    except OSError as error:
        answer = {"refused": f"{error.filename or sys.argv[1]}: {reason(error)}"}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
