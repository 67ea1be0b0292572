"""Bundles for every test, removed with all that their containers leave."""

import json
import os
import subprocess

import pytest

from auberge.cli.oci_about import template
from tests.busybox import make_root
from tests.container.bundles import ROOT, Bundle
from tests.shared_stub import share_stub
from tests.user import USER, environment, give, python


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


@pytest.fixture
def run_as_user(tmp_path):
    """Run a bundle as a user without privileges, with a script."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    make_root(tmp_path / "rootfs")
    share_stub(tmp_path / "cache")
    give(tmp_path)
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
            env=environment(tmp_path),
            capture_output=True, text=True, user=USER, group=USER, extra_groups=[],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return call
