"""`linux.resources` of config.json as values for files of cgroups, in order.

Nothing is written here. What v1 and v2 call things is said in the kernel's
Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst; what a property means in config-linux.md,
"Control groups". Device rules are in cgroups_devices.py.
"""

from auberge.container.cgroups_files import Write
from auberge.container.cgroups_layout import Layout
from auberge.container.config import (
    CPU,
    BlockIO,
    Memory,
    Network,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)
from auberge.container.light import Iterator
from auberge.refusal import Refusal

WHERE = "$.linux.resources"


def limits(resources: Resources, layout: Layout) -> list[Write]:
    """What has to be written; raises Refusal if this host lacks a controller, or a property is of
    the other version of cgroups."""
    return list(_limits(resources, layout))


def _limits(r: Resources, layout: Layout) -> Iterator[Write]:
    if r.memory is not None:
        yield from _memory(r.memory, layout)
    if r.cpu is not None:
        yield from _cpu(r.cpu, layout)
        yield from _cpuset(r.cpu, layout)
    if r.pids is not None and r.pids.limit != 0:  # 0 is "not set" for those who write JSON
        _version(layout, "pids", "pids")
        limit = str(r.pids.limit) if r.pids.limit > 0 else "max"
        yield Write("pids", "pids.max", limit, f"{WHERE}.pids.limit")
    if r.block_io is not None:
        yield from _block_io(r.block_io, layout)
    for index, page in enumerate(r.hugepage_limits):
        version = _version(layout, "hugetlb", "hugepageLimits")
        name = "max" if version == 2 else "limit_in_bytes"
        file = f"hugetlb.{_file_part(page.page_size, f'hugepageLimits[{index}].pageSize')}"
        where = f"{WHERE}.hugepageLimits[{index}].limit"
        yield Write("hugetlb", f"{file}.{name}", str(page.limit), where)
    if r.network is not None:
        yield from _network(r.network, layout)
    for device, handles in r.rdma.items():
        yield _rdma(device, handles, layout)
    for file, text in r.unified.items():
        yield _unified(file, text, layout)


def weight(shares: int) -> int:
    """cpu.weight (1 to 10,000) for cpu.shares (2 to 262,144), each kernel's default (1024) being
    the other's (100), and ends meeting ends: a quadratic in the logarithm, as in runc 1.3 and
    crun 1.23; a straight line, as before, made 39 of the default."""
    shares = min(max(shares, 2), 262_144)
    if shares == 2:
        return 1
    if shares == 262_144:
        return 10_000
    from math import ceil, log2

    power = log2(shares)
    return ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def io_weight(block: int) -> int:
    """io.weight (1 to 10,000) for blkio.weight (10 to 1000)."""
    return 1 + (max(block, 10) - 10) * 9999 // 990


def _version(layout: Layout, controller: str, name: str) -> int:
    """Which version has it; for the property `name` of the resources."""
    for hierarchy in layout.hierarchies:
        if controller in hierarchy.controllers:
            return hierarchy.version
    raise Refusal(
        f"config.json: {WHERE}.{name}: this host has no cgroup controller {controller}; "
        "leave it out, or mount the controller"
    )


def _only_in_v1(name: str) -> Refusal:
    return Refusal(f"config.json: {WHERE}.{name}: cgroup v2 does not have it; leave it out")


def _file_part(text: str, name: str) -> str:
    """`text`, which becomes part of a file's name."""
    if not text or "/" in text or text.startswith("."):
        raise Refusal(
            f"config.json: {WHERE}.{name}: {text!r} is part of no file's name; correct it"
        )
    return text


