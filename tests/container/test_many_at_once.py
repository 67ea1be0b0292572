"""Many containers of one program, from threads: nothing is left of any of them."""

import json
import os
import threading

import pytest

from auberge.cli.oci_about import template
from auberge.container.config import Config
from auberge.container.config_file import parse
from auberge.container.mounts import MountOverlay
from auberge.container.runtime import Container, Start, prepare_config
from tests.busybox import make_root
from tests.cgroup_folders import cgroup_folders
from tests.container.bundles import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ROOT, reason="only root may do that")]

THREADS, EACH, FLYING = 4, 8, 60


@pytest.fixture
def start(tmp_path):
    """Start a container over an overlay; its first process is our child."""
    root = make_root(tmp_path / "rootfs")
    null = os.open(os.devnull, os.O_RDWR)

    def call(name, *args):
        config = template(rootless=False)
        config["root"]["readonly"] = False
        config["process"] |= {"terminal": False, "args": list(args)}
        read = parse(json.dumps(config).encode(), Config, "config.json")
        for part in ("upper", "work"):
            (tmp_path / name / part).mkdir(parents=True)
        own = tmp_path / name
        overlay = MountOverlay((str(root),), f"{own}/upper", f"{own}/work", str(root))
        how = Start(streams=(null, null, null), overlay=overlay, sparing=True)
        container = Container(str(tmp_path / "state"), f"many-{os.getpid()}-{name}")
        child = container.create(prepare_config(read, str(tmp_path), container.id, how), how)
        child.close()
        return container, child.pid

    yield call
    os.close(null)


def left(tmp_path):
    """What the host has of them: descriptors, mounts, cgroups, records."""
    with open("/proc/self/mountinfo") as file:
        mounts = [line for line in file if str(tmp_path) in line]
    cgroups = [folder for folder in cgroup_folders() if f"many-{os.getpid()}-" in folder]
    state = tmp_path / "state"
    return len(os.listdir("/proc/self/fd")), mounts, cgroups, sorted(os.listdir(state))


def test_threads_run_containers_to_their_ends(start, tmp_path):
    (tmp_path / "state").mkdir()
    before = left(tmp_path)
    statuses = []

    def work(thread):
        for number in range(EACH):
            name = f"{thread}-{number}"
            container, pid = start(name, "/bin/sh", "-c", f"echo {name} > /tmp/it; exit {number}")
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == number)
            container.delete(force=True)
            statuses.append((tmp_path / name / "upper/tmp/it").read_text() == f"{name}\n")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [True] * (2 * THREADS * EACH)
    assert left(tmp_path) == before


def test_many_in_flight_leave_nothing(start, tmp_path):
    (tmp_path / "state").mkdir()
    before = left(tmp_path)
    started = [start(str(number), "/bin/sleep", "1000") for number in range(FLYING)]
    assert all(container.state()["status"] == "running" for container, _ in started)
    for container, pid in started:
        container.delete(force=True)
        os.waitpid(pid, 0)
    assert left(tmp_path) == before
