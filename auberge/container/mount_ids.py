"""Whose ids a mount has: `idmap`, `ridmap`, uidMappings and gidMappings (config.md, "Mounts").

A mount takes its maps from a user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP). Nobody has to be
in it: it is made by a process that ends once the namespace is open.
"""

import os

from auberge.container.config import Config, IdMapping, Linux, Mount
from auberge.container.light import NamedTuple
from auberge.refusal import Refusal, reason

MOST = 64
"""Different maps in one configuration: each is a namespace, and a descriptor."""


class Ids(NamedTuple):
    """The maps of a user namespace to come, or the path of one that exists."""

    uids: tuple[IdMapping, ...]
    gids: tuple[IdMapping, ...]
    path: str = ""


class MountIds(NamedTuple):
    """What maps one mount: which of `Ids.number`, and what of the configuration says so."""

    number: int
    ids: Ids
    where: str


def is_mapped(mount: Mount) -> bool:
    """Whether its files have other owners inside; maps without an option are `idmap`."""
    return bool(mount.uid_mappings) or "idmap" in mount.options or "ridmap" in mount.options


def mount_ids(config: Config) -> dict[int, MountIds]:
    """What maps each mount that is mapped, by its place in `mounts`; raises Refusal.

    `MountIds.number` counts the different ones, from 0.
    """
    numbers: dict[Ids, int] = {}
    found: dict[int, MountIds] = {}
    for at, mount in enumerate(config.mounts):
        if is_mapped(mount):
            ids = _ids(mount, config.linux, f"$.mounts[{at}]")
            where = f"$.mounts[{at}]" if mount.uid_mappings else "$.linux"
            found[at] = MountIds(numbers.setdefault(ids, len(numbers)), ids, where)
    if len(numbers) > MOST:
        raise Refusal(
            f"config.json: $.mounts: has {len(numbers)} different maps of ids; use {MOST} at most"
        )
    return found


def _ids(mount: Mount, linux: Linux, where: str) -> Ids:
    if mount.uid_mappings:
        return Ids(mount.uid_mappings, mount.gid_mappings)
    for space in linux.namespaces:
        if space.type == "user":
            if space.path:
                return Ids((), (), space.path)
            return Ids(linux.uid_mappings, linux.gid_mappings)
    # "the container isn't using user namespaces, an error MUST be returned"
    raise Refusal(
        f"config.json: {where}: 'idmap' has no maps; give uidMappings and gidMappings, or the "
        "container a user namespace"
    )


def open_ids(config: Config) -> list[int]:
    """A descriptor of a user namespace for each `MountIds.number`, to be closed by the caller;
    raises Refusal."""
    opened: list[int] = []
    try:
        for one in mount_ids(config).values():
            if one.number == len(opened):
                opened.append(_open(one))
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return opened


def _open(one: MountIds) -> int:
    if not one.ids.path:
        return _new(one)
    try:
        return os.open(one.ids.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise Refusal(
            f"config.json: $.linux.namespaces: {one.ids.path}: {reason(error)}; "
            "give the path of a user namespace"
        ) from None


def _new(one: MountIds) -> int:
    """A user namespace with these maps, and nobody in it."""
    from auberge.container.carry import Child
    from auberge.container.idmaps import write_maps
    from auberge.container.mold import program
    from auberge.container.steps import AwaitRuntime, Clone, Seal
    from auberge.container.talk import READY, Descriptors

    child: Child | None = None
    try:
        child = Child(program((Seal(), Clone(("user",)), AwaitRuntime()), Descriptors()))
        child.until(READY)
        write_maps(child.pid, one.ids.uids, one.ids.gids, one.where)
        return os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refusal(
            f"config.json: {one.where}: its user namespace cannot be opened: {reason(error)}; "
            "look at the limit of descriptors, and that /proc is mounted"
        ) from None
    finally:
        if child is not None:
            child.kill()
