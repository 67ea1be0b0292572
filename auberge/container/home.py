"""HOME, as runc sets it where config.json does not: by the container's passwd(5)."""

import os
import stat

from auberge.container.config import Process

LARGEST = 1 << 20  # bytes of a passwd that are looked at


def with_home(process: Process, root: str) -> Process:
    """The process with HOME in its environment; `root` is the container's, as a folder of ours."""
    home = lacking(process, root)
    return process if home is None else process._replace(env=(*process.env, home))


def lacking(process: Process, root: str) -> str | None:
    """The setting of HOME, if the process has none."""
    if any(setting.startswith("HOME=") for setting in process.env):
        return None
    return f"HOME={home_of(root, process.user.uid)}"


def home_of(root: str, uid: int) -> str:
    """The home of a user; `/` if there is none. Links of the image's are not followed."""
    opened: list[int] = []
    try:
        flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened.append(os.open(root, os.O_DIRECTORY | os.O_CLOEXEC))
        opened.append(os.open("etc", flags | os.O_DIRECTORY, dir_fd=opened[0]))
        opened.append(os.open("passwd", flags, dir_fd=opened[1]))
        text = os.read(opened[2], LARGEST) if stat.S_ISREG(os.fstat(opened[2]).st_mode) else b""
    except OSError:
        return "/"
    finally:
        for fd in opened:
            os.close(fd)
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2] == str(uid) and fields[5].startswith("/"):
            return fields[5].replace("\0", "") or "/"
    return "/"
