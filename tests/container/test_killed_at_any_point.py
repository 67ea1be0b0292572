"""kill -9 of the runtime, wherever it is: `delete` removes all that is left."""

import os
import subprocess
import sys

import pytest

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
STEPS = int(os.environ.get("AUBERGE_HUNT", 0)) or 9  # every ninth of some hundreds


def killed(bundle, at, *words):
    return subprocess.run(
        [sys.executable, "-c", KILLER, str(at), "--root", str(bundle.state), *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


def traces(name):
    """What is on the host under that name: processes, cgroups."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cgroup") as file:
                if name in file.read():
                    found.append(f"process {number}")
        except OSError:
            pass
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(folder, one) for one in names if one == name]
    return found


def mounts():
    with open("/proc/self/mountinfo") as file:
        return sorted(line.split(" ", 3)[3] for line in file)


@pytest.mark.parametrize("command", ["create", "run"])
def test_what_is_left_can_be_deleted(bundle, command):
    bundle.process["args"] = ["/bin/sleep", "1000"] if command == "create" else ["/bin/true"]
    bundle.linux["resources"]["pids"] = {"limit": 100}
    bundle.write()
    before = mounts()
    words = (command, "--bundle", str(bundle.path), bundle.name)
    whole = killed(bundle, 1_000_000, *words)
    assert whole.returncode == 0, whole.stderr
    bundle.remove("ours")
    count = int(whole.stdout.split()[-1])
    assert count > 100
    for at in range(1, count, STEPS):
        done = killed(bundle, at, *words)
        assert done.returncode == -9, (at, done.stderr)
        deleted = bundle.call("ours", "delete", "--force", bundle.name)
        assert deleted.returncode == 0, (at, deleted.stderr)
        assert traces(bundle.name) == [], at
        assert not bundle.state.exists() or not os.listdir(bundle.state), at
    assert mounts() == before


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
