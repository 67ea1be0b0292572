"""What config.json asks for, in the files of v1 and of v2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.container.cgroups_layout import Hierarchy, Layout, find_layout
from auberge.container.cgroups_limits import io_weight, limits, weight
from auberge.container.config import (
    CPU,
    BlockIO,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)
from auberge.refusal import Refusal
from tests.container.hierarchies import V1, V2_CONTROLLERS

FIRST = find_layout(*V1)
SECOND = Layout((Hierarchy(2, tuple(V2_CONTROLLERS.split()), "/sys/fs/cgroup", "/"),))
HYBRID = Layout((*FIRST.hierarchies, Hierarchy(2, ("misc",), "/sys/fs/cgroup/unified", "/")))
MIB = 1 << 20


def told(resources: Resources, layout: Layout) -> list[tuple[str, str]]:
    return [(one.file, one.text) for one in limits(resources, layout)]


def said(resources: Resources, layout: Layout) -> str:
    with pytest.raises(Refusal) as refusal:
        limits(resources, layout)
    return str(refusal.value).removeprefix("config.json: $.linux.resources.")


BOTH = [
    (
        Resources(memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=32 * MIB)),
        [
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "100663296"),
            ("memory.soft_limit_in_bytes", "33554432"),
        ],
        [
            ("memory.max", "67108864"),
            ("memory.swap.max", "33554432"),
            ("memory.low", "33554432"),
        ],
    ),
    (
        Resources(memory=Memory(limit=-1)),
        [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
        [("memory.max", "max")],
    ),
    (
        Resources(memory=Memory(limit=MIB, swap=-1)),
        [("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "-1")],
        [("memory.max", "1048576"), ("memory.swap.max", "max")],
    ),
    (
        Resources(cpu=CPU(shares=1024, quota=50_000, period=100_000, burst=1000)),
        [
            ("cpu.shares", "1024"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.cfs_burst_us", "1000"),
        ],
        [("cpu.weight", "100"), ("cpu.max", "50000 100000"), ("cpu.max.burst", "1000")],
    ),
    (
        Resources(cpu=CPU(quota=-1, shares=2, idle=1)),
        [("cpu.idle", "1"), ("cpu.cfs_quota_us", "-1")],
        [("cpu.idle", "1"), ("cpu.max", "max")],
    ),
    (
        Resources(cpu=CPU(period=50_000)),
        [("cpu.cfs_period_us", "50000")],
        [("cpu.max", "max 50000")],
    ),
    (
        Resources(cpu=CPU(cpus="0-1", mems="0")),
        [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
        [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
    ),
    (Resources(pids=Pids(10)), [("pids.max", "10")], [("pids.max", "10")]),
    (Resources(pids=Pids(-1)), [("pids.max", "max")], [("pids.max", "max")]),
    (Resources(pids=Pids(0)), [], []),
    (
        Resources(
            block_io=BlockIO(
                weight=500,
                weight_device=(WeightDevice(8, 0, 100),),
                throttle_read_bps_device=(ThrottleDevice(8, 0, 1000),),
                throttle_write_iops_device=(ThrottleDevice(8, 16, 0),),
            )
        ),
        [
            ("blkio.weight", "500"),
            ("blkio.weight_device", "8:0 100"),
            ("blkio.throttle.read_bps_device", "8:0 1000"),
            ("blkio.throttle.write_iops_device", "8:16 0"),
        ],
        [
            ("io.bfq.weight", "500"),
            ("io.bfq.weight", "8:0 100"),
            ("io.max", "8:0 rbps=1000"),
            ("io.max", "8:16 wiops=max"),
        ],
    ),
    (
        Resources(hugepage_limits=(HugepageLimit("2MB", 4 * MIB),)),
        [("hugetlb.2MB.limit_in_bytes", "4194304")],
        [("hugetlb.2MB.max", "4194304")],
    ),
    (
        Resources(rdma={"mlx5_0": Rdma(3, 10_000), "mlx5_1": Rdma(hca_objects=1)}),
        [("rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"), ("rdma.max", "mlx5_1 hca_object=1")],
        [("rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"), ("rdma.max", "mlx5_1 hca_object=1")],
    ),
    (Resources(memory=Memory(use_hierarchy=True, check_before_update=True)), [], []),
    (Resources(), [], []),
]


@pytest.mark.parametrize("resources, first, second", BOTH)
def test_a_property_is_a_value_of_a_file(resources, first, second):
    assert told(resources, FIRST) == first
    assert told(resources, SECOND) == second


ONLY_FIRST = [
    (Resources(memory=Memory(swappiness=5)), "memory.swappiness", "5", "memory.swappiness"),
    (
        Resources(memory=Memory(kernel_tcp=MIB)),
        "memory.kmem.tcp.limit_in_bytes", "1048576", "memory.kernelTCP",
    ),
    (
        Resources(memory=Memory(kernel=MIB)),
        "memory.kmem.limit_in_bytes", "1048576", "memory.kernel",
    ),
    (
        Resources(memory=Memory(disable_oom_killer=True)),
        "memory.oom_control", "1", "memory.disableOOMKiller",
    ),
    (Resources(cpu=CPU(realtime_runtime=900)), "cpu.rt_runtime_us", "900", "cpu.realtimeRuntime"),
    (Resources(cpu=CPU(realtime_period=1000)), "cpu.rt_period_us", "1000", "cpu.realtimePeriod"),
    (
        Resources(network=Network(class_id=0x10_0001)),
        "net_cls.classid", "1048577", "network.classID",
    ),
    (
        Resources(network=Network(priorities=(InterfacePriority("eth0", 5),))),
        "net_prio.ifpriomap", "eth0 5", "network.priorities[0]",
    ),
    (Resources(block_io=BlockIO(leaf_weight=9)), "blkio.leaf_weight", "9", "blockIO.leafWeight"),
    (
        Resources(block_io=BlockIO(weight_device=(WeightDevice(8, 0, None, 9),))),
        "blkio.leaf_weight_device", "8:0 9", "blockIO.weightDevice[0].leafWeight",
    ),
]  # fmt: skip


@pytest.mark.parametrize("resources, file, text, name", ONLY_FIRST)
def test_what_v2_does_not_have_is_refused_there(resources, file, text, name):
    assert told(resources, FIRST) == [(file, text)]
    assert said(resources, SECOND) == f"{name}: cgroup v2 does not have it; leave it out"


def test_weights_that_meet_at_their_defaults_and_ends():
    assert [weight(shares) for shares in (0, 2, 1024, 262_144, 1 << 40)] == [
        1, 1, 100, 10_000, 10_000,
    ]  # fmt: skip
    assert [io_weight(block) for block in (0, 10, 1000)] == [1, 1, 10_000]


@given(st.integers(2, 262_144), st.integers(2, 262_144))
def test_more_shares_are_no_less_weight(a, b):
    assert (weight(min(a, b)) <= weight(max(a, b))) and 1 <= weight(a) <= 10_000


def test_what_a_kernel_has_either_way_has_another_name():
    wanted = Resources(block_io=BlockIO(weight=500))
    (first,), (second,) = limits(wanted, FIRST), limits(wanted, SECOND)
    assert first.otherwise is not None and first.otherwise.file == "blkio.bfq.weight"
    assert second.otherwise is not None
    assert (second.otherwise.file, second.otherwise.text) == ("io.weight", "default 4950")


def test_files_of_v2_by_their_names():
    wanted = Resources(
        unified={"memory.high": "1M", "misc.max": "res_a 1", "cgroup.max.depth": "2"}
    )
    assert told(wanted, SECOND) == [
        ("memory.high", "1M"), ("misc.max", "res_a 1"), ("cgroup.max.depth", "2"),
    ]  # fmt: skip
    assert told(Resources(unified={"misc.max": "a 1"}), HYBRID) == [("misc.max", "a 1")]


REFUSED = [
    (
        Resources(unified={"memory.high": "1"}), FIRST,
        "unified: this host has cgroup v1 only; leave it out, or start the host with cgroup v2",
    ),
    (
        Resources(unified={"memory.high": "1"}), HYBRID,
        "unified.memory.high: cgroup v2 has no controller memory here; leave it out",
    ),
    (
        Resources(unified={"../x": "1"}), SECOND,
        "unified.../x: '../x' is part of no file's name; correct it",
    ),
    (
        Resources(hugepage_limits=(HugepageLimit("../../2MB", 1),)), SECOND,
        "hugepageLimits[0].pageSize: '../../2MB' is part of no file's name; correct it",
    ),
    (
        Resources(memory=Memory(swap=MIB)), SECOND,
        "memory.swap: a limit of memory and swap needs one of memory; give memory.limit too",
    ),
    (
        Resources(memory=Memory(limit=2 * MIB, swap=MIB)), SECOND,
        "memory.swap: 1048576 is for memory and swap together, and less than memory.limit; "
        "write at least 2097152",
    ),
    (
        Resources(pids=Pids(5)), Layout(()),
        "pids: this host has no cgroup controller pids; leave it out, or mount the controller",
    ),
    (
        Resources(cpu=CPU(cpus="0")), Layout(()),
        "cpu.cpus: this host has no cgroup controller cpuset; leave it out, or mount the "
        "controller",
    ),
]  # fmt: skip


@pytest.mark.parametrize("resources, layout, complaint", REFUSED)
def test_what_cannot_be_asked_for(resources, layout, complaint):
    assert said(resources, layout) == complaint
