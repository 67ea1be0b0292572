"""What systemd is told of a container: names, limits and annotations, as runc and crun tell it."""

import pytest

from auberge.container.cgroups_layout import find_layout
from auberge.container.cgroups_limits import limits
from auberge.container.config import CPU, BlockIO, Memory, Pids, Resources
from auberge.container.systemd_annotations import asked, parse
from auberge.container.systemd_properties import INFINITY, Property, properties
from auberge.container.systemd_unit import unit_of
from auberge.refusal import Refusal
from tests.container.hierarchies import V1, V2

MIB = 1 << 20


@pytest.fixture
def second(tmp_path):
    """A host with cgroup v2 and all its controllers."""
    mount = tmp_path / "sys/fs/cgroup"
    mount.mkdir(parents=True)
    (mount / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma misc\n")
    return find_layout(*V2, root=str(tmp_path))


def told(resources, layout, version=252):
    """The values by their properties' names."""
    return {one.name: one.value for one in properties(limits(resources, layout), version)}


# Units: runc's docs/systemd.md, "systemd unit name and placement".


@pytest.mark.parametrize(
    "path, of_user, name, cgroup",
    [
        (None, False, "auberge-box.scope", "/system.slice/auberge-box.scope"),
        (None, True, "auberge-box.scope", "/user.slice/auberge-box.scope"),
        ("", True, "auberge-box.scope", "/user.slice/auberge-box.scope"),
        ("machine.slice:libpod:7f", False, "libpod-7f.scope", "/machine.slice/libpod-7f.scope"),
        (":runc:x", False, "runc-x.scope", "/system.slice/runc-x.scope"),
        ("-:p:x", False, "p-x.scope", "/p-x.scope"),
        ("-.slice:p:x", False, "p-x.scope", "/p-x.scope"),
        ("a-b-c.slice:p:x", False, "p-x.scope", "/a.slice/a-b.slice/a-b-c.slice/p-x.scope"),
        ("a.slice::x", False, "x.scope", "/a.slice/x.scope"),
    ],
)
def test_units(path, of_user, name, cgroup):
    unit = unit_of(path, "box", of_user)
    assert (unit.name, unit.path) == (name, cgroup)


NO_UNIT = "is no name of a unit; write up to 255 letters, digits and any of ':-_.'"


@pytest.mark.parametrize(
    "path, container, told",
    [
        ("/a/b", "box", "'/a/b' is not what --systemd-cgroup takes; write SLICE:PREFIX:NAME"),
        ("a.slice:b", "box",
         "'a.slice:b' is not what --systemd-cgroup takes; write SLICE:PREFIX:NAME"),
        ("a:b:c", "box", "'a' is no slice; write as system.slice or a-b.slice"),
        ("a--b.slice:b:c", "box", "'a--b.slice' is no slice; write as system.slice or a-b.slice"),
        ("-a.slice:b:c", "box", "'-a.slice' is no slice; write as system.slice or a-b.slice"),
        ("../x.slice:b:c", "box",
         "'../x.slice' is no name of a slice; write letters, digits and any of ':-_.'"),
        ("a.slice:b:c.slice", "box", "'c.slice' is a slice; name a scope, without '.slice'"),
        ("a.slice:b:../c", "box", f"'b-../c.scope' {NO_UNIT}"),
        ("a.slice:b:", "box", f"'b-.scope' {NO_UNIT}"),
        ("a.slice:b:" + "c" * 255, "box", f"'b-{'c' * 255}.scope' {NO_UNIT}"),
    ],
)  # fmt: skip
def test_what_is_no_unit(path, container, told):
    with pytest.raises(Refusal) as refusal:
        unit_of(path, container, False)
    assert str(refusal.value) == f"config.json: $.linux.cgroupsPath: {told}"


def test_a_container_whose_name_is_no_units():
    with pytest.raises(Refusal) as refusal:
        unit_of(None, "a+b", False)
    assert str(refusal.value) == f"container id 'a+b': 'auberge-a+b.scope' {NO_UNIT}"


# Limits: runc's libcontainer/cgroups/systemd.


def test_limits_of_v2(second):
    wanted = Resources(
        memory=Memory(limit=64 * MIB, swap=80 * MIB, reservation=MIB),
        cpu=CPU(shares=1024, quota=50_000, period=100_000, cpus="0-2,9", mems="0"),
        pids=Pids(20),
        block_io=BlockIO(weight=10),
    )
    assert told(wanted, second) == {
        "MemoryMax": 64 * MIB,
        "MemoryLow": MIB,
        "MemorySwapMax": 16 * MIB,
        "CPUWeight": 100,
        "CPUQuotaPeriodUSec": 100_000,
        "CPUQuotaPerSecUSec": 500_000,
        "AllowedCPUs": b"\x07\x02",
        "AllowedMemoryNodes": b"\x01",
        "TasksMax": 20,
        "IOWeight": 1,
    }


def test_limits_of_v1():
    wanted = Resources(
        memory=Memory(limit=64 * MIB), cpu=CPU(shares=512, quota=30_000), pids=Pids(-1),
    )  # fmt: skip
    layout = find_layout(*V1)
    assert told(wanted, layout) == {
        "MemoryLimit": 64 * MIB,
        "CPUShares": 512,
        "CPUQuotaPerSecUSec": 300_000,
        "TasksMax": INFINITY,
    }


@pytest.mark.parametrize(
    "cpu, each, period",
    [
        (CPU(quota=10_000), 100_000, None),
        (CPU(quota=-1), INFINITY, None),
        (CPU(quota=-1, period=50_000), INFINITY, 50_000),
        (CPU(period=50_000), INFINITY, 50_000),
        (CPU(quota=4_321, period=50_000), 90_000, 50_000),  # rounded up to a hundredth
        (CPU(quota=1_000, period=1_000_000), 10_000, 1_000_000),
    ],
)
def test_quotas(second, cpu, each, period):
    found = told(Resources(cpu=cpu), second)
    assert found.get("CPUQuotaPeriodUSec") == period
    assert found["CPUQuotaPerSecUSec"] == each


def test_no_limit_is_infinity(second):
    wanted = Resources(memory=Memory(limit=-1, swap=-1, reservation=-1), pids=Pids(-1))
    assert set(told(wanted, second).values()) == {INFINITY}


def test_unified_becomes_properties_too(second):
    unified = {"memory.high": "1048576", "memory.min": "4096", "cpu.max": "max 50000",
               "memory.oom.group": "1", "cpu.idle": "1"}  # fmt: skip
    wanted = Resources(unified=unified)
    assert told(wanted, second) == {
        "MemoryHigh": MIB, "MemoryMin": 4096, "CPUQuotaPeriodUSec": 50_000,
        "CPUQuotaPerSecUSec": INFINITY, "CPUWeight": 0,
    }  # fmt: skip
    assert "CPUWeight" not in told(wanted, second, version=251)


def test_an_old_systemd_is_told_less(second):
    wanted = Resources(cpu=CPU(quota=1000, period=2000, cpus="0", mems="0"))
    assert set(told(wanted, second, version=241)) == {"CPUQuotaPerSecUSec"}


@pytest.mark.parametrize("text", ["1G", "", "0x10", "٣", "1" * 21])
def test_a_number_that_is_none_of_systemds(second, text):
    with pytest.raises(Refusal) as refusal:
        told(Resources(unified={"memory.high": text}), second)
    assert str(refusal.value) == (
        "config.json: $.linux.resources.unified.memory.high: systemd does not take "
        f"{text!r} for memory.high; write digits, or 'max'"
    )


@pytest.mark.parametrize("cpus", ["3-1", "8192", "0-99999999999", "a", "0,,1", "-1", "0-"])
def test_a_list_of_processors_that_is_none(second, cpus):
    with pytest.raises(Refusal) as refusal:
        told(Resources(cpu=CPU(cpus=cpus)), second)
    assert str(refusal.value) == (
        f"config.json: $.linux.resources.cpu.cpus: {cpus!r} is no list of numbers below 8192; "
        "write as 0-3,7"
    )


# Annotations: runc's docs/systemd.md, "Auxiliary properties"; GLib, "GVariant Text Format".


@pytest.mark.parametrize(
    "text, signature, value",
    [
        ("true", "b", True),
        ("'inactive-or-failed'", "s", "inactive-or-failed"),
        ('"a \'quoted\' \\"b\\"\\n"', "s", "a 'quoted' \"b\"\n"),
        ("7", "i", 7),
        (" -7 ", "i", -7),
        ("0x1f", "i", 31),
        ("010", "i", 8),
        ("1.5", "d", 1.5),
        ("uint64 123456789", "t", 123456789),
        ("byte 255", "y", 255),
        ("double 3", "d", 3.0),
        ("['x.service', 'y.service']", "as", ["x.service", "y.service"]),
        ("@as []", "as", []),
        ("@t 5", "t", 5),
        ("[byte 1, 2]", "ay", b"\x01\x02"),
        ("[('/dev/null', 'rw'), ('/dev/zero', 'r')]", "a(ss)",
         [("/dev/null", "rw"), ("/dev/zero", "r")]),
        ("@a(st) [('/dev/sda', 500)]", "a(st)", [("/dev/sda", 500)]),
        ("objectpath '/a/b'", "o", "/a/b"),
    ],
)  # fmt: skip
def test_values(text, signature, value):
    assert parse(text) == (signature, value)


@pytest.mark.parametrize(
    "text",
    ["", "x", "'", "'a", "'a\\", "[1", "[", "[]", "(", "()", "1 2", "true false", "[1, 'a']",
     "byte 256", "uint32 -1", "4294967296", "nan", "inf", "1e999", "--1", "1_000", "@", "@z 1",
     "@s 1", "@as 1", "@(ss) ('a')", "@(s) ('a', 'b')", "boolean 1", "string true", "{1: 2}",
     "[" * 4000, "(" * 4000, "@" * 4000, "@" + "a" * 4000, "@i" * 2000, "byte " * 800,
     "'" + "a" * 5000 + "'", "08", "int32 1.5", "'\\u0041'", "'\ud800'", "٣"],
)  # fmt: skip
def test_what_is_no_value(text):
    with pytest.raises(ValueError):
        parse(text)


def test_annotations_become_properties():
    found = asked({
        "org.systemd.property.TimeoutStopUSec": "uint64 7",
        "org.systemd.property.JobTimeoutSec": "1.5",
        "org.systemd.property.RuntimeMaxSec": "uint64 3",
        "other": "x",
    })  # fmt: skip
    assert found == [
        Property("TimeoutStopUSec", "t", 7),
        Property("JobTimeoutUSec", "t", 1_500_000),
        Property("RuntimeMaxUSec", "t", 3_000_000),
    ]


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("x", "true", "'x' is no name of a property; write letters, three or more"),
        ("A.B", "true", "'A.B' is no name of a property; write letters, three or more"),
        ("PIDs", "[uint32 1]", "PIDs is set by the runtime; take it out"),
        ("Slice", "'a.slice'", "Slice is set by the runtime; take it out"),
        ("Foo", "bar",
         "'bar' is no value: 'bar' is no value that is known; write as true, 'text' or uint64 7"),
        ("FooSec", "'a'",
         "\"'a'\" is no value: no number of seconds; write as true, 'text' or uint64 7"),
        ("FooSec", "-1",
         "'-1' is no value: no number of seconds; write as true, 'text' or uint64 7"),
    ],
)  # fmt: skip
def test_annotations_that_are_no_properties(name, text, told):
    key = f"org.systemd.property.{name}"
    with pytest.raises(Refusal) as refusal:
        asked({key: text})
    assert str(refusal.value) == f"config.json: $.annotations[{key!r}]: {told}"
