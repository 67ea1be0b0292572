"""The root file system of a container: its image's layers, and on top what the container changes.

An overlay where the kernel lets us mount one, which is found out by trying; a copy where not; the
layer itself where there is but one and nothing may be changed.
"""

import os
from typing import NamedTuple

from auberge.image import subordinate
from auberge.image.oci import content, mapped, removal
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.content import Record
from auberge.refusal import Refusal, reason

OVERLAY, BIND, COPY = "overlay", "bind", "copy"

COPIED = "copied.json"
"""What a copy was like when it was complete; there is none before."""

PAGE = 4096
"""What mount(2) takes of options, NUL included."""


class RootMount(NamedTuple):
    """A mount, as config.json of a bundle would have it (runtime-spec 1.1, "Mounts")."""

    type: str
    source: str
    options: tuple[str, ...]


class Rootfs(NamedTuple):
    """A root file system: what to mount, and where."""

    kind: str
    path: str
    """The root, once `mount` is mounted there."""
    mount: RootMount | None
    """None where nothing is to be mounted."""
    upper: str
    """Where an overlay keeps changes; empty if they are in `path` itself, or cannot be made."""


def prepare(
    record: Record,
    directory: str,
    user: str,
    in_user_namespace: bool,
    read_only: bool = False,
    forgotten: bool = False,
) -> Rootfs:
    """Make ready what a container's root file system is made of, in a directory of the container's.

    `user` names the container: its layers stay until it releases them, even if the image is
    removed. `in_user_namespace` says who will mount. What is `forgotten` after the container's end
    need not reach the disk. A container that is prepared again finds its changes.
    """
    keys = distinct(record.layers)
    removal.hold(user, keys)
    path = os.path.join(directory, "root")
    os.makedirs(path, exist_ok=True)
    if read_only and len(keys) == 1:
        return Rootfs(BIND, path, RootMount("bind", content.layer(keys[0]), ("rbind", "ro")), "")
    if os.path.exists(os.path.join(directory, COPIED)):
        return Rootfs(COPY, path, None, "")
    options = lower_options(keys)
    usable = all(content.contents(key).overlays for key in keys)
    if keys and options and usable:
        tried = try_overlay(directory, in_user_namespace)
        if tried is not None:
            extra = tuple(each for each in tried if each != "volatile" or forgotten)
            if read_only:
                # an overlay of layers alone; it takes two
                return Rootfs(
                    OVERLAY, path, RootMount("overlay", "overlay", (*options, *extra)), ""
                )
            upper = os.path.join(directory, "upper")
            work = os.path.join(directory, "work")
            if not os.path.exists(upper):
                _make_upper(upper, content.layer(keys[-1]), record.ids)
            if _was_volatile(work):
                # it was volatile: overlayfs would have nobody trust what reached the disk
                remove_tree(work)
            os.makedirs(work, mode=0o700, exist_ok=True)
            where = (f"upperdir={upper}", f"workdir={work}")
            if not _plain(upper) or len(",".join((*options, *where, *extra))) >= PAGE:
                return _copied(keys, directory, path, record.ids)
            mount = RootMount("overlay", "overlay", (*options, *where, *extra))
            return Rootfs(OVERLAY, path, mount, upper)
    return _copied(keys, directory, path, record.ids)


def release(user: str) -> None:
    """A container is gone: its layers may go with their image. Its directory is the caller's."""
    removal.release(user)


def distinct(layers: tuple[str, ...]) -> tuple[str, ...]:
    """Each layer once, where it is the topmost: overlayfs takes none twice.

    What a layer has or hides further down, it has or hides there too.
    """
    return tuple(reversed(dict.fromkeys(reversed(layers))))


def lower_options(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The option that names the layers, topmost first; none where that cannot be said."""
    names = [content.short(key) for key in reversed(keys)]
    return (f"lowerdir={':'.join(names)}",) if names and all(map(_plain, names)) else ()


def try_overlay(directory: str, in_user_namespace: bool) -> tuple[str, ...] | None:
    """Options with which the kernel mounts an overlay there; None if it mounts none.

    It is tried in a process of its own, once for each kernel, user and file system.
    """
    kernel = os.uname().release
    device = os.stat(directory).st_dev
    name = f"overlay-{kernel}-{os.geteuid()}-{device}-{'user' if in_user_namespace else 'host'}"
    path = content.at(name)
    try:
        with open(path, encoding="ascii") as file:
            said = file.read()
    except FileNotFoundError:
        # the first container of this host's uptime
        from auberge.image.oci.probe import probe

        said = probe(directory, in_user_namespace)
        with open(f"{path}.{os.getpid()}", "w", encoding="ascii") as file:
            file.write(said)
        os.replace(f"{path}.{os.getpid()}", path)
    return None if said.startswith("no") else tuple(filter(None, said.split(",")))


def _was_volatile(work: str) -> bool:
    """Whether overlayfs says so there, or would not let us look: then it may have been."""
    try:
        os.stat(os.path.join(work, "work/incompat"))
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    return True


def _make_upper(upper: str, top: str, ids: str) -> None:
    """An upper directory; where its owner is to be somebody else, by who can give it to him."""
    found = os.stat(top)
    others = subordinate.read(ids)
    if others is not None and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        mapped.call(others, "upper", [upper, top])
    else:
        like_root(upper, top)


def like_root(upper: str, top: str) -> None:
    """An upper directory: an overlay's root has the mode and owner of its topmost directory."""
    found = os.stat(top)
    temporary = f"{upper}.{os.getpid()}"
    os.makedirs(temporary, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(temporary, found.st_uid, found.st_gid)
    os.chmod(temporary, found.st_mode & 0o7777)
    os.rename(temporary, upper)


def _copied(keys: tuple[str, ...], directory: str, path: str, ids: str) -> Rootfs:
    """The root file system as a copy, with the owners that it has for these ids."""
    others = subordinate.read(ids)
    if others is not None:
        mapped.call(others, "copy", [list(keys), directory, path])
    else:
        copy_root(keys, directory, path)
    return Rootfs(COPY, path, None, "")


def copy_root(keys: tuple[str, ...], directory: str, path: str) -> None:
    """Make the copy, complete when a file says so."""
    import json

    from auberge.image.oci.changes import survey
    from auberge.image.oci.merge import copy_layers

    remove_tree(path)
    os.makedirs(path)
    try:
        copy_layers(keys, path)
    except OSError as error:
        raise Refusal(f"{path}: {reason(error)}; free some space, or AUBERGE_CACHE_DIR") from error
    before = survey(path)
    with open(os.path.join(directory, "copied.partial"), "w", encoding="ascii") as file:
        json.dump(before, file)
    os.rename(file.name, os.path.join(directory, COPIED))


def _plain(path: str) -> bool:
    """Whether overlayfs' options can have a path as it is."""
    return not any(letter in path for letter in ",:\\\n")
