"""`tmpcopyup`: a new tmpfs begins with what the image has in the folder that it covers.

What is there is read when the plan is made, and written by rows; it is little, such as /run/lock.
"""

import os
import stat

from auberge.container import kernel as k
from auberge.container.light import NamedTuple
from auberge.container.stage import O_CLOEXEC, O_CREAT, O_EXCL, O_NOFOLLOW, Stage
from auberge.refusal import Refusal

MOST, LARGEST = 1000, 1 << 20  # entries, bytes of them all


class Entry(NamedTuple):
    """A file, folder or link, by its path from the folder; `content` is a link's target, too."""

    path: str
    mode: int  # with its type
    uid: int
    gid: int
    content: bytes = b""


class CopyUp(NamedTuple):
    """Write into a folder of the container's what the image has there."""

    path: str
    entries: tuple[Entry, ...]
    owners: bool  # whether ids are the image's; in a user namespace they are others

    def rows(self, stage: Stage) -> None:
        """Folders come before what is in them."""
        table = stage.table
        for entry in self.entries:
            above, _, name = f"{self.path}/{entry.path}".rpartition("/")
            folder, text = stage.place(above), table.text(name)
            if stat.S_ISLNK(entry.mode):
                table.call("symlinkat", table.text(entry.content), folder, text)
            elif stat.S_ISDIR(entry.mode):
                table.call("mkdirat", folder, text, entry.mode & 0o7777)
            else:
                flags = O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | os.O_WRONLY
                file = table.keep("openat", folder, text, flags, entry.mode & 0o7777)
                if entry.content:
                    table.call("write", file, table.data(entry.content), len(entry.content))
                stage.close(file)
            if self.owners:
                table.call("fchownat", folder, text, entry.uid, entry.gid, k.AT_SYMLINK_NOFOLLOW)
            stage.close(folder)


def entries_of(root: str, path: str) -> tuple[Entry, ...]:
    """What an image has in a folder; nothing, if a link leads there.

    Raises Refusal if it is a lot.
    """
    top = os.path.join(root, path.strip("/"))
    if os.path.realpath(top) != os.path.join(os.path.realpath(root), path.strip("/")):
        return ()
    found: list[Entry] = []
    size = 0
    for folder, folders, files in os.walk(top):
        for name in sorted([*folders, *files]):
            here = os.path.join(folder, name)
            status = os.lstat(here)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(here))
            elif stat.S_ISREG(status.st_mode):
                content = _read(here, LARGEST - size)
            elif not stat.S_ISDIR(status.st_mode):
                continue  # a device or a socket is no content
            size += len(content)
            if len(found) == MOST or size > LARGEST:
                raise Refusal(
                    f"config.json: $.mounts: {path}: tmpcopyup would copy more than {MOST} files "
                    f"or {LARGEST} bytes; mount a volume there"
                )
            inner = os.path.relpath(here, top)
            found.append(Entry(inner, status.st_mode, status.st_uid, status.st_gid, content))
    return tuple(found)


def _read(path: str, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read(most + 1)
