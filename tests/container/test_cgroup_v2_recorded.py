"""cgroup v2 in a folder with recorded files: what is written, and what is understood.

test_cgroup_v2_in_a_machine.py does the same with a kernel; this also runs where there is no image.
"""

import pytest

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_events import OomWatch
from auberge.container.cgroups_layout import find_layout
from auberge.container.cgroups_limits import limits
from auberge.container.cgroups_stats import (
    CpuUse,
    DeviceUse,
    HugepageUse,
    PidsUse,
    Pressure,
    read_stats,
)
from auberge.container.config import (
    CPU,
    BlockIO,
    HugepageLimit,
    Memory,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
)
from auberge.refusal import Refusal
from tests.container.hierarchies import V2
from tests.container.recorded_v2 import FILES

MOUNT = "sys/fs/cgroup"


@pytest.fixture
def host(tmp_path):
    """The root of a host whose /sys/fs/cgroup has `box/one` with the recorded files."""
    for path in (MOUNT, f"{MOUNT}/box", f"{MOUNT}/box/one"):
        (tmp_path / path).mkdir(parents=True)
        for name, text in FILES.items():
            (tmp_path / path / name).write_text(text)
    layout = find_layout(*V2, root=str(tmp_path))
    return layout, tmp_path / MOUNT


def test_controllers_are_handed_down_from_the_root(host):
    layout, mount = host
    made = Cgroup(layout.place("/box/one", "x")).create({"memory", "io"})
    assert [node.path for node in made.nodes] == [f"{mount}/box/one"]
    for above in (mount, mount / "box"):
        assert (above / "cgroup.subtree_control").read_text() == "+misc"  # the last of eight
    assert (mount / "box/one" / "cgroup.subtree_control").read_text() == ""


