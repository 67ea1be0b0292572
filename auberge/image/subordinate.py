"""The ids that /etc/subuid and /etc/subgid grant a user (subuid(5), newuidmap(1)), and their maps.

As podman does, id 0 of a namespace is the user, and 1 and on are what is granted, one range after
another.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from auberge.refusal import Refusal

MOST_RANGES = 300
"""The kernel takes 340 lines of a map (user_namespaces(7))."""
LONGEST_FILE = 4 << 20
LAST_ID = (1 << 32) - 2
USERS, GROUPS = "/etc/subuid", "/etc/subgid"
TOOLS = ("newuidmap", "newgidmap")


class Line(NamedTuple):
    """One line of a map: ids of a namespace, and which they are outside."""

    inside: int
    outside: int
    many: int


class Ids(NamedTuple):
    """What is granted: ranges of users and of groups, each a first id and how many."""

    users: tuple[tuple[int, int], ...]
    groups: tuple[tuple[int, int], ...]

    @property
    def text(self) -> str:
        """The same in a word: what was unpacked with other ids is told apart by it."""
        return "/".join(",".join(f"{first}+{count}" for first, count in ranges) for ranges in self)

    def user_map(self, own: int) -> tuple[Line, ...]:
        """The map of users, if that is the user's own id."""
        return _map(self.users, own)

    def group_map(self, own: int) -> tuple[Line, ...]:
        """The map of groups, if that is the user's own group."""
        return _map(self.groups, own)

    @property
    def last(self) -> tuple[int, int]:
        """The greatest user and group that a namespace has."""
        users, groups = (sum(count for _, count in ranges) for ranges in self)
        return users, groups


def read(text: str) -> Ids | None:
    """Ids from their text; None for the empty one. Raises Refusal for what is none."""
    if not text:
        return None
    both = [[word.split("+") for word in part.split(",")] for part in text.split("/")]
    words = [word for part in both for word in part]
    if len(both) != 2 or not all(len(word) == 2 and all(map(_is_number, word)) for word in words):
        raise Refusal(f"{text[:40]!r}: not the ids of an image; remove it, and import it again")
    users, groups = (tuple((int(first), int(count)) for first, count in part) for part in both)
    return Ids(users, groups)


def _map(ranges: Sequence[tuple[int, int]], own: int) -> tuple[Line, ...]:
    lines = [Line(0, own, 1)]
    for first, count in ranges:
        lines.append(Line(lines[-1].inside + lines[-1].many, first, count))
    return tuple(lines)


def granted() -> Ids | None:
    """What this user may map; None without users, or without groups."""
    ids = Ids(ranges(USERS), ranges(GROUPS))
    return ids if ids.users and ids.groups else None


def ranges(path: str) -> tuple[tuple[int, int], ...]:
    """What a file grants this user, by name or number; lines that say nothing count for nothing.

    Never root's id, nor the user's own, which is mapped anyway.
    """
    uid = os.getuid()
    own = uid if path == USERS else os.getgid()
    names = {str(uid), user_name(uid)}
    found: list[tuple[int, int]] = []
    for line in _lines(path):
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if owner not in names or not (_is_number(first) and _is_number(count)):
            continue
        begin, end = int(first), int(first) + int(count)
        alike = any(begin < at + many and at < end for at, many in found)
        if 0 < begin < end <= LAST_ID and not begin <= own < end and not alike:
            found.append((begin, end - begin))
    return tuple(found[:MOST_RANGES])


def missing_tool() -> str | None:
    """Which of newuidmap(1) and newgidmap(1) is not installed, if one is not."""
    return next((tool for tool in TOOLS if where(tool) is None), None)


def where(program: str) -> str | None:
    """The path of a program; sbin counts, whoever asks."""
    for folder in f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin".split(":"):
        path = os.path.join(folder, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def user_name(uid: int) -> str:
    """What a user is called; the number where it has no name."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def write_map(tool: str, pid: int, lines: Sequence[tuple[int, int, int]]) -> None:
    """Have newuidmap or newgidmap write a map of a process's namespace; raises Refusal."""
    import subprocess

    words = [str(number) for line in lines for number in line]
    try:
        done = subprocess.run(
            [where(tool) or tool, str(pid), *words],
            capture_output=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        raise Refusal(
            f"{tool}: not installed; install the package uidmap, or map your own id alone"
        ) from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise Refusal(f"{tool}: {said}; see {USERS if tool == TOOLS[0] else GROUPS}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST_FILE).splitlines()
    except OSError:
        return []
