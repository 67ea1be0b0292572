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
def run_as_user(open_path):
    """Run a bundle in `open_path` as a user without privileges, with a script."""
    make_root(open_path / "rootfs")
    share_stub(open_path / "cache")
    give(open_path)
    interpreter = python()

    def call(script, change=lambda config: None):
        config = template(rootless=True)
        config["process"] |= {"terminal": False, "args": ["/bin/sh", "-c", script]}
        for name in ("uidMappings", "gidMappings"):
            config["linux"][name] = [{"containerID": 0, "hostID": USER, "size": 1}]
        change(config)
        (open_path / "config.json").write_text(json.dumps(config))
        return subprocess.run(
            [interpreter, "-m", "auberge.cli.oci", "--root", str(open_path / "state"), "run",
             "--bundle", str(open_path), f"rootless-{os.getpid()}"],
            env=environment(open_path),
            capture_output=True, text=True, user=USER, group=USER, extra_groups=[],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return call
