"""Cgroups are made, frozen, killed and removed with all that is in them, on this host's kernel."""

import os
import signal
import subprocess
import sys
import time

import pytest

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import Node
from auberge.refusal import Refusal
from tests.container.confined import at_the_end, fresh_cgroup, need, start

COUNT = """
import time
print("in", flush=True)
n = 0
while True:
    n += 1
    print(n, flush=True)
    time.sleep(0.001)
"""
HERD = """
import time
for _ in range(30):
    if not os.fork(): break
os.write(1, b"in\\n")
while True:
    try:
        if not os.fork(): time.sleep(0.001)
    except OSError: time.sleep(0.01)
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def cgroup():
    yield from at_the_end(fresh_cgroup("life")[1])


def only(cgroup, *versions_and_controllers):
    """The part of a cgroup with these controllers, as a host has it that has no others."""
    return Cgroup([n for n in cgroup.nodes if set(n.controllers) & {*versions_and_controllers}])


def unified(cgroup):
    return Cgroup([n for n in cgroup.nodes if n.version == 2])


def test_a_process_is_in_all_hierarchies(cgroup):
    process = start(cgroup, COUNT)
    assert process.stdout.readline() == "in\n"
    assert cgroup.processes() == [process.pid]
    with open(f"/proc/{process.pid}/cgroup") as file:
        places = [line.rstrip("\n").rpartition("/")[2] for line in file]
    mine = os.path.basename(cgroup.nodes[0].path)
    assert places.count(mine) == len(cgroup.nodes)
    process.kill()
    process.communicate()


def test_another_process_can_be_moved_into_it(cgroup):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    cgroup.add(process.pid)
    assert cgroup.processes() == [process.pid]
    cgroup.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


MANY = """
import time
for _ in range(1499):
    if not os.fork(): time.sleep(60); os._exit(0)
os.write(1, b"in\\n")
time.sleep(60)
"""


def test_a_list_of_processes_that_is_longer_than_a_page(cgroup):
    process = start(cgroup, MANY)
    assert process.stdout.readline() == "in\n"
    assert len(cgroup.processes()) == 1500
    cgroup.kill()
    process.communicate()


def drained(stream):
    """What there is to read now, until there is nothing more."""
    os.set_blocking(stream.fileno(), False)
    found = b""
    while True:
        try:
            more = os.read(stream.fileno(), 1 << 16)
        except BlockingIOError:
            return found
        found += more


@pytest.mark.parametrize("way", ["v1", "v2"])
def test_what_is_frozen_does_nothing(cgroup, way):
    mine = only(cgroup, "freezer") if way == "v1" else unified(cgroup)
    if not mine.nodes:
        pytest.skip(f"this host has no freezer of {way}")
    process = start(cgroup, COUNT)
    assert process.stdout.readline() == "in\n"
    mine.freeze()
    assert mine.frozen
    drained(process.stdout)
    ticks = processor_time(process.pid)
    time.sleep(0.05)  # in which it would have counted to about 50
    assert drained(process.stdout) == b""
    assert processor_time(process.pid) == ticks
    mine.freeze()  # once more changes nothing
    mine.thaw()
    assert not mine.frozen
    os.set_blocking(process.stdout.fileno(), True)
    assert process.stdout.readline()
    process.kill()
    process.communicate()


def processor_time(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return file.read().split()[0]


@pytest.mark.parametrize("way", ["v1", "v2", "all"])
def test_none_escapes_by_forking(cgroup, way):
    """v2 has cgroup.kill; without it they are frozen, killed and thawed."""
    need(cgroup, "pids", cgroup.node("pids").version)
    with open(cgroup.node("pids").file("pids.max"), "w") as file:
        file.write("200")
    mine = only(cgroup, "freezer", "pids") if way == "v1" else cgroup
    mine = unified(cgroup) if way == "v2" else mine
    process = start(cgroup, HERD)
    assert process.stdout.readline() == "in\n"
    mine.kill()
    process.communicate()
    cgroup.delete()
    assert not any(os.path.exists(node.path) for node in cgroup.nodes)


@pytest.mark.parametrize("way", ["ours", "v1"])
def test_frozen_processes_can_be_killed_and_removed(cgroup, way):
    """Also those that someone else has frozen, in the freezer of v1."""
    mine = only(cgroup, "freezer") if way == "v1" else cgroup
    if not mine.nodes:
        pytest.skip("this host has no freezer of v1")
    process = start(cgroup, COUNT)
    assert process.stdout.readline() == "in\n"
    mine.freeze()
    cgroup.delete()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not any(os.path.exists(node.path) for node in cgroup.nodes)


def test_a_signal_to_a_paused_container_waits(cgroup):
    """One that it handles: v2 lets those that end a process through (cgroup-v2.rst, "freeze")."""
    handler = "import signal, os; signal.signal(signal.SIGTERM, lambda *_: os._exit(3))"
    process = start(cgroup, handler + COUNT)
    assert process.stdout.readline() == "in\n"
    cgroup.freeze()
    cgroup.kill(signal.SIGTERM)
    # The kernel may wake it for the signal, and stop it again before it handles it.
    deadline = time.monotonic() + 60
    while not cgroup.frozen and time.monotonic() < deadline:
        time.sleep(0.01)
    frozen, ended = cgroup.frozen, process.poll()
    cgroup.thaw()
    process.communicate()
    assert (frozen, ended) == (True, None)
    assert process.returncode == 3


def test_cgroups_that_a_container_made_go_with_it(cgroup):
    for node in cgroup.nodes:
        os.makedirs(f"{node.path}/inner/most")
    cgroup.delete()
    cgroup.delete()
    assert not any(os.path.exists(node.path) for node in cgroup.nodes)


def test_cgroups_as_deep_as_a_container_likes(cgroup):
    node = cgroup.nodes[-1]
    for depth in range(1, 1200):
        os.mkdir(node.path + "/d" * depth)
    assert cgroup.processes() == []
    cgroup.delete()
    assert not os.path.exists(node.path)


def test_a_cgroup_in_use_is_not_taken(cgroup):
    process = start(cgroup, COUNT)
    assert process.stdout.readline() == "in\n"
    node = cgroup.nodes[0]
    with pytest.raises(Refusal) as refusal:
        Cgroup([node]).create()
    assert str(refusal.value) == (
        f"{node.path}: the cgroup has 1 processes already ({process.pid}, ...); choose another "
        "linux.cgroupsPath"
    )
    process.kill()
    process.communicate()


def test_what_cannot_be_made_leaves_nothing(cgroup):
    good = cgroup.nodes[0]._replace(path=cgroup.nodes[0].path + "-second")
    bad = Node(1, ("pids",), "/proc", "/proc/auberge/x")
    with pytest.raises(Refusal) as refusal:
        Cgroup([good, bad]).create()
    assert str(refusal.value) == (
        "/proc/auberge/x: the cgroup cannot be made: no such file or directory; choose another "
        "linux.cgroupsPath"
    )
    assert not os.path.exists(good.path)


def test_a_hundred_times_leaves_nothing(cgroup):
    base = cgroup.nodes[0].path

    def ours() -> list[str]:
        """What is there of this test: others make cgroups at the same time."""
        folder, name = os.path.split(base)
        return sorted(each for each in os.listdir(folder) if each.startswith(name))

    before = ours()
    fds = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        again = Cgroup([n._replace(path=n.path + "-again") for n in cgroup.nodes]).create()
        again.stats()
        again.delete()
    assert ours() == before
    assert len(os.listdir("/proc/self/fd")) == fds
