"""The image `box` for tests of guests: Debian's static busybox, imported as users import images."""

import io
import os
import shutil
import subprocess
import tarfile
from functools import cache

import pytest

from auberge.image.oci.importer import import_image
from auberge.image.oci.names import host_architecture
from tests.busybox import make_root
from tests.cgroup_folders import cgroup_folders
from tests.command import AUBERGE
from tests.image.oci.archives import write_layout
from tests.shared_stub import share_stub

SETTINGS = {
    "Cmd": ["/bin/sh"],
    "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MADE=by a test"],
    "WorkingDir": "/home",
    "StopSignal": "SIGUSR1",
}


@cache
def layer():
    """One layer with busybox and its applets."""
    import tempfile

    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = make_root(folder)
        with open(root / "etc/passwd", "a") as file:
            file.write("guest:x:1000:1000:guest:/home:/bin/sh\n")
        with open(root / "etc/group", "a") as file:
            file.write("guest:x:1000:\nplayers:x:2000:guest\n")
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.add(root, ".", filter=_of_root)
    return out.getvalue()


def _of_root(info):
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def write_box(folder, name="box", more=(), **settings):
    """Write a layout of it, with `more` layers over its own, and other settings; its path."""
    layers = [layer(), *more]
    return write_layout(folder, layers, host_architecture(), name, **{**SETTINGS, **settings})


def fill(folder, **settings):
    """A cache directory with `box` in it, and with the code that else each would generate."""
    share_stub(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUBERGE_CACHE_DIR", str(folder))
        where = write_box(folder, **settings)
        import_image(where, None, lambda done, whole: None)
    shutil.rmtree(where)
    return folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Such a cache directory for a module's tests."""
    return fill(tmp_path_factory.mktemp("boxes") / "cache")


@pytest.fixture
def box(filled, tmp_path_factory, monkeypatch):
    """The same for one test, which sees in the end that no guest has left anything."""
    if os.geteuid() != 0:
        pytest.skip("only root has the bridge and cgroups that these tests look at")
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(filled))
    # a short name, for sockets are in it (unix(7)); it is nobody else's
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
    yield filled
    assert left(filled) == []


def left(cache):
    """What guests of this cache have on the host: folders, mounts, cgroups, holds, processes."""
    found = []
    for place in ("guests", "oci/users"):
        if (cache / place).is_dir():
            found += [f"{place}/{name}" for name in os.listdir(cache / place)]
    for program in (cache / "programs").glob("*"):
        found += [f"programs/{program.name}/{name}" for name in os.listdir(program)]
    ids = {name.rpartition("/")[2] for name in found}
    with open("/proc/self/mountinfo") as file:
        found += [line for line in file if str(cache) in line]
    found += [folder for folder in cgroup_folders() if os.path.basename(folder) in ids]
    return found


def auberge(*words, **more):
    """Run our command line to its end."""
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [*AUBERGE, *words],
        capture_output=True, text=True, timeout=60, **more,
    )  # fmt: skip
