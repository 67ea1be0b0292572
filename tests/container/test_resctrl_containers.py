"""Containers in groups of resctrl: real ones, in a file system with the kernel's rules.

fake_resctrl.py is that file system, mounted; what is not the kernel's is its name in mountinfo.
"""

import fcntl
import json
import os
import subprocess
import sys

import pytest

from auberge.container import resctrl
from auberge.container.resctrl import Lock
from auberge.refusal import Refusal
from tests.container.bundles import ROOT
from tests.container.test_killed_at_any_point import STEPS, killed, traces
from tests.until import until

pytestmark = pytest.mark.slow

FOUND = "from auberge.container import resctrl\nresctrl.MOUNTINFO = {!r}\n"
OCI = "import sys\nfrom auberge.cli import oci\nsys.exit(oci.main(sys.argv[1:]))\n"
PLAN = "import sys\nfrom auberge.cli.main import main\nsys.exit(main(['plan', sys.argv[1]]))\n"
WHERE = "auberge-oci: config.json: $.linux.intelRdt"
BOTH = {"l3CacheSchema": "L3:0=7f0;1=1f", "memBwSchema": "MB:0=20;1=70"}


class Host:
    """A host with resctrl, and a bundle on it."""

    def __init__(self, folder, bundle):
        self.mount, self.bundle = folder / "resctrl", bundle
        self._journal = folder / "journal"
        self.mount.mkdir()
        words = ("-m", "tests.container.fake_resctrl", self.mount, self._journal)
        self._server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE)
        assert self._server.stdout.readline() == b"mounted\n"
        mountinfo = folder / "mountinfo"
        mountinfo.write_text(f"77 24 0:61 / {self.mount} rw - resctrl resctrl rw\n")
        self.before = FOUND.format(str(mountinfo))

    def close(self):
        """Unmount it."""
        self.oci("delete", "--force", self.bundle.name)
        subprocess.run(["umount", "--lazy", self.mount], check=True)
        self._server.communicate(timeout=60)

    def oci(self, *words):
        """Run a command of the runtime; its status, output and errors in one."""
        code = self.before + OCI
        with open(self.bundle.path / "said", "w+") as said:
            done = subprocess.run(
                [sys.executable, "-c", code, "--root", str(self.bundle.state), *words],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60,
            )  # fmt: skip
            said.seek(0)
            return done.returncode, said.read()

    def done(self, *words):
        """The same, of one that succeeds; what it has said."""
        status, said = self.oci(*words)
        assert status == 0, said
        return said

    def start(self, rdt, script="sleep 100 & wait"):
        """Run a container with that intelRdt; its first process's number."""
        self.bundle.linux["intelRdt"] = rdt
        self.bundle.process["args"] = ["/bin/sh", "-c", script]
        self.bundle.write()
        self.done("run", "--detach", "--bundle", str(self.bundle.path), self.bundle.name)
        return json.loads(self.done("state", self.bundle.name))["pid"]

    def refused(self, rdt):
        """What is said of a container that cannot be made; nothing of it is left."""
        self.bundle.linux["intelRdt"] = rdt
        self.bundle.write()
        status, said = self.oci("run", "--bundle", str(self.bundle.path), self.bundle.name)
        assert status == 1
        assert not self.bundle.state.exists() or not os.listdir(self.bundle.state)
        assert traces(self.bundle.name) == []
        return said

    def changes(self):
        """What was done: the kind of change, the group, and what was written."""
        lines = map(json.loads, self._journal.read_text().splitlines())
        return [(line["what"], line["group"], line.get("wrote")) for line in lines]

    def entered(self, pid):
        """The groups that a process has entered, and the programs that it was then."""
        lines = map(json.loads, self._journal.read_text().splitlines())
        return [
            (line["group"], line["exe"])
            for line in lines
            if line["what"] == "tasks" and line["pid"] == pid
        ]

    def tasks(self, group):
        """The numbers of the processes in it."""
        return set(map(int, (self.mount / group / "tasks").read_text().split()))

    def groups(self):
        """Those that are there."""
        return sorted(path.parent.name for path in self.mount.glob("*/tasks"))


@pytest.fixture
def host(open_path, bundle):
    if not ROOT or not os.path.exists("/dev/fuse"):
        pytest.skip("takes root and /dev/fuse")
    made = Host(open_path, bundle)
    yield made
    made.close()


STUB = "/memfd:auberge-stub (deleted)"