def test_a_controller_that_does_not_arrive(host):
    layout, mount = host
    (mount / "box/one/cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(Refusal) as refusal:
        Cgroup(layout.place("/box/one", "x")).create({"memory", "pids"})
    assert str(refusal.value) == (
        f"{mount}/box/one: the cgroup does not get the controller memory; have it delegated "
        "(systemd-run --user --scope -p Delegate=yes ...), or leave the limit out"
    )


def test_every_limit_is_written(host):
    layout, mount = host
    cgroup = Cgroup(layout.place("/box/one", "x"))
    wanted = Resources(
        memory=Memory(limit=1 << 26, swap=1 << 27, reservation=1 << 20),
        cpu=CPU(shares=2048, quota=50_000, period=100_000, cpus="0-1", mems="0"),
        pids=Pids(100),
        block_io=BlockIO(weight=500, throttle_write_bps_device=(ThrottleDevice(254, 0, 1000),)),
        hugepage_limits=(HugepageLimit("2MB", 4 << 20),),
        rdma={"mlx5_0": Rdma(2, 100)},
    )
    cgroup.apply(limits(wanted, layout))
    one = mount / "box/one"
    written = {
        name: (one / name).read_text() for name in FILES if (one / name).read_text() != FILES[name]
    }
    assert written == {
        "memory.max": "67108864", "memory.swap.max": "67108864", "memory.low": "1048576",
        "cpu.weight": "174", "cpu.max": "50000 100000", "cpuset.cpus": "0-1", "cpuset.mems": "0",
        "pids.max": "100", "io.weight": "default 4950", "io.max": "254:0 wbps=1000",
        "hugetlb.2MB.max": "4194304", "rdma.max": "mlx5_0 hca_handle=2 hca_object=100",
    }  # fmt: skip


def test_a_file_that_this_kernel_does_not_have(host):
    layout, _ = host
    with pytest.raises(Refusal) as refusal:
        Cgroup(layout.place("/box/one", "x")).apply(limits(Resources(cpu=CPU(burst=5)), layout))
    assert str(refusal.value) == (
        "config.json: $.linux.resources.cpu.burst: this kernel has no cpu.max.burst; leave it out"
    )


def test_a_limit_below_what_is_in_use(host):
    """ "checkBeforeUpdate": in v2 the kernel would kill."""
    layout, mount = host
    cgroup = Cgroup(layout.place("/box/one", "x"))
    in_use = int(FILES["memory.current"])
    for limit, text in ((in_use, str(in_use)), (-1, "max")):
        cgroup.apply(limits(Resources(memory=Memory(limit, check_before_update=True)), layout))
        assert (mount / "box/one/memory.max").read_text() == text
    with pytest.raises(Refusal) as refusal:
        cgroup.apply(limits(Resources(memory=Memory(9999, check_before_update=True)), layout))
    assert str(refusal.value) == (
        "config.json: $.linux.resources.memory.limit: more than 9999 bytes are in use; write a "
        "higher limit"
    )
    cgroup.apply(limits(Resources(memory=Memory(9999)), layout))
    assert (mount / "box/one/memory.max").read_text() == "9999"


def test_what_it_used(host):
    layout, _ = host
    stats = read_stats(layout.place("/box/one", "x"))
    assert stats.cpu == CpuUse(
        7_794_282_000, 3_749_682_000, 4_044_600_000, (), 394, 370, 22_632_360_000
    )
    memory = stats.memory
    assert (memory.usage, memory.peak, memory.limit) == (1_171_456, 32 << 20, 32 << 20)
    assert (memory.swap_limit, memory.at_limit, memory.oom_kills) == (None, 90, 1)
    assert (memory.kernel, memory.cache) == (425_984, 348_160)
    assert stats.pids == PidsUse(4, 5, 1)
    assert stats.devices == (DeviceUse(254, 0, 9_674_752, 4_194_304, 398, 4),)
    assert stats.hugepages == (HugepageUse("2MB", 0, 0, 0),)
    assert stats.pressure == {
        "cpu": Pressure(31_061_823, 30_597_020), "io": Pressure(809, 809),
    }  # fmt: skip


def test_kills_are_counted_from_when_one_looks(host):
    layout, mount = host
    nodes = layout.place("/box/one", "x")
    watch = OomWatch(nodes)
    try:
        assert (watch.kills(), watch.take()) == (1, False)
        (mount / "box/one/memory.events").write_text("oom 3\noom_kill 2\n")
        assert (watch.take(), watch.take()) == (True, False)
    finally:
        watch.close()


def test_nothing_counts_memory(host):
    layout, _ = host
    nodes = [node._replace(controllers=("cpu",)) for node in layout.place("/box/one", "x")]
    with pytest.raises(Refusal) as refusal:
        OomWatch(nodes)
    assert str(refusal.value) == (
        "events: this host has no cgroup controller memory; OOM is not reported"
    )


def test_what_is_not_there_is_nothing(host):
    layout, _ = host
    nodes = layout.place("/gone", "x")
    stats = read_stats(nodes)
    assert stats.cpu.total == stats.memory.usage == stats.pids.current == 0
    assert (stats.devices, stats.hugepages, stats.pressure) == ((), (), {})
    cgroup = Cgroup(nodes)
    assert (cgroup.processes(), cgroup.frozen, cgroup.oom_kills()) == ([], False, 0)
    cgroup.delete()


def test_one_more_process_goes_where_the_first_one_is(host, tmp_path):
    layout, mount = host
    cgroup = Cgroup(layout.place("/box/one", "x"))
    told = tmp_path / "proc/7"
    told.mkdir(parents=True)
    for below in ("", "/init.scope", "/system.slice/a.service"):
        (mount / f"box/one{below}").mkdir(parents=True, exist_ok=True)
        (told / "cgroup").write_text(f"0::/box/one{below}\n")
        found = cgroup.clone_into_beside(7, str(tmp_path / "proc"))
        assert found == f"{mount}/box/one{below}"
    (told / "cgroup").write_text("0::/box/one/gone\n")
    assert cgroup.clone_into_beside(7, str(tmp_path / "proc")) == cgroup.clone_into
    assert Cgroup(()).clone_into_beside(7) is None
