"""Limits, devices and seccomp of config.json, seen from inside: runc first, and ours."""

import json
import signal

import pytest

from auberge.container.cgroups_layout import read_layout

pytestmark = pytest.mark.slow
MIB = 1 << 20
KIND = read_layout().kind


@pytest.fixture
def first(bundle):
    """A bundle on a host whose controllers are in v1."""
    if KIND not in ("v1", "hybrid"):
        pytest.skip("this host has cgroup v2 alone; test_cgroup_v2_in_a_machine.py is for that")
    options = ["nosuid", "noexec", "nodev", "relatime", "ro"]
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
    bundle.config["mounts"].append({**mount, "options": options})
    return bundle


def value(bundle, runtime, *files):
    script = "; ".join(f"cat /sys/fs/cgroup/{file}" for file in files)
    return bundle.said(runtime, script).split()


def test_values_of_v1(first, runtime):
    first.linux["resources"] = {
        "memory": {"limit": 64 * MIB, "swap": 80 * MIB, "reservation": 32 * MIB, "swappiness": 7},
        "cpu": {"shares": 512, "quota": 40_000, "period": 80_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 23},
    }
    files = {
        "memory/memory.limit_in_bytes": str(64 * MIB),
        "memory/memory.memsw.limit_in_bytes": str(80 * MIB),
        "memory/memory.soft_limit_in_bytes": str(32 * MIB),
        "memory/memory.swappiness": "7",
        "cpu/cpu.shares": "512",
        "cpu/cpu.cfs_quota_us": "40000",
        "cpu/cpu.cfs_period_us": "80000",
        "cpuset/cpuset.cpus": "0",
        "cpuset/cpuset.mems": "0",
        "pids/pids.max": "23",
    }
    assert value(first, runtime, *files) == list(files.values())


def test_without_limits_there_are_none(first, runtime):
    first.linux["resources"] = {"memory": {"limit": -1}, "pids": {"limit": 0}}
    found = value(first, runtime, "pids/pids.max", "memory/memory.limit_in_bytes")
    assert found[0] == "max" and int(found[1]) >= 1 << 62


def test_too_much_memory_is_a_kill(bundle, runtime):
    bundle.linux["resources"] = {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}
    # `tail` keeps a line until it ends
    done = bundle.run(runtime, "head -c 64000000 /dev/zero | tail; echo ended $?")
    assert "ended 137" in done.stdout


def test_a_fork_too_many(bundle, runtime):
    bundle.linux["resources"] = {"pids": {"limit": 20}}
    script = "n=0; while [ $n -lt 40 ]; do sleep 5 & n=$((n+1)); done; echo $n"
    done = bundle.run(runtime, script)
    assert done.stdout != "40\n" and done.stderr.strip().endswith(
        "Resource temporarily unavailable"
    )


DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_FUSE = {"allow": True, "type": "c", "major": 10, "minor": 229}
FUSE = {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}


@pytest.mark.parametrize(
    "rules, reading, writing",
    [
        ([DENY_ALL], False, False),
        ([DENY_ALL, {**ALLOW_FUSE, "access": "r"}], True, False),
        ([DENY_ALL, {"allow": True, "type": "c", "major": 10, "access": "rw"}], True, True),
        ([DENY_ALL, {"allow": True, "access": "rwm"}], True, True),
    ],
)  # fmt: skip
def test_devices(bundle, runtime, rules, reading, writing):
    bundle.linux["devices"] = [FUSE]
    bundle.linux["resources"] = {"devices": rules}
    script = (
        "(: < /dev/fuse) 2> /dev/null && echo r; (: > /dev/fuse) 2> /dev/null && echo w; "
        "(echo x > /dev/full) 2> /dev/null || echo full; head -c 1 /dev/zero | wc -c"
    )
    words = bundle.said(runtime, script).split()
    assert words == ["r"] * reading + ["w"] * writing + ["full", "1"]


def test_a_call_is_refused_and_another_kills(bundle, runtime):
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat", "nobody-knows"], "action": "SCMP_ACT_ERRNO",
             "errnoRet": 28},
            {"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    }  # fmt: skip
    bundle.config["root"]["readonly"] = False
    done = bundle.run(runtime, "mkdir /x 2>&1; sync; echo $?")
    refused, status = done.stdout.splitlines()
    assert refused.endswith("No space left on device")
    assert int(status) == 128 + signal.SIGSYS


@pytest.mark.parametrize("privileges", [True, False])
def test_seccomp_of_a_user_without_privileges(bundle, runtime, privileges):
    """Without no_new_privs the filter has to come before the capabilities go."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["noNewPrivileges"] = privileges
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}],
    }
    said = bundle.said(runtime, "chmod 7 /tmp 2>&1; grep Seccomp: /proc/self/status")
    assert said.split("\n")[0].endswith("Input/output error") and said.endswith("Seccomp:\t2\n")


def test_update_and_what_is_used(first, runtime):
    assert first.create(runtime, "read x").returncode == 0
    try:
        done = first.call(
            runtime, "update", "--memory", str(48 * MIB), "--pids-limit", "9", first.name
        )
        assert done.returncode == 0, done.stderr
        done = first.call(runtime, "events", "--stats", first.name)
        data = json.loads(done.stdout)["data"]
        assert data["memory"]["usage"]["limit"] == 48 * MIB
        assert data["pids"]["limit"] == 9
        assert data["cpu"]["usage"]["total"] > 0
    finally:
        first.remove(runtime)
