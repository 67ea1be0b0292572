"""The folder of this user's run-time files, in XDG_RUNTIME_DIR or /tmp: nobody else's."""

import os
import stat

from auberge.refusal import Refusal, reason


def own_folder() -> str:
    """The folder, made if it is not there; raises Refusal if it cannot be ours alone."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = os.path.join(base, "auberge") if base else f"/tmp/auberge-{os.geteuid()}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise Refusal(
            f"{path}: {reason(error)}; set XDG_RUNTIME_DIR to a folder of yours"
        ) from None
    check_ours(path)
    return path


def check_ours(path: str) -> None:
    """Raise Refusal unless that is a folder, ours, and nobody else can use it."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise Refusal(
            f"{path}: not a folder of yours alone, and who can write there could pose as a guest;"
            " remove it, or chmod 700"
        )
