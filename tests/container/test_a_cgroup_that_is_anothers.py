"""A container whose cgroup is somebody's already is refused, and does nothing to who is there."""

import os
import time

import pytest

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import read_layout
from tests.container.bundles import Bundle
from tests.until import until

pytestmark = pytest.mark.slow


def second_in(path, tmp_path):
    """One more bundle, whose container is to be in that cgroup."""
    (tmp_path / "second").mkdir()
    second = Bundle(tmp_path / "second")
    second.linux["cgroupsPath"] = path
    return second


@pytest.mark.parametrize("below", ["", "/below"], ids=["in_it", "below_it"])
def test_a_second_container_does_not_end_the_first(bundle, tmp_path, below):
    path = f"/auberge-shared-{os.getpid()}"
    bundle.linux["cgroupsPath"] = f"{path}{below}"
    bundle.create("ours", "sleep 100")
    assert bundle.call("ours", "start", bundle.name).returncode == 0
    done = second_in(path, tmp_path).run("ours", "echo hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert "processes already" in done.stderr
    time.sleep(0.1)
    assert bundle.status("ours") == "running"
    bundle.remove("ours")
    Cgroup(read_layout().place(path, "")).delete()


def test_what_is_not_there_yet_or_has_nobody_in_it_is_taken(bundle):
    bundle.linux["cgroupsPath"] = f"/auberge-ready-{os.getpid()}"
    made = Cgroup(read_layout().place(bundle.linux["cgroupsPath"], "")).create()
    assert bundle.said("ours", "echo hello") == "hello\n"
    assert not any(os.path.exists(node.path) for node in made.nodes)


def test_who_took_the_cgroup_of_one_that_has_ended_outlives_its_deletion(bundle, tmp_path):
    bundle.linux["cgroupsPath"] = path = f"/auberge-taken-{os.getpid()}"
    bundle.create("ours", "true")
    assert bundle.call("ours", "start", bundle.name).returncode == 0
    until(lambda: bundle.status("ours") == "stopped")
    second = second_in(path, tmp_path)
    second.create("ours", "sleep 100")
    try:
        assert bundle.call("ours", "delete", bundle.name).returncode == 0
        assert second.status("ours") == "created"
    finally:
        second.remove("ours")
    nodes = read_layout().place(path, "")
    assert not any(os.path.exists(node.path) for node in nodes)
