"""Removing from the store of containers' images what nothing needs; see content.py."""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress

from auberge.image.oci.content import Record, at, directory, empty, layer, listed, locked, records
from auberge.refusal import Refusal


def remove(record: Record) -> None:
    """Forget an image, and all that no other image and no container needs."""
    with locked(fcntl.LOCK_EX):
        try:
            os.unlink(at("images", record.name, record.arch))
        except FileNotFoundError:
            raise Refusal(f"{record.reference}: no such image; see `auberge image ls`") from None
        with suppress(OSError):
            os.rmdir(at("images", record.name))
        _clean()


def clean() -> None:
    """Remove what nothing needs any more, unless others are adding: they may come to need it."""
    if os.path.isdir(directory()):
        with suppress(BlockingIOError), locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            _clean()


def _clean() -> None:
    """Remove blobs and layers that nobody names; hold the lock alone."""
    kept = records()
    digests = {digest for each in kept for digest in (each.manifest, each.config, *each.blobs)}
    keys = {key for each in kept for key in each.layers}
    for name in listed(at("users")):
        with open(at("users", name), encoding="ascii") as file:
            keys |= set(file.read().split())
    for algorithm in ("sha256", "sha512"):
        for name in listed(at("blobs", algorithm)):
            if f"{algorithm}:{name}" not in digests:
                os.unlink(at("blobs", algorithm, name))
                with suppress(FileNotFoundError):
                    os.unlink(at("diffs", name))
    for name in listed(at("short")):
        if os.readlink(at("short", name)).split("/")[2] not in keys:
            os.unlink(at("short", name))
    for key in listed(at("layers")):
        if key not in keys:
            # gone at once, even if removing what is in it is interrupted
            os.rename(at("layers", key), at("temporary", os.urandom(8).hex()))
    empty(at("temporary"))


def hold(user: str, keys: Sequence[str]) -> None:
    """Have layers stay as long as a container, by its name, needs them."""
    path = at("users", _user(user))
    with locked(fcntl.LOCK_SH):
        for key in keys:
            if not os.path.exists(at("layers", key)):
                raise Refusal(f"{layer(key)}: is not there any more; import the image again")
        os.makedirs(at("users"), exist_ok=True)
        with open(path, "wb") as file:
            file.write(" ".join(keys).encode())


def release(user: str) -> None:
    """A container needs its layers no more; it may not have held any."""
    with suppress(FileNotFoundError):
        os.unlink(at("users", _user(user)))


def _user(name: str) -> str:
    if not name or "/" in name or name.startswith(".") or len(name) > 200:
        raise Refusal(f"{name!r}: not the name of a container; use letters and digits")
    return name
