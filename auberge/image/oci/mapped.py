"""Files of several ids without root: what is to be done with them is done where they are root's.

Where newuidmap(1) gives this user more ids, layers are unpacked with the owners that they name, and
what containers change is of several ids too. The user himself could neither give files to those ids
nor remove theirs; a process in a user namespace with all of them can (mapped_work.py).
"""

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from typing import cast

from auberge.image import subordinate
from auberge.image.oci import content
from auberge.image.oci.document import Json
from auberge.image.oci.layer import Contents, Owner, read_contents
from auberge.image.oci.limits import Limits
from auberge.image.store import cache_directory
from auberge.image.subordinate import Ids
from auberge.refusal import Refusal

_known: dict[str, str] = {}


def current() -> Ids | None:
    """The ids that this user's containers have beside his own; None for root, who has all, and
    where there is but one."""
    return None if os.geteuid() == 0 or _alone() else subordinate.granted()


def current_text() -> str:
    """The same in a word, empty for None."""
    ids = current()
    return ids.text if ids is not None else ""


def alone() -> str:
    """Why containers of this user have but one id; empty if they have more."""
    return "" if os.geteuid() == 0 else _alone()


def advice() -> str:
    """What would give more ids than one, if that was not said before; else nothing."""
    why = alone()
    if not why:
        return ""
    try:
        os.close(os.open(f"{_place()}.said", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return ""
    return f"containers have one user here, so that chown and su fail in them: {why}"


def _alone() -> str:
    """Why there is but one id; empty if there are more. It is tried, once for what is granted."""
    place = _place()
    if place in _known:
        return _known[place]
    try:
        with open(place, encoding="utf-8") as file:
            why = file.read()
    except FileNotFoundError:
        why = _tried()
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        beside = f"{place}.{os.getpid()}"
        with open(beside, "w", encoding="utf-8") as file:
            file.write(why)
        os.replace(beside, place)
    _known[place] = why
    return why


def _place() -> str:
    """The file that says what the trial has found: another one if anything of it changes."""
    seen = [os.uname().release, os.geteuid(), os.getegid(), subordinate.granted()]
    for tool in subordinate.TOOLS:
        path = subordinate.where(tool)
        status = os.stat(path) if path else None
        seen.append(status and (status.st_ino, status.st_mode, status.st_ctime_ns))
    return content.at(f"ids-{hashlib.sha256(repr(seen).encode()).hexdigest()[:16]}")


def _tried() -> str:
    if tool := subordinate.missing_tool():
        return f"{tool} is not installed; apt install uidmap"
    ids = subordinate.granted()
    if ids is None:
        return (
            "/etc/subuid and /etc/subgid grant no more; as root, "
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
            + subordinate.user_name(os.getuid())
        )
    try:
        call(ids, "nothing", [])
    except Refusal as refusal:
        return str(refusal)
    return ""


def remove(path: str) -> None:
    """Remove a tree in which others of our ids have files. Raises PermissionError if there is
    something of ids that are not ours, or not any more."""
    why = "has files of ids that are not granted; see /etc/subuid and /etc/subgid"
    ids = subordinate.granted()
    if ids is None or subordinate.missing_tool():
        raise PermissionError(errno.EPERM, why, path)
    try:
        call(ids, "remove", [os.path.abspath(path)])
    except Refusal as refusal:
        raise PermissionError(errno.EPERM, why, path) from refusal


def call(ids: Ids, verb: str, arguments: list[Json]) -> Json:
    """Have a process that has these ids, and is root of them, do it; what it answers.

    Raises Refusal, its own or because there cannot be such a process.
    """
    import subprocess
    import sys

    import auberge

    roots = [os.path.dirname(os.path.dirname(auberge.__file__)), os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        "PYTHONPATH": ":".join(filter(None, roots)),
        "AUBERGE_CACHE_DIR": os.path.abspath(cache_directory()),
    }
    command = [sys.executable, "-P", "-m", "auberge.image.oci.mapped_work", verb]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, cwd="/",
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            entered = process.stdout.readline().decode(errors="replace").rstrip()
            if entered == "entered":
                users, groups = ids.user_map(os.geteuid()), ids.group_map(os.getegid())
                subordinate.write_map(subordinate.TOOLS[0], process.pid, users)
                subordinate.write_map(subordinate.TOOLS[1], process.pid, groups)
            said, complaint = process.communicate(json.dumps(arguments).encode() + b"\n")
        except BaseException:
            process.kill()
            raise
    try:
        answer = json.loads(said or entered)
    except ValueError:
        lines = complaint.decode(errors="replace").splitlines() or ["it was killed"]
        raise Refusal(f"a namespace with more ids: {verb}: {lines[-1]}") from None
    if "refused" in answer:
        raise Refusal(answer["refused"])
    return cast(Json, answer["done"])


def unpack(
    ids: Ids, blob: str, root: str, where: str, below: Sequence[str], limits: Limits
) -> tuple[str, Contents]:
    """Unpack a layer's blob with its owners, as unpack.unpack does; its diff_id and Contents."""
    answer = call(ids, "unpack", [blob, root, where, list(below), list(limits)])
    assert isinstance(answer, list)
    return str(answer[0]), read_contents(answer[1])


def merge(ids: Ids, keys: Sequence[str], target: str) -> dict[str, Owner]:
    """Copy layers into a directory as merge.copy_layers does, all as this user's; whose each thing
    is in the layers, by path."""
    answer = call(ids, "merge", [list(keys), target])
    assert isinstance(answer, dict)
    return {path: (uid, gid) for path, (uid, gid) in cast(dict[str, Owner], answer).items()}
