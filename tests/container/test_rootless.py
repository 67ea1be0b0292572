"""Containers of users without privileges: one id of their own, or more by newuidmap."""

import pytest

from tests.container.bundles import ROOT
from tests.user import USER

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ROOT, reason="only root can be others")]


@pytest.fixture
def run(run_as_user):
    """Run a bundle as a user without privileges, with a script."""
    return run_as_user


def test_root_is_the_user(run):
    done = run("id -u; cat /proc/self/uid_map /proc/self/setgroups; touch /tmp/x")
    assert done.returncode == 1, done.stderr  # the root is read-only
    assert done.stdout.split() == ["0", "0", str(USER), "1", "deny"]
    assert done.stderr == "touch: /tmp/x: Read-only file system\n"


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
