"""A user without privileges, whom tests of root's become: a home, and what is needed there."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.house.source import ROOT as SOURCE

USER = 54321


def python() -> str:
    """A Python that other users may run: ours may be in a closed folder."""
    for path in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run([path, "-c", "import sys; assert sys.version_info >= (3, 11)"],
                                  user=USER, group=USER, extra_groups=[], check=False)  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return path
    pytest.skip("no Python 3.11 here that other users may run")


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A folder for the user's home, which is yet to be given; removed with all that is in it."""
    # not in pytest's folder, which each session closes to others anew
    home = Path(tempfile.mkdtemp(prefix="auberge-home-"))
    try:
        home.chmod(0o755)
        (home / "run").mkdir(mode=0o700)
        yield home
    finally:
        shutil.rmtree(home)


def give(folder: Path, owner: int = USER) -> None:
    """Make a folder a user's own, with all that is in it."""
    for place, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            os.chown(os.path.join(place, name), owner, owner, follow_symlinks=False)


def environment(home: Path) -> dict[str, str]:
    """What a command of the user's has, whose cache is in that home."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(SOURCE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "AUBERGE_CACHE_DIR": str(home / "cache"),
        "XDG_RUNTIME_DIR": str(home / "run"),
    }