def test_a_group_of_its_own(host):
    """It is there before the first instruction of the container's program, and goes with it."""
    name = host.bundle.name
    pid = host.start(BOTH)
    assert host.changes() == [
        ("mkdir", name, None),
        ("schemata", name, "L3:0=7f0;1=1f\nMB:0=20;1=70\n"),
        ("tasks", name, "0"),
    ]
    assert host.entered(pid) == [(name, STUB)]
    until(lambda: len(host.tasks(name)) >= 2)
    forked = json.loads(host.done("ps", "--format", "json", name))
    assert host.tasks(name) == set(forked) and len(forked) == 2
    host.done("delete", "--force", name)
    assert host.groups() == []


def test_without_schemas_nothing_is_written(host):
    """ "runtimes MUST NOT write to schemata files"."""
    host.start({})
    assert [what for what, *_ in host.changes()] == ["mkdir", "tasks"]
    host.done("delete", "--force", host.bundle.name)
    assert host.groups() == []


def test_a_user_namespace_is_no_hindrance(host):
    ids = [{"containerID": 0, "hostID": 100_000, "size": 65536}]
    host.bundle.linux["namespaces"].append({"type": "user"})
    host.bundle.linux |= {"uidMappings": ids, "gidMappings": ids}
    pid = host.start(BOTH)
    assert host.entered(pid) == [(host.bundle.name, STUB)]
    assert pid in host.tasks(host.bundle.name)


def test_a_group_that_was_made_for_it(host):
    (host.mount / "gold").mkdir()
    pid = host.start({"closID": "gold"})
    assert pid in host.tasks("gold")
    host.done("delete", "--force", host.bundle.name)
    assert host.groups() == ["gold"]
    assert [what for what, *_ in host.changes()] == ["mkdir", "tasks"]


def test_a_group_that_nobody_has_made(host):
    assert host.refused({"closID": "gold"}) == (
        f"{WHERE}.closID: {host.mount}/gold: no such group; make it, or give l3CacheSchema or "
        "memBwSchema for a new one\n"
    )
    assert host.changes() == []


def test_a_named_group_is_made_and_stays(host):
    """Others may be in it by then; runc leaves it, too."""
    pid = host.start(
        {"closID": "gold", "l3CacheSchema": "L3:0=f\nMB:0=50", "memBwSchema": "MB:1=15"}
    )
    assert host.changes()[1] == ("schemata", "gold", "L3:0=f\nMB:1=15\n")
    assert pid in host.tasks("gold")
    host.done("delete", "--force", host.bundle.name)
    assert host.groups() == ["gold"]
    host.start({"closID": "gold", "l3CacheSchema": "L3:0=0F", "memBwSchema": "MB:1=20"})
    host.done("delete", "--force", host.bundle.name)
    assert host.refused({"closID": "gold", "l3CacheSchema": "L3:1=f"}) == (
        f"{WHERE}.closID: {host.mount}/gold has 'L3:0=f;1=7ff MB:0=100;1=20', not 'L3:1=f'; write "
        "what it has, or another closID\n"
    )
    assert host.groups() == ["gold"]


def test_a_named_group_goes_with_the_container_that_failed(host):
    host.bundle.process["args"] = ["/none"]
    said = host.refused({"closID": "gold"} | BOTH)
    assert said.endswith("no such file or directory; give a program that is in the container\n")
    assert [what for what, *_ in host.changes()] == ["mkdir", "schemata", "tasks", "rmdir"]


@pytest.mark.parametrize(
    "rdt, where, text, why",
    [
        (
            {"l3CacheSchema": "L3:0=5"}, ".l3CacheSchema", "L3:0=5",
            "The mask 5 has non-consecutive 1-bits",
        ),
        ({"memBwSchema": "MB:0=5"}, ".memBwSchema", "MB:0=5", "MB value 5 out of range [10,100]"),
        (
            {"l3CacheSchema": "L2:0=f", "memBwSchema": "MB:0=50"}, "", "L2:0=f, MB:0=50",
            "Unknown or unsupported resource name 'L2'",
        ),
        ({"l3CacheSchema": "L3:7=f"}, ".l3CacheSchema", "L3:7=f", "invalid argument"),
    ],
)  # fmt: skip
def test_a_value_that_the_kernel_refuses(host, rdt, where, text, why):
    """In its own words, where it has some."""
    assert host.refused(rdt) == (
        f"{WHERE}{where}: the kernel refuses {text!r}: {why}; change the value\n"
    )
    assert host.groups() == []


