"""Bundles for every test, removed with all that their containers leave."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from auberge.cli.oci_about import template
from auberge.container import stub
from tests.busybox import make_root
from tests.container.bundles import ROOT, Bundle
from tests.house.source import ROOT as SOURCE


@pytest.fixture
def bundle(tmp_path):
    """A bundle of this test's own."""
    if not ROOT:
        pytest.skip("only root may do that")
    made = Bundle(tmp_path)
    yield made
    made.remove("ours")


@pytest.fixture(params=["ours", "runc"])
def runtime(request):
    """The runtime, and the reference: what the reference does not hold is no claim of the spec."""
    return request.param


@pytest.fixture
def outside(tmp_path):
    """A folder of the host's that no container may see."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("of the host\n")
    return folder


USER = 54321


def python():
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


@pytest.fixture
def run_as_user(tmp_path):
    """Run a bundle as a user without privileges, with a script."""
    stub.code()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    make_root(tmp_path / "rootfs")
    code = tmp_path / "cache/code"
    code.mkdir(parents=True)
    for name in os.listdir(stub.cache_folder()):
        if name.startswith("stub-"):
            shutil.copy(os.path.join(stub.cache_folder(), name), code)
    for folder, folders, files in os.walk(tmp_path):
        for name in (".", *folders, *files):
            os.chown(os.path.join(folder, name), USER, USER, follow_symlinks=False)
    interpreter = python()

    def call(script, change=lambda config: None):
        config = template(rootless=True)
        config["process"] |= {"terminal": False, "args": ["/bin/sh", "-c", script]}
        for name in ("uidMappings", "gidMappings"):
            config["linux"][name] = [{"containerID": 0, "hostID": USER, "size": 1}]
        change(config)
        (tmp_path / "config.json").write_text(json.dumps(config))
        return subprocess.run(
            [interpreter, "-m", "auberge.cli.oci", "--root", str(tmp_path / "state"), "run",
             "--bundle", str(tmp_path), f"rootless-{os.getpid()}"],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCE), "HOME": str(tmp_path),
                 "PYTHONDONTWRITEBYTECODE": "1", "AUBERGE_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True, text=True, user=USER, group=USER, extra_groups=[],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return call
