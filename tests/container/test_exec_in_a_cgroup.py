"""`exec --cgroup`: a process in a cgroup below the container's."""

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def running(bundle):
    """A container, and its folders of cgroups with controllers."""
    bundle.create("ours", "sleep 100")
    assert bundle.call("ours", "start", bundle.name).returncode == 0
    state = json.loads((bundle.state / bundle.name / "state.json").read_text())
    return bundle, state["cgroups"]


def test_it_is_there_and_nowhere_else(running):
    bundle, cgroups = running
    for place in cgroups:
        os.mkdir(f"{place['path']}/inner")
        if "cpuset" in place["controllers"] and place["version"] == 1:  # empty ones take nobody
            for file in ("cpuset.cpus", "cpuset.mems"):
                value = Path(place["path"], file).read_text()
                Path(place["path"], "inner", file).write_text(value)
    done = bundle.call("ours", "exec", "--cgroup", "inner", bundle.name, "cat", "/proc/self/cgroup")
    assert done.returncode == 0, done.stderr
    seen = [line.rpartition(":")[2] for line in done.stdout.splitlines()]
    assert seen.count("/inner") >= len([p for p in cgroups if p["version"] == 1]) > 0


def test_of_one_controller_alone(running):
    bundle, cgroups = running
    pids = [place for place in cgroups if "pids" in place["controllers"] and place["version"] == 1]
    if not pids:
        pytest.skip("pids are not counted by cgroup v1 here")
    os.mkdir(f"{pids[0]['path']}/inner")
    words = ["exec", "--cgroup", "pids:/inner", bundle.name, "cat", "/proc/self/cgroup"]
    done = bundle.call("ours", *words)
    lines = [line for line in done.stdout.splitlines() if line.endswith("/inner")]
    assert [line.split(":")[1] for line in lines] == ["pids"], done.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nosuch", "/nosuch: no such cgroup; make it first"),
        ("a/../..", "'a/../..' leads upwards; write it without '..'"),
        ("quux:/", "'quux:/': there is no controller 'quux'; leave it out"),
    ],
)
def test_what_cannot_be(running, text, why):
    bundle, _ = running
    done = bundle.call("ours", "exec", "--cgroup", text, bundle.name, "true")
    assert done.returncode != 0
    assert done.stderr.startswith("auberge-oci: --cgroup: ") and done.stderr.endswith(why + "\n")
