"""Containers whose cgroup a real systemd makes: runc first, and ours."""

import json
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import jeepney
import pytest

import auberge
from auberge.cli.oci_about import template
from tests.container.bundles import Bundle, make_launcher
from tests.container.systemd_world import USER
from tests.container.systemd_world import world as world
from tests.shared_stub import share_stub
from tests.until import until
from tests.user import give, python

pytestmark = pytest.mark.slow


class BundleOfWorld(Bundle):
    """A bundle that the world sees, whose runtimes run there and ask its systemd."""

    def __init__(self, path, world):
        super().__init__(path)
        self.world = world

    def command(self, runtime, *words):
        return super().command(runtime, "--systemd-cgroup", *words)

    def call(self, runtime, *words, **more):
        self.write()
        return self.world.call(*self.command(runtime, *words), **more)

    @contextmanager
    def sleeping(self, runtime="ours"):
        """While it sleeps; then it is deleted, without a complaint."""
        self.process["args"] = ["/bin/sleep", "1000"]
        done = self.run(runtime, None, "--detach")
        assert done.returncode == 0, done.stderr
        try:
            yield
        finally:
            done = self.call(runtime, "delete", "--force", self.name)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def bundle(world, request):
    path = world.folder / "shared" / request.node.name.replace("[", "-").replace("]", "")
    path.mkdir()
    return BundleOfWorld(path, world)


@pytest.mark.parametrize("runtime", ["runc", "ours"])
def test_a_scope(world, bundle, runtime):
    bundle.linux["cgroupsPath"] = "one-two.slice:engine:box"
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
    }
    with bundle.sleeping(runtime):
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
        inside = f"{world.cgroup}/one.slice/one-two.slice/engine-box.scope"
        pids = [
            int(pid)
            for folder, _, _ in os.walk(inside)
            for pid in Path(folder, "cgroup.procs").read_text().split()
        ]
        assert len(pids) == 1 and bundle.status(runtime) == "running"
    assert not os.path.exists(inside)
    assert world.show("engine-box.scope", "LoadState") == {"LoadState": "not-found"}


def test_without_a_path(world, bundle):
    bundle.process["args"] = ["/bin/cat", "/proc/self/cgroup"]
    bundle.linux["namespaces"] = [s for s in bundle.linux["namespaces"] if s["type"] != "cgroup"]
    done = bundle.run("ours")
    last = done.stdout.splitlines()[-1]  # before it a hybrid host has others
    assert last == f"0::/system.slice/auberge-{bundle.name}.scope", done.stderr
    assert world.show(f"auberge-{bundle.name}.scope", "LoadState") == {"LoadState": "not-found"}


def test_the_same_name_twice(world, bundle):
    bundle.linux["cgroupsPath"] = "system.slice:twice:box"
    bundle.process["args"] = ["/bin/sleep", "1000"]
    run = ("run", "--detach", "--bundle", bundle.path)
    assert bundle.call("ours", *run, "first").returncode == 0
    try:
        done = bundle.call("ours", *run, "second")
        assert done.returncode == 1
        where = "/sys/fs/cgroup/system.slice/twice-box.scope"
        assert done.stderr.startswith(
            f"auberge-oci: {where}: the cgroup has 1 processes already ("
        ), done.stderr
        assert bundle.call("ours", "list", "-q").stdout == "first\n"
        state = json.loads(bundle.call("ours", "state", "first").stdout)
        assert state["status"] == "running"
    finally:
        bundle.call("ours", "delete", "--force", "first")


def test_exec_is_in_the_scope_too(world, bundle):
    with bundle.sleeping():
        done = bundle.call("ours", "exec", bundle.name, "/bin/cat", "/proc/self/cgroup")
        # as its own cgroup namespace has it
        assert done.stdout.splitlines()[-1] == "0::/", done.stderr


def test_a_container_that_systemd_stops(world, bundle):
    bundle.process["args"] = ["/bin/sleep", "1000"]
    bundle.linux["cgroupsPath"] = ":stopped:box"
    assert bundle.run("ours", None, "--detach").returncode == 0
    assert world.call("systemctl", "kill", "-s", "KILL", "stopped-box.scope").returncode == 0
    world.call("systemctl", "stop", "stopped-box.scope")
    assert bundle.status("ours") == "stopped"
    done = bundle.call("ours", "delete", bundle.name)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_property_that_systemd_does_not_know(world, bundle):
    bundle.config["annotations"] = {"org.systemd.property.NoSuchThing": "true"}
    done = bundle.run("ours")
    assert done.returncode == 1
    assert done.stderr == (
        "auberge-oci: systemd: StartTransientUnit: cannot set property NoSuchThing, or unknown "
        "property; correct config.json, or see `systemctl status`\n"
    )
    assert bundle.call("ours", "list", "-q").stdout == ""


