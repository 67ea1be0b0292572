"""A user without privileges whom /etc/subuid grants ids, in a world of his own: the host's files
stay as they are, for his are mounted over them in a mount namespace of each command's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.user import USER, environment, python

FIRST, COUNT = 1_300_000, 65536
FILES = ("passwd", "subuid", "subgid")
ENTER = """
for file in passwd subuid subgid; do mount --bind "$1/$file" "/etc/$file" || exit 99; done
shift
exec setpriv --reuid=USER --regid=USER --clear-groups "$@"
""".replace("USER", str(USER))


class Somebody:
    """The user, whose home is `home`; `grant` says how many ids he has beside his own."""

    def __init__(self, home: Path) -> None:
        for tool in ("newuidmap", "newgidmap", "setpriv", "unshare"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed: apt install uidmap util-linux")
        if not all(os.path.exists(f"/etc/{name}") for name in FILES):
            pytest.skip("no /etc/subuid to mount another one over: touch /etc/subuid /etc/subgid")
        self.home = home
        self.etc = home / "etc"
        self.etc.mkdir()
        passwd = Path("/etc/passwd").read_text()
        (self.etc / "passwd").write_text(f"{passwd}auberge-test:x:{USER}:{USER}::{home}:/bin/sh\n")
        self.grant(COUNT)
        self.interpreter = python()

    def grant(self, count: int) -> None:
        """Grant so many ids from now on; none for 0."""
        line = f"auberge-test:{FIRST}:{count}\n" if count else ""
        for name in ("subuid", "subgid"):
            (self.etc / name).write_text(line)

    def does(self, *command: str, **more):
        """Run a command as him."""
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh",
             str(self.etc), *command],
            env=environment(self.home), capture_output=True, text=True, cwd="/", timeout=100,
            **more,
        )  # fmt: skip

    def auberge(self, *words: str, **more):
        """Run our command line as him."""
        return self.does(self.interpreter, "-m", "auberge.cli.main", *words, **more)