def test_more_groups_than_classes(host):
    for name in ("a", "b", "c"):
        (host.mount / name).mkdir()
    assert host.refused({}) == (
        f"{WHERE}: {host.mount}/{host.bundle.name}: Out of CLOSIDs; remove one, or name one that "
        "is there as closID\n"
    )
    assert host.groups() == ["a", "b", "c"]


def test_a_group_that_takes_no_task(host):
    (host.mount / "gold").mkdir()
    (host.mount / "gold/mode").write_text("pseudo-locksetup\n")
    assert host.refused({"closID": "gold"}) == (
        "auberge-oci: container: $.linux.intelRdt: the kernel refuses its process: invalid "
        "argument; choose another closID, whose group is not locked\n"
    )
    assert host.groups() == ["gold"]


def test_only_root_makes_groups(host):
    code = host.before + (
        "import os\n"
        "from auberge.container.config import IntelRdt\n"
        "from auberge.container.resctrl_groups import make\n"
        "from auberge.refusal import Refusal\n"
        "os.setresuid(1000, 1000, 1000)\n"
        "try:\n"
        "    list(make(IntelRdt(), 'mine'))\n"
        "except Refusal as refusal:\n"
        "    print(refusal)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (
        f"config.json: $.linux.intelRdt: {host.mount}/mine: only root may make groups; run as "
        "root, or take it out\n",
        "",
    )


def test_a_group_of_the_containers_name_is_anothers(host):
    (host.mount / host.bundle.name).mkdir()
    assert host.refused({}) == (
        f"{WHERE}: {host.mount}/{host.bundle.name}: there is a group of the container's name; name "
        "it as closID if it is to be shared, or choose another name\n"
    )
    assert host.groups() == [host.bundle.name]


def test_a_group_that_came_in_place_of_its_own(host):
    """Of the same name, but not the one that was made."""
    name = host.bundle.name
    pid = host.start({})
    (host.mount / name).rmdir()
    assert pid in host.tasks(".")
    (host.mount / name).mkdir()
    host.done("delete", "--force", name)
    assert host.groups() == [name]


def test_exec_joins(host):
    pid = host.start({"closID": "gold", "enableCMT": True} | BOTH, "exec sleep 100")
    name = host.bundle.name
    file = host.bundle.path / "exec.pid"
    host.done("exec", "--detach", "--pid-file", str(file), name, "sleep", "100")
    more = int(file.read_text())
    places = [("gold", STUB), (f"gold/mon_groups/{name}", STUB)]
    assert host.entered(pid) == host.entered(more) == places
    assert {pid, more} == host.tasks(f"gold/mon_groups/{name}") == host.tasks("gold")


def test_exec_where_the_group_is_gone(host):
    """Its tasks are in the group above it, and so is what comes."""
    host.start({})
    (host.mount / host.bundle.name).rmdir()
    host.done("exec", host.bundle.name, "true")
    status, said = host.oci("update", "--mem-bw-schema", "MB:0=50", host.bundle.name)
    assert (status, said) == (
        1,
        f"auberge-oci: {host.mount}/{host.bundle.name}: somebody has removed the group; create the "
        "container anew\n",
    )
    host.done("delete", host.bundle.name, "--force")


def test_what_is_used_is_printed_as_runc_does(host):
    """Of the container's own group for monitoring where others may be in its class."""
    name = host.bundle.name
    host.start({"closID": "gold", "enableCMT": True, "enableMBM": True} | BOTH)
    monitor = host.mount / f"gold/mon_groups/{name}"
    assert monitor.is_dir()
    data = json.loads(host.done("events", "--stats", name))["data"]
    assert data["intel_rdt"] == {
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 2, "num_closids": 4},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3:0=7f0;1=1f",
        "mem_bw_info": {
            "bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 4
        },
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=20;1=70",
        "schemata": ["L3:0=7f0;1=1f", "MB:0=20;1=70"],
        "mbm_stats": [
            {"mbm_total_bytes": 91684864, "mbm_local_bytes": 62914560},
            {"mbm_total_bytes": 0, "mbm_local_bytes": 0},
        ],
        "cmt_stats": [{"llc_occupancy": 2883584}, {"llc_occupancy": 65536}],
    }  # fmt: skip
    host.done("delete", "--force", name)
    assert host.groups() == ["gold"] and not monitor.exists()


