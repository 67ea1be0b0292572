"""The image `box:riscv64` for tests of containers in machines: the busybox that is in the cell."""

import io
import os
import shutil
import tarfile

import pytest

from auberge.engine.cache import folder as folder_of_code
from auberge.image import build
from auberge.image.oci.importer import import_image
from auberge.refusal import Refusal
from tests.busybox import DIRECTORIES
from tests.image.newc import read_back
from tests.image.oci.archives import write_layout

PASSWD = "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home:/bin/sh\n"
GROUP = "root:x:0:\nguest:x:1000:\nplayers:x:2000:guest\n"
SETTINGS = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "MADE=by a test"], "WorkingDir": "/home"}


def layer(initrd):
    """A layer of the busybox that is in the cell, for the machine's architecture."""
    with open(initrd, "rb") as file:
        files = {name: (mode, data) for name, mode, data, _ in read_back(file.read())}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:

        def add(name, kind=tarfile.REGTYPE, data=b"", mode=0o755, target="", owner=0):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname = kind, mode, len(data), target
            info.uid = info.gid = owner
            archive.addfile(info, io.BytesIO(data))

        for name in DIRECTORIES:
            add(name, tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
        add("bin/busybox", data=files["bin/busybox"][1])
        for name, (mode, data) in files.items():
            if name.startswith("bin/") and mode >> 12 == 0o12:
                add(name, tarfile.SYMTYPE, target=data.decode())
        add("etc/passwd", data=PASSWD.encode(), mode=0o644)
        add("etc/group", data=GROUP.encode(), mode=0o644)
        add("home/of guest", data=b"x", mode=0o600, owner=1000)
        add("var/linked", tarfile.SYMTYPE, target="/run")
        add("home/data", data=b"only data\n", mode=0o644)
    return out.getvalue()


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A cache with the image `box:riscv64`, and what else machines need, from the usual one."""
    try:
        cell = build("cell", "riscv64")
    except Refusal as refusal:
        pytest.skip(str(refusal))
    if shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("no mke2fs here; apt install e2fsprogs")
    cache = tmp_path_factory.mktemp("machines") / "cache"
    (cache / "images").mkdir(parents=True)
    os.symlink(cell.directory, cache / "images/cell-riscv64")
    os.symlink(folder_of_code(), cache / "code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUBERGE_CACHE_DIR", str(cache))
        where = write_layout(cache, [layer(cell.initrd)], "riscv64", **SETTINGS)
        import_image(where, None, lambda done, whole: None)
        yield cache
