"""What a machine's guest says of itself: processes, numbers, users. All of it may be invented."""

from auberge.image.oci.identity import Identity
from auberge.monitor.guest import Task, Usage
from auberge.refusal import Refusal

LONGEST = 1 << 20
"""Bytes that are heard of one answer."""

TICKS = 100  # a second; Linux's USER_HZ
SECTOR = 512
MOST = 1 << 62

_STAT_PARENT, _STAT_USER, _STAT_SYSTEM = 1, 11, 12  # proc_pid_stat(5), after the name


def numbers(text: str) -> dict[str, int]:
    """Lines of a name and a number; others are left out."""
    found = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) == 2:
            value = number(words[1])
            if value is not None:
                found[words[0]] = value
            elif words[0] == "oom_kill":
                found[words[0]] = 0
        elif len(words) == 3 and words[:2] == ["oom", "oom_kill"]:
            found["oom"] = number(words[2]) or 0
    return found


def number(text: str) -> int | None:
    """A number that counts something; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return min(int(text), MOST)


def usage(text: str) -> Usage:
    """What `/usage` of the cell printed."""
    known = numbers(text)
    microseconds = known.get("usage_usec")
    received = sent = read = written = None
    for line in text.split("\n"):
        words = line.split()
        if words[:1] == ["eth0:"] and len(words) == 17:  # proc_pid_net(5), dev
            received, sent = number(words[1]), number(words[9])
        elif len(words) in (11, 15, 17) and all(number(word) is not None for word in words):
            # block/stat.rst: sectors read, sectors written
            read, written = int(words[2]) * SECTOR, int(words[6]) * SECTOR
    return Usage(
        None if microseconds is None else microseconds / 1e6,
        known.get("memory"),
        None,
        known.get("pids"),
        None,
        received,
        sent,
        read,
        written,
    )


def tasks(text: str) -> list[Task]:
    """What `/tasks` of the cell printed; what is no process there is left out."""
    found = []
    inner: dict[int, int] = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        fields = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines[1:3]}
        pids = [number(word) for word in fields.get("NSpid", [])]
        task = _task(lines, fields.get("Uid", []))
        if task is not None and pids and pids[0] is not None and pids[-1] is not None:
            inner[pids[0]] = pids[-1]
            found.append(task._replace(pid=pids[-1]))
    # who comes from outside of the guest's namespace has no parent in it
    return [task._replace(parent=inner.get(task.parent, 0)) for task in found]


def _task(lines: list[str], uids: list[str]) -> Task | None:
    if not lines or ")" not in lines[0]:
        return None
    name = lines[0].partition("(")[2].rpartition(")")[0]
    rest = lines[0].rpartition(")")[2].split()
    if not uids or number(uids[0]) is None or len(rest) <= _STAT_SYSTEM:
        return None
    parent, user, system = (number(rest[n]) for n in (_STAT_PARENT, _STAT_USER, _STAT_SYSTEM))
    if parent is None or user is None or system is None:
        return None
    command = lines[3].strip() if len(lines) > 3 else ""
    return Task(0, parent, uids[0], (user + system) / TICKS, printable(command or f"[{name}]"))


def printable(text: str) -> str:
    """What can be shown on a terminal without it being told something."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def identify(user: str, passwd: str, group: str, where: str) -> Identity:
    """The user of `USER[:GROUP]`, as the guest's own files say it; a number needs no entry."""
    name, colon, wanted = user.partition(":")
    uid = number(name or "0")
    home, gid, login = "/", 0, name
    for entry in _entries(passwd, 7):
        theirs, theirs_group = number(entry[2]), number(entry[3])
        if theirs is None or theirs_group is None:
            continue
        if entry[0] == name or (uid is not None and theirs == uid):
            uid, gid, home, login = theirs, theirs_group, entry[5] or "/", entry[0]
            break
    if uid is None:
        raise Refusal(f"{where}: no user {name!r} in the guest's /etc/passwd; give a number")
    groups: list[int] = []
    if colon and wanted:
        named = [number(entry[2]) for entry in _entries(group, 4) if entry[0] == wanted]
        found = named[0] if named else number(wanted)
        if found is None:
            raise Refusal(f"{where}: no group {wanted!r} in the guest's /etc/group; give a number")
        gid = found
    else:
        for entry in _entries(group, 4):
            theirs = number(entry[2])
            if theirs is not None and login in entry[3].split(","):
                groups.append(theirs)
    for each in (uid, gid, *groups):
        if each >= 0xFFFF_FFFF:
            raise Refusal(f"{where}: {each} is no id; give one below {0xFFFFFFFF}")
    return Identity(uid, gid, tuple(dict.fromkeys(groups)), home)


def _entries(text: str, fields: int) -> list[list[str]]:
    return [line.split(":") for line in text.split("\n") if line.count(":") == fields - 1]
