"""kill -9 of the runtime, wherever it is: `delete` removes all that is left."""

import os
import subprocess
import sys

import pytest

from tests.cgroup_folders import cgroup_folders

pytestmark = pytest.mark.slow

# Kill ourselves at the N-th call into the kernel, or anything else of C, of the container room.
KILLER = """
import os, sys
from auberge.cli import oci, oci_inside, oci_life
room, left = os.sep + "container" + os.sep, int(sys.argv[1])
seen = set()
def watch(frame, event, what):
    global left
    if event == "c_call" and room in frame.f_code.co_filename:
        place = frame.f_code, frame.f_lasti
        if place not in seen:
            seen.add(place)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)
sys.setprofile(watch)
status = oci.main(sys.argv[2:])
sys.setprofile(None)
print("COUNT", int(sys.argv[1]) - left)
sys.exit(status)
"""
STEPS = int(os.environ.get("AUBERGE_HUNT", 0)) or 17  # one of each 17, of some hundreds


def killed(bundle, at, *words, before=""):
    """Run a command that kills itself; the container's own output is in the same file."""
    with open(bundle.path / "said", "wb") as said:
        done = subprocess.run(
            [sys.executable, "-c", before + KILLER, str(at), "--root", str(bundle.state), *words],
            stdout=said, stderr=said, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
    return done.returncode, (bundle.path / "said").read_text()


def traces(name):
    """What is on the host under that name: processes, cgroups."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cgroup") as file:
                if name in file.read() and os.readlink(f"/proc/{number}/exe"):
                    found.append(f"process {number}")  # one that has not ended
        except OSError:
            pass
    return found + [folder for folder in cgroup_folders() if os.path.basename(folder) == name]


def mounts(bundle):
    with open("/proc/self/mountinfo") as file:
        return [line for line in file if str(bundle.path) in line]


@pytest.mark.parametrize("command", ["create", "run"])
def test_what_is_left_can_be_deleted(bundle, command):
    bundle.process["args"] = ["/bin/sleep", "1000"] if command == "create" else ["/bin/true"]
    bundle.linux["resources"]["pids"] = {"limit": 100}
    bundle.write()
    words = (command, "--bundle", str(bundle.path), bundle.name)
    for _ in range(2):  # the second `run` of a bundle has its plan from the first
        status, said = killed(bundle, 1_000_000, *words)
        assert status == 0, said
        bundle.remove("ours")
    count = int(said.split()[-1])
    assert count > 100
    for at in range(1, count, STEPS):
        status, said = killed(bundle, at, *words)
        # how often it asks what has become of a process depends on the host's other work
        assert status == -9 or (status == 0 and at > 0.8 * count), (at, said)
        deleted = bundle.call("ours", "delete", "--force", bundle.name)
        assert deleted.returncode == 0, (at, deleted.stderr)
        assert traces(bundle.name) == [], at
        assert not bundle.state.exists() or not os.listdir(bundle.state), at
    assert mounts(bundle) == []


def test_a_start_that_is_killed_has_started_it_or_not(bundle):
    seen = set()
    for at in range(1, 60, 6):
        assert bundle.create("ours", "echo started; sleep 100").returncode == 0
        killed(bundle, at, "start", bundle.name)
        status = bundle.status("ours")
        seen.add(status)
        again = bundle.call("ours", "start", bundle.name)
        assert again.returncode == (0 if status == "created" else 1), (at, again.stderr)
        assert bundle.status("ours") == "running"
        bundle.remove("ours")
    assert seen == {"created", "running"}


def test_a_delete_that_is_killed_can_be_repeated(bundle):
    for at in range(1, 60, STEPS):
        assert bundle.create("ours", "sleep 100").returncode == 0
        killed(bundle, at, "delete", "--force", bundle.name)
        deleted = bundle.call("ours", "delete", "--force", bundle.name)
        assert deleted.returncode == 0, (at, deleted.stderr)
        assert traces(bundle.name) == [], at


def test_an_exec_that_is_killed_leaves_a_container_that_runs(bundle):
    assert bundle.create("ours", "sleep 100").returncode == 0
    bundle.call("ours", "start", bundle.name)
    for at in range(1, 150, STEPS):
        killed(bundle, at, "exec", bundle.name, "true")
        assert bundle.status("ours") == "running", at
    bundle.remove("ours")
    assert traces(bundle.name) == []


def test_a_damaged_record_can_be_deleted(bundle):
    assert bundle.create("ours", "sleep 100").returncode == 0
    record = bundle.state / bundle.name / "state.json"
    whole = record.read_bytes()
    record.write_bytes(whole[: len(whole) // 2])
    done = bundle.call("ours", "state", bundle.name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"auberge-oci: {record}: ")
    assert done.stderr.endswith("; delete it with --force\n")
    record.write_bytes(whole)
    bundle.remove("ours")
    assert traces(bundle.name) == []