def test_the_same_name_again_and_again(world, bundle):
    bundle.linux["cgroupsPath"] = ":again:box"
    bundle.process["args"] = ["/bin/true"]
    for _ in range(4):
        assert bundle.call("ours", "create", "--bundle", bundle.path,
                    bundle.name).returncode == 0  # fmt: skip
        assert bundle.call("ours", "start", bundle.name).returncode == 0
        until(lambda: bundle.status("ours") == "stopped")
        done = bundle.call("ours", "delete", bundle.name)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_that_has_failed_is_taken_over(world, bundle):
    bundle.linux["cgroupsPath"] = ":failed:box"
    bundle.process["args"] = ["/bin/true"]
    start = ["systemd-run", "--scope", "--unit=failed-box.scope", "-p", "RuntimeMaxSec=100ms"]
    world.call(*start, "sleep", "100")
    assert world.show("failed-box.scope", "ActiveState") == {"ActiveState": "failed"}
    done = bundle.run("ours")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_users_systemd(world, bundle):
    done = world.call("systemctl", "start", "users.service")
    assert done.returncode == 0, done.stderr
    bundle.config = template(rootless=True)
    bundle.config["process"] = {**bundle.config["process"], "terminal": False,
                                "args": ["/bin/cat", "/proc/self/cgroup"]}  # fmt: skip
    spaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [s for s in spaces if s["type"] != "cgroup"]
    code = bundle.path / "code"
    for package in (os.path.dirname(auberge.__file__), os.path.dirname(jeepney.__file__)):
        shutil.copytree(package, code / os.path.basename(package))
    cache = bundle.path / "cache"
    share_stub(cache)
    give(cache, USER)
    for key in ("uidMappings", "gidMappings"):
        bundle.config["linux"][key] = [{"containerID": 0, "hostID": USER, "size": 1}]
    bundle.write()
    bundle.path.chmod(0o755)
    user = {"user": USER, "XDG_RUNTIME_DIR": f"/run/user/{USER}", "HOME": "/tmp",
            "PYTHONPATH": str(code),
            "AUBERGE_CACHE_DIR": str(cache)}  # fmt: skip
    runtime = [python(), "-m", "auberge.cli.oci", "--root", f"/run/user/{USER}/c",
               "--systemd-cgroup", "run", "--bundle", bundle.path, bundle.name]  # fmt: skip
    done = world.call(*runtime, **user)
    assert done.stderr == (
        "auberge-oci: --systemd-cgroup: this process is in the cgroup /work, outside of what this "
        "user's systemd has; start it with `systemd-run --user --scope`\n"
    )
    done = world.call("systemd-run", "--user", "--scope", "-q", *runtime, **user)
    where = f"/user.slice/users.service/user.slice/auberge-{bundle.name}.scope"
    assert done.stdout.splitlines()[-1:] == [f"0::{where}"], done.stderr


PODMAN = """
[containers]
pids_limit = 0
[engine]
cgroup_manager = "systemd"
events_logger = "file"
"""


def test_podman_with_its_cgroup_manager_systemd(world, bundle):
    if shutil.which("podman") is None:
        pytest.skip("no podman here; apt install podman")
    runtime = make_launcher(bundle.path)
    (bundle.path / "containers.conf").write_text(PODMAN)
    words = ["podman", "--root", bundle.path / "root", "--runroot", "/run/pod",
             "--storage-driver", "vfs", "--runtime", runtime]  # fmt: skip

    def podman(*more):
        return world.call(*words, *more, CONTAINERS_CONF=str(bundle.path / "containers.conf"))

    run = ("run", "-d", "--name", "box", "--network", "none", "--cgroupns", "host", "--ulimit",
           "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--rootfs", bundle.root)  # fmt: skip
    done = podman(*run, "/bin/sleep", "1000")
    assert done.returncode == 0, done.stderr
    unit = f"libpod-{done.stdout.strip()}.scope"
    shown = world.show(unit, "ActiveState", "Slice", "Description")
    assert shown == {
        "ActiveState": "active",
        "Slice": "machine.slice",
        "Description": f"auberge-oci container {done.stdout.strip()}",
    }
    done = podman("exec", "box", "/bin/cat", "/proc/self/cgroup")
    assert done.stdout.splitlines()[-1] == f"0::/machine.slice/{unit}", done.stderr
    for _ in range(2):
        done = podman("restart", "-t", "0", "box")
        assert done.returncode == 0, done.stderr
        assert world.show(unit, "ActiveState") == {"ActiveState": "active"}
    done = podman("rm", "-f", "-t", "0", "box")
    assert done.returncode == 0, done.stderr
    assert world.show(unit, "LoadState") == {"LoadState": "not-found"}


@pytest.mark.parametrize("percent", range(10, 110, 10))
def test_a_runtime_that_is_killed(world, bundle, percent):
    bundle.linux["cgroupsPath"] = f":killed:{percent}"
    bundle.process["args"] = ["/bin/sleep", "1000"]
    unit = f"killed-{percent}.scope"
    create = ("create", "--bundle", bundle.path, bundle.name)
    begun = time.monotonic()
    assert bundle.call("ours", *create).returncode == 0
    took = time.monotonic() - begun
    bundle.call("ours", "delete", "--force", bundle.name)
    late = f"{took * percent / 100:.3f}"
    world.call("timeout", "-s", "KILL", late, *bundle.command("ours", *create))
    done = bundle.call("ours", "delete", "--force", bundle.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert bundle.call("ours", "list", "-q").stdout == ""
    assert world.show(unit, "LoadState") == {"LoadState": "not-found"}
    assert not os.path.exists(f"{world.cgroup}/system.slice/{unit}")


def test_a_daemon_reload_changes_nothing(world, bundle):
    bundle.linux["cgroupsPath"] = ":reloaded:box"
    with bundle.sleeping():
        assert world.call("systemctl", "daemon-reload").returncode == 0
        script = "echo > /dev/null && ! head -c 1 /dev/kmsg 2> /dev/null && cat /proc/self/cgroup"
        done = bundle.call("ours", "exec", bundle.name, "/bin/sh", "-c", script)
        assert done.stdout.splitlines()[-1:] == ["0::/"], done.stderr
        shown = world.show("reloaded-box.scope", "ActiveState", "Delegate")
        assert shown == {"ActiveState": "active", "Delegate": "yes"}
