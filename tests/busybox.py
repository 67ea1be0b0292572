"""A root file system for containers of tests: Debian's static busybox, and what programs expect."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BUSYBOX = "/bin/busybox"
DIRECTORIES = ["bin", "dev", "etc", "home", "lib", "mnt", "proc", "root", "run", "sys", "tmp"]
DIRECTORIES += ["usr", "var", "var/log"]
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"


def static_busybox() -> str:
    """The host's static busybox; the test is skipped where there is none."""
    try:
        with open(BUSYBOX, "rb") as file:
            # PT_INTERP's text: a dynamic program's loader
            is_static = b"/ld-linux" not in file.read(4096)
    except OSError:
        is_static = False
    if not is_static:
        pytest.skip("no static busybox here; apt install busybox-static")
    return BUSYBOX


def make_root(path: str | os.PathLike[str]) -> Path:
    """Make a root file system in a directory, which need not be there yet; it takes 20 ms."""
    root = Path(path)
    busybox = static_busybox()
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(busybox, root / "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for name in applets.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "sbin").symlink_to("bin")
    (root / "usr/bin").symlink_to("../bin")
    (root / "usr/sbin").symlink_to("../bin")
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    (root / "etc/hostname").write_text("box\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return root