def test_what_was_not_asked_for_is_not_counted(host):
    name = host.bundle.name
    host.start({"closID": "gold"} | BOTH)
    use = json.loads(host.done("events", "--stats", name))["data"]["intel_rdt"]
    assert "mbm_stats" not in use and "cmt_stats" not in use
    assert os.listdir(host.mount / "gold/mon_groups") == []


def test_shares_are_changed(host):
    name = host.bundle.name
    host.start({})
    host.done("update", "--l3-cache-schema", "L3:1=3\nMB:0=90", "--mem-bw-schema", "MB:1=40", name)
    assert host.changes()[-1] == ("schemata", name, "L3:1=3\nMB:1=40\n")
    status, said = host.oci("update", "--pids-limit", "7", "--mem-bw-schema", "MB:0=4", name)
    assert (status, said) == (
        1,
        "auberge-oci: --mem-bw-schema: the kernel refuses 'MB:0=4': MB value 4 out of range "
        "[10,100]; change the value\n",
    )
    status, said = host.oci("update", "--l3-cache-schema", "0=f", name)
    assert (status, said) == (
        1,
        "auberge-oci: --l3-cache-schema: '0=f' is no line of a schemata file; write as "
        "'L3:0=7f0;1=1f'\n",
    )


def test_shares_of_a_container_that_is_in_no_group(host):
    del host.bundle.linux["resources"]
    host.start(None)
    status, said = host.oci("update", "--l3-cache-schema", "L3:0=f", host.bundle.name)
    assert (status, said) == (
        1,
        f"auberge-oci: container {host.bundle.name}: it is in no group of resctrl; create it with "
        "$.linux.intelRdt\n",
    )
    assert host.changes() == []


def test_the_plan_has_its_steps(host):
    (host.mount / "gold").mkdir()
    host.bundle.linux["intelRdt"] = {"closID": "gold", "enableMBM": True} | BOTH
    host.bundle.write()
    done = subprocess.run(
        [sys.executable, "-c", host.before + PLAN, str(host.bundle.path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Clone ")]
    shares = "schemata='L3:0=7f0;1=1f\\nMB:0=20;1=70\\n'"
    assert lines[:6] == [
        f"CompareSchemata path={host.mount}/gold {shares}",
        f"SetSchemata path={host.mount}/gold {shares} where=config.json: $.linux.intelRdt",
        f"MakeMonitor path={host.mount}/gold/mon_groups/NAME",
        "Seal",
        "EnterGroups",
        "AwaitRuntime",
    ]
    assert host.changes() == [("mkdir", "gold", None)]


def test_another_program_has_the_lock(host, monkeypatch):
    monkeypatch.setattr(resctrl, "PATIENCE", 0.0)
    fd = os.open(host.mount, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(Refusal) as refusal, Lock(str(host.mount)):
            pass
        assert str(refusal.value) == (
            f"{host.mount}: locked by another program for 0 seconds; try again when it has ended"
        )
    finally:
        os.close(fd)
    with Lock(str(host.mount)):
        pass


@pytest.mark.parametrize("command", ["create", "run"])
@pytest.mark.parametrize("named", [False, True])
def test_a_runtime_that_is_killed_leaves_what_delete_removes(host, command, named):
    """Of a group that others may be in, it removes what is the container's own."""
    if named:
        (host.mount / "gold").mkdir()
    bundle = host.bundle
    bundle.process["args"] = ["/bin/sleep", "1000"] if command == "create" else ["/bin/true"]
    bundle.linux["intelRdt"] = {"closID": "gold", "enableCMT": True} if named else BOTH
    bundle.write()
    words = (command, "--bundle", str(bundle.path), bundle.name)
    status, said = killed(bundle, 1_000_000, *words, before=host.before)
    assert status == 0, said
    host.done("delete", "--force", bundle.name)
    count = int(said.split()[-1])
    group = host.mount / (f"gold/mon_groups/{bundle.name}" if named else bundle.name)

    def leaves(at):
        """Whether a group is there when it is killed at that step."""
        killed(bundle, at, *words, before=host.before)
        is_there = group.exists()
        host.done("delete", "--force", bundle.name)
        assert host.groups() == (["gold"] if named else []), at
        assert not group.exists() and traces(bundle.name) == [], at
        return is_there

    left = {at: leaves(at) for at in range(1, count, STEPS)}
    assert set(left.values()) == {False, True}
    first = next(at for at in left if left[at])  # all steps about the one that makes it
    assert {leaves(at) for at in range(first - STEPS, first + 1)} == {False, True}
