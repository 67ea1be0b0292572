"""Containers of users without privileges: one id of their own, or more by newuidmap."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from auberge.cli.oci_about import template
from auberge.container import stub
from tests.busybox import make_root
from tests.container.bundles import ROOT
from tests.house.source import ROOT as SOURCE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ROOT, reason="only root can be others")]

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
def run(tmp_path):
    """Run a bundle as a user without privileges, with a script."""
    stub.code()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    make_root(tmp_path / "rootfs")
    code = tmp_path / "cache/code"
    code.mkdir(parents=True)
    for name in os.listdir(stub._folder()):
        if name.startswith("stub-"):
            shutil.copy(os.path.join(stub._folder(), name), code)
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


def test_root_is_the_user(run):
    done = run("id -u; cat /proc/self/uid_map /proc/self/setgroups; touch /tmp/x")
    assert done.returncode == 1, done.stderr  # the root is read-only
    assert done.stdout.split() == ["0", "0", str(USER), "1", "deny"]
    assert done.stderr == "touch: /tmp/x: Read-only file system\n"


def test_groups_cannot_be_dropped_to_get_past_a_rule(run):
    """CVE-2014-8989: who leaves a group may be allowed what its members are denied."""
    done = run("echo allow > /proc/self/setgroups; su nobody -s /bin/true; echo over")
    assert done.stdout == "over\n"
    assert "Operation not permitted" in done.stderr


def test_more_groups_are_refused_with_one_id(run):
    def change(config):
        config["process"]["user"]["additionalGids"] = [0]

    done = run("true", change)
    assert (done.returncode, done.stderr) == (
        1,
        "auberge-oci: config.json: $.process.user.additionalGids: with a single group mapped, "
        "groups cannot be set; take them out\n",
    )


def test_ids_of_others_are_refused(run):
    def change(config):
        config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]

    done = run("true", change)
    assert done.returncode == 1
    assert done.stderr.startswith("auberge-oci: newuidmap: ")
    assert (
        done.stderr.endswith("; see /etc/subuid\n") or "install the package uidmap" in done.stderr
    )
