"""Who a container's process is (image-spec 1.1, config.md, "User"), as its image's files say."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from auberge.image.oci import content
from auberge.image.oci.beneath import open_file
from auberge.refusal import Refusal

LARGEST_FILE = 4 << 20
"""Of passwd(5) and group(5)."""


class Identity(NamedTuple):
    """A user as the kernel knows it, and where it is at home."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def read_file(keys: Sequence[str], path: str) -> bytes | None:
    """A regular file of layers (keys, the lowest first) that are not mounted; None if none shows.

    Symbolic links are not followed.
    """
    parts = path.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    for key in reversed(keys):
        try:
            with open(open_file(content.layer(key), parts, key), "rb") as file:
                return file.read(LARGEST_FILE)
        except FileNotFoundError:
            contents = content.contents(key)
            if {*above} & {*contents.whiteouts, *contents.opaques}:
                return None
        except (OSError, Refusal):
            return None
    return None


def identify(user: str, keys: Sequence[str], where: str) -> Identity:
    """The user of `USER[:GROUP]`, names or numbers, in an image of these layers.

    As docker does: a number need not be in the image's files; only a user without a group has the
    groups that the image gives to it.
    """
    name, colon, group = user.partition(":")
    name = name or "0"
    number = _number(name)
    home, gid, login = "/", 0, name
    uid = number if number is not None else -1
    for entry in _entries(keys, "etc/passwd", 7):
        their, group_of_their = _number(entry[2]), _number(entry[3])
        if their is None or group_of_their is None:
            continue
        if entry[0] == name or (number is not None and their == number):
            uid, gid, home, login = their, group_of_their, entry[5] or "/", entry[0]
            break
    if uid < 0:
        raise Refusal(f"{where}: no user {name!r} in the image's /etc/passwd; give a number")
    groups: list[int] = []
    if colon and group:
        gid = _group(group, keys, where)
    else:
        for entry in _entries(keys, "etc/group", 4):
            their = _number(entry[2])
            if their is not None and login in entry[3].split(","):
                groups.append(their)
    return Identity(uid, gid, tuple(dict.fromkeys(groups)), home)


def _group(group: str, keys: Sequence[str], where: str) -> int:
    found = _number(group)
    for entry in _entries(keys, "etc/group", 4):
        if entry[0] == group and (their := _number(entry[2])) is not None:
            return their
    if found is None:
        raise Refusal(f"{where}: no group {group!r} in the image's /etc/group; give a number")
    return found


def _entries(keys: Sequence[str], path: str, fields: int) -> list[list[str]]:
    data = read_file(keys, path) or b""
    lines = os.fsdecode(data).split("\n")
    return [line.split(":") for line in lines if line.count(":") == fields - 1]


def _number(text: str) -> int | None:
    """An id; None if it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) < (1 << 32) - 1 else None
