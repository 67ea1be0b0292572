"""Containers whose cgroup a real systemd makes: crun first, and ours."""

import json
import os
from pathlib import Path

import pytest

from tests.container.bundles import Bundle, command_of
from tests.container.systemd_world import world  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(world, request):  # noqa: F811
    """A bundle that the world sees."""
    path = world.folder / "shared" / request.node.name.replace("[", "-").replace("]", "")
    path.mkdir()
    return Bundle(path)


def call(world, bundle, runtime, *words, **more):  # noqa: F811
    """A command of a runtime, in the world."""
    bundle.write()
    return world.call(*command_of(runtime), "--root", bundle.state, "--systemd-cgroup",
                      *words, **more)  # fmt: skip


@pytest.mark.parametrize("runtime", ["runc", "ours"])
def test_a_scope(world, bundle, runtime):  # noqa: F811
    bundle.linux["cgroupsPath"] = "one-two.slice:engine:box"
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
    }
    bundle.process["args"] = ["/bin/sleep", "1000"]
    done = call(world, bundle, runtime, "run", "--detach", "--bundle", bundle.path, bundle.name)
    assert done.returncode == 0, done.stderr
    try:
        shown = world.show("engine-box.scope", "ActiveState", "Slice", "Delegate", "ControlGroup",
                           "TasksAccounting", "TimeoutStopUSec", "CollectMode")  # fmt: skip
        assert shown == {
            "ActiveState": "active",
            "Slice": "one-two.slice",
            "Delegate": "yes",
            "ControlGroup": "/one.slice/one-two.slice/engine-box.scope",
            "TasksAccounting": "yes",
            "TimeoutStopUSec": "7s",
            "CollectMode": "inactive-or-failed",
        }
        state = json.loads(call(world, bundle, runtime, "state", bundle.name).stdout)
        inside = f"{world.cgroup}/one.slice/one-two.slice/engine-box.scope"
        pids = [
            int(pid)
            for folder, _, _ in os.walk(inside)
            for pid in Path(folder, "cgroup.procs").read_text().split()
        ]
        assert len(pids) == 1 and state["status"] == "running"
    finally:
        done = call(world, bundle, runtime, "delete", "--force", bundle.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert not os.path.exists(inside)
    assert world.show("engine-box.scope", "LoadState") == {"LoadState": "not-found"}


def test_without_a_path(world, bundle):  # noqa: F811
    bundle.process["args"] = ["/bin/cat", "/proc/self/cgroup"]
    bundle.linux["namespaces"] = [s for s in bundle.linux["namespaces"] if s["type"] != "cgroup"]
    done = call(world, bundle, "ours", "run", "--bundle", bundle.path, bundle.name)
    last = done.stdout.splitlines()[-1]  # before it a hybrid host has others
    assert last == f"0::/system.slice/auberge-{bundle.name}.scope", done.stderr
    assert world.show(f"auberge-{bundle.name}.scope", "LoadState") == {"LoadState": "not-found"}


def test_the_same_name_twice(world, bundle):  # noqa: F811
    bundle.linux["cgroupsPath"] = "system.slice:twice:box"
    bundle.process["args"] = ["/bin/sleep", "1000"]
    run = ("run", "--detach", "--bundle", bundle.path)
    assert call(world, bundle, "ours", *run, "first").returncode == 0
    try:
        done = call(world, bundle, "ours", *run, "second")
        assert done.returncode == 1
        where = "/sys/fs/cgroup/system.slice/twice-box.scope"
        assert done.stderr.startswith(
            f"auberge-oci: {where}: the cgroup has 1 processes already ("
        ), done.stderr
        assert call(world, bundle, "ours", "list", "-q").stdout == "first\n"
        assert json.loads(call(world, bundle, "ours", "state", "first").stdout)["status"] == (
            "running"
        )
    finally:
        call(world, bundle, "ours", "delete", "--force", "first")


def test_exec_is_in_the_scope_too(world, bundle):  # noqa: F811
    bundle.process["args"] = ["/bin/sleep", "1000"]
    run = ("run", "--detach", "--bundle", bundle.path, bundle.name)
    assert call(world, bundle, "ours", *run).returncode == 0
    try:
        done = call(world, bundle, "ours", "exec", bundle.name, "/bin/cat", "/proc/self/cgroup")
        assert done.stdout.splitlines()[-1] == "0::/", (
            done.stderr
        )  # as its own cgroup namespace has it
    finally:
        call(world, bundle, "ours", "delete", "--force", bundle.name)


def test_a_container_that_systemd_stops(world, bundle):  # noqa: F811
    bundle.process["args"] = ["/bin/sleep", "1000"]
    bundle.linux["cgroupsPath"] = ":stopped:box"
    run = ("run", "--detach", "--bundle", bundle.path, bundle.name)
    assert call(world, bundle, "ours", *run).returncode == 0
    assert world.call("systemctl", "kill", "-s", "KILL", "stopped-box.scope").returncode == 0
    done = world.call("systemctl", "stop", "stopped-box.scope")
    state = json.loads(call(world, bundle, "ours", "state", bundle.name).stdout)
    assert state["status"] == "stopped"
    done = call(world, bundle, "ours", "delete", bundle.name)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_property_that_systemd_does_not_know(world, bundle):  # noqa: F811
    bundle.config["annotations"] = {"org.systemd.property.NoSuchThing": "true"}
    done = call(world, bundle, "ours", "run", "--bundle", bundle.path, bundle.name)
    assert done.returncode == 1
    assert done.stderr == (
        "auberge-oci: systemd: StartTransientUnit: cannot set property NoSuchThing, or unknown "
        "property; correct config.json, or see `systemctl status`\n"
    )
    assert call(world, bundle, "ours", "list", "-q").stdout == ""


def test_the_same_name_again_and_again(world, bundle):  # noqa: F811
    bundle.linux["cgroupsPath"] = ":again:box"
    bundle.process["args"] = ["/bin/true"]
    for _ in range(4):
        assert call(world, bundle, "ours", "create", "--bundle", bundle.path,
                    bundle.name).returncode == 0  # fmt: skip
        assert call(world, bundle, "ours", "start", bundle.name).returncode == 0
        while json.loads(call(world, bundle, "ours", "state", bundle.name).stdout)["status"] != (
            "stopped"
        ):
            pass
        done = call(world, bundle, "ours", "delete", bundle.name)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_that_has_failed_is_taken_over(world, bundle):  # noqa: F811
    bundle.linux["cgroupsPath"] = ":failed:box"
    bundle.process["args"] = ["/bin/true"]
    start = ["systemd-run", "--scope", "--unit=failed-box.scope", "-p", "RuntimeMaxSec=100ms"]
    world.call(*start, "sleep", "100")
    assert world.show("failed-box.scope", "ActiveState") == {"ActiveState": "failed"}
    done = call(world, bundle, "ours", "run", "--bundle", bundle.path, bundle.name)
    assert (done.returncode, done.stderr) == (0, "")
