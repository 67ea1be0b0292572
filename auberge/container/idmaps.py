"""The id maps of a new user namespace, written from outside (user_namespaces(7))."""

import os

from auberge.container.config import IdMapping
from auberge.container.light import Sequence
from auberge.image.subordinate import write_map
from auberge.refusal import Refusal, reason


def write_maps(
    pid: int, uids: Sequence[IdMapping], gids: Sequence[IdMapping], where: str = "$.linux"
) -> None:
    """Map users and groups of the process's namespace; raises Refusal, with what of the
    configuration has asked for them.

    Root writes them; somebody else may write one line that maps himself, and has newuidmap(1) and
    newgidmap(1) write what /etc/subuid and /etc/subgid grant.
    """
    if os.geteuid() == 0:
        _write(pid, "uid_map", _lines(uids), where)
        _write(pid, "gid_map", _lines(gids), where)
        return
    if _is_self(uids, os.geteuid()):
        _write(pid, "uid_map", _lines(uids), where)
    else:
        write_map("newuidmap", pid, uids)
    if _is_self(gids, os.getegid()):
        # "deny" must be there before an unprivileged user writes gid_map
        _write(pid, "setgroups", "deny", where)
        _write(pid, "gid_map", _lines(gids), where)
    else:
        write_map("newgidmap", pid, gids)


def _is_self(mappings: Sequence[IdMapping], number: int) -> bool:
    return len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == number


def _lines(mappings: Sequence[IdMapping]) -> str:
    return "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings)


def _write(pid: int, name: str, text: str, where: str) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        kind = "gidMappings" if name == "gid_map" else "uidMappings"
        shown = " ".join(text.split())
        raise Refusal(
            f"config.json: {where}.{kind}: {shown}: {reason(error)}; map ids that you may use"
        ) from None