def _unlimited(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(m: Memory, layout: Layout) -> Iterator[Write]:
    # How to update, and a hierarchy that kernels have always had since 5.11, are no limits.
    if m._replace(use_hierarchy=None, check_before_update=None) == Memory():
        return
    version = _version(layout, "memory", "memory")
    yield from _memory_v1(m) if version == 1 else _memory_v2(m)


def _memory_v1(m: Memory) -> Iterator[Write]:
    where = f"{WHERE}.memory"
    limit = Write("memory", "memory.limit_in_bytes", "-1", f"{where}.limit", again=True)
    both = Write("memory", "memory.memsw.limit_in_bytes", "-1", f"{where}.swap", again=True)
    if m.limit is not None:
        above = "memory.usage_in_bytes" if m.check_before_update and m.limit >= 0 else ""
        yield limit._replace(text=str(max(m.limit, -1)), above=above)
    if m.swap is not None:  # "limit of memory+Swap usage"
        yield both._replace(text=str(max(m.swap, -1)))
    elif m.limit is not None and m.limit < 0:
        # Memory alone cannot be unlimited while both together are limited.
        yield both._replace(otherwise=limit)
    for value, file, name in (
        (m.reservation, "memory.soft_limit_in_bytes", "reservation"),
        (m.kernel, "memory.kmem.limit_in_bytes", "kernel"),
        (m.kernel_tcp, "memory.kmem.tcp.limit_in_bytes", "kernelTCP"),
        (m.swappiness, "memory.swappiness", "swappiness"),
    ):
        if value is not None:
            kept = name == "kernel" and value >= 0
            yield Write("memory", file, str(max(value, -1)), f"{where}.{name}", kept=kept)
    if m.disable_oom_killer is not None:
        text = "1" if m.disable_oom_killer else "0"
        yield Write("memory", "memory.oom_control", text, f"{where}.disableOOMKiller")


def _memory_v2(m: Memory) -> Iterator[Write]:
    where = f"{WHERE}.memory"
    for name, value in (
        ("kernel", m.kernel),
        ("kernelTCP", m.kernel_tcp),
        ("swappiness", m.swappiness),
        ("disableOOMKiller", m.disable_oom_killer or None),
    ):
        if value is not None and value != -1:
            raise _only_in_v1(f"memory.{name}")
    if m.limit is not None:
        above = "memory.current" if m.check_before_update and m.limit >= 0 else ""
        yield Write("memory", "memory.max", _unlimited(m.limit), f"{where}.limit", above=above)
    if m.swap is not None:
        yield Write("memory", "memory.swap.max", _swap(m.swap, m.limit), f"{where}.swap")
    if m.reservation is not None:
        yield Write("memory", "memory.low", _unlimited(m.reservation), f"{where}.reservation")


def _swap(both: int, memory: int | None) -> str:
    """v2 limits swap alone: what is left of the limit of both."""
    if both < 0:
        return "max"
    if memory is None or memory < 0:
        raise Refusal(
            f"config.json: {WHERE}.memory.swap: a limit of memory and swap needs one of memory; "
            "give memory.limit too"
        )
    if both < memory:
        raise Refusal(
            f"config.json: {WHERE}.memory.swap: {both} is for memory and swap together, and less "
            f"than memory.limit; write at least {memory}"
        )
    return str(both - memory)


def _cpu(c: CPU, layout: Layout) -> Iterator[Write]:
    if c._replace(cpus=None, mems=None) == CPU():
        return
    version = _version(layout, "cpu", "cpu")
    where = f"{WHERE}.cpu"
    if c.idle is not None:
        yield Write("cpu", "cpu.idle", str(c.idle), f"{where}.idle")
    if c.shares is not None and c.shares != 0 and not c.idle:  # an idle group has no weight
        if version == 1:
            yield Write("cpu", "cpu.shares", str(c.shares), f"{where}.shares")
        else:
            yield Write("cpu", "cpu.weight", str(weight(c.shares)), f"{where}.shares")
    yield from _cpu_v1(c) if version == 1 else _cpu_v2(c)


def _cpu_v1(c: CPU) -> Iterator[Write]:
    where = f"{WHERE}.cpu"
    # A burst is at most the quota, and both depend on the period.
    if c.period:
        yield Write("cpu", "cpu.cfs_period_us", str(c.period), f"{where}.period", again=True)
    if c.quota:
        yield Write("cpu", "cpu.cfs_quota_us", str(max(c.quota, -1)), f"{where}.quota", again=True)
    if c.burst is not None:
        yield Write("cpu", "cpu.cfs_burst_us", str(c.burst), f"{where}.burst", again=True)
    if c.realtime_period:
        yield Write(
            "cpu", "cpu.rt_period_us", str(c.realtime_period), f"{where}.realtimePeriod", again=True
        )
    if c.realtime_runtime is not None and c.realtime_runtime != 0:
        yield Write(
            "cpu", "cpu.rt_runtime_us", str(c.realtime_runtime), f"{where}.realtimeRuntime",
            again=True,
        )  # fmt: skip


def _cpu_v2(c: CPU) -> Iterator[Write]:
    where = f"{WHERE}.cpu"
    if c.realtime_period:
        raise _only_in_v1("cpu.realtimePeriod")
    if c.realtime_runtime:
        raise _only_in_v1("cpu.realtimeRuntime")
    if c.quota:
        period = f" {c.period}" if c.period else ""
        text = f"{_unlimited(c.quota)}{period}"
        yield Write("cpu", "cpu.max", text, f"{where}.quota", again=True)
    elif c.period:
        yield Write("cpu", "cpu.max", f"max {c.period}", f"{where}.period", again=True)
    if c.burst is not None:
        yield Write("cpu", "cpu.max.burst", str(c.burst), f"{where}.burst", again=True)


def _cpuset(c: CPU, layout: Layout) -> Iterator[Write]:
    for name, value in (("cpus", c.cpus), ("mems", c.mems)):
        if value:
            _version(layout, "cpuset", f"cpu.{name}")
            yield Write("cpuset", f"cpuset.{name}", value, f"{WHERE}.cpu.{name}")


def _block_io(b: BlockIO, layout: Layout) -> Iterator[Write]:
    if b == BlockIO():
        return
    controllers = {name for h in layout.hierarchies for name in h.controllers}
    if "blkio" in controllers:
        yield from _block_io_v1(b)
    else:
        _version(layout, "io", "blockIO")
        yield from _block_io_v2(b)


_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def _throttled(b: BlockIO) -> Iterator[tuple[str, str, str, ThrottleDevice]]:
    lists = (
        b.throttle_read_bps_device,
        b.throttle_write_bps_device,
        b.throttle_read_iops_device,
        b.throttle_write_iops_device,
    )
    for (name, file, key), devices in zip(_THROTTLES, lists, strict=True):
        for index, device in enumerate(devices):
            yield f"{WHERE}.blockIO.{name}[{index}].rate", file, key, device


def _block_io_v1(b: BlockIO) -> Iterator[Write]:
    where = f"{WHERE}.blockIO"
    if b.weight:
        yield _scheduled("weight", str(b.weight), f"{where}.weight")
    if b.leaf_weight:
        yield Write("blkio", "blkio.leaf_weight", str(b.leaf_weight), f"{where}.leafWeight")
    for device, place in _weighted(b):
        name = f"{device.major}:{device.minor}"
        if device.weight:
            text = f"{name} {device.weight}"
            yield _scheduled("weight_device", text, f"{place}.weight")
        if device.leaf_weight:
            text = f"{name} {device.leaf_weight}"
            yield Write("blkio", "blkio.leaf_weight_device", text, f"{place}.leafWeight")
    for place, file, _, device_ in _throttled(b):
        text = f"{device_.major}:{device_.minor} {device_.rate}"
        yield Write("blkio", file, text, place)


def _weighted(b: BlockIO) -> Iterator[tuple[WeightDevice, str]]:
    for index, device in enumerate(b.weight_device):
        yield device, f"{WHERE}.blockIO.weightDevice[{index}]"


def _scheduled(name: str, text: str, where: str) -> Write:
    """The scheduler of older kernels, or BFQ, whichever has weights here."""
    bfq = Write("blkio", f"blkio.bfq.{name}", text, where)
    return Write("blkio", f"blkio.{name}", text, where, otherwise=bfq)


def _block_io_v2(b: BlockIO) -> Iterator[Write]:
    where = f"{WHERE}.blockIO"
    if b.leaf_weight:
        raise _only_in_v1("blockIO.leafWeight")
    if b.weight:
        cost = Write("io", "io.weight", f"default {io_weight(b.weight)}", f"{where}.weight")
        yield Write("io", "io.bfq.weight", str(b.weight), f"{where}.weight", otherwise=cost)
    for device, place in _weighted(b):
        if device.leaf_weight:
            raise _only_in_v1(f"{place.removeprefix(WHERE + '.')}.leafWeight")
        if device.weight:
            name = f"{device.major}:{device.minor}"
            text = f"{name} {io_weight(device.weight)}"
            cost = Write("io", "io.weight", text, f"{place}.weight")
            text = f"{name} {device.weight}"
            yield Write("io", "io.bfq.weight", text, f"{place}.weight", otherwise=cost)
    for place, _, key, device_ in _throttled(b):
        # "0 is no limit" in v1; v2 says so in a word
        rate = device_.rate or "max"
        yield Write("io", "io.max", f"{device_.major}:{device_.minor} {key}={rate}", place)


def _network(n: Network, layout: Layout) -> Iterator[Write]:
    second = layout.kind == "v2"
    if n.class_id:
        if second:
            raise _only_in_v1("network.classID")
        _version(layout, "net_cls", "network.classID")
        yield Write("net_cls", "net_cls.classid", str(n.class_id), f"{WHERE}.network.classID")
    for index, priority in enumerate(n.priorities):
        place = f"network.priorities[{index}]"
        if second:
            raise _only_in_v1(place)
        _version(layout, "net_prio", place)
        text = f"{priority.name} {priority.priority}"
        yield Write("net_prio", "net_prio.ifpriomap", text, f"{WHERE}.{place}")


def _rdma(device: str, limit: Rdma, layout: Layout) -> Write:
    _version(layout, "rdma", f"rdma.{device}")
    parts = [device]
    if limit.hca_handles is not None:
        parts.append(f"hca_handle={limit.hca_handles}")
    if limit.hca_objects is not None:
        parts.append(f"hca_object={limit.hca_objects}")
    return Write("rdma", "rdma.max", " ".join(parts), f"{WHERE}.rdma.{device}")


def _unified(file: str, text: str, layout: Layout) -> Write:
    """`unified`: a file of cgroup v2 by its name; in the hybrid layout what v2 has there."""
    _file_part(file, f"unified.{file}")
    controller = file.partition(".")[0]
    second = [h for h in layout.hierarchies if h.version == 2]
    if not second:
        raise Refusal(
            f"config.json: {WHERE}.unified: this host has cgroup v1 only; leave it out, or start "
            "the host with cgroup v2"
        )
    if controller == "cgroup":
        controller = ""
    elif controller not in second[0].controllers:
        raise Refusal(
            f"config.json: {WHERE}.unified.{file}: cgroup v2 has no controller {controller} here; "
            "leave it out"
        )
    return Write(controller, file, text, f"{WHERE}.unified.{file}")
