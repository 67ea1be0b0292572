"""What a container uses, as its cgroups count it; the same numbers from v1 and from v2.

A number that this kernel does not count, or a controller that is not there, is 0, None or empty.
"""

import os

from auberge.container.cgroups_files import number, numbers, read
from auberge.container.cgroups_layout import Node
from auberge.container.light import NamedTuple, Sequence

UNLIMITED = 1 << 62
"""v1 writes "no limit" as the largest multiple of the page size below 2^63."""

_TICKS = os.sysconf("SC_CLK_TCK")


class CpuUse(NamedTuple):
    """Processor time in nanoseconds, and what the quota did."""

    total: int = 0
    user: int = 0
    system: int = 0
    per_cpu: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0


class MemoryUse(NamedTuple):
    """Bytes; `limit` is None if there is none. `detail` is memory.stat as the kernel has it."""

    usage: int = 0
    peak: int = 0
    limit: int | None = None
    swap: int = 0
    swap_limit: int | None = None
    at_limit: int = 0  # how often the limit was reached
    oom_kills: int = 0
    kernel: int = 0
    kernel_tcp: int = 0
    cache: int = 0
    detail: dict[str, int] = {}


class PidsUse(NamedTuple):
    """Tasks, that is threads as well."""

    current: int = 0
    limit: int | None = None
    refused: int = 0  # forks, for the limit


class DeviceUse(NamedTuple):
    """What was read from and written to one block device."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0


class HugepageUse(NamedTuple):
    """Huge pages of one size, in bytes."""

    page_size: str
    usage: int = 0
    peak: int = 0
    refused: int = 0


class Pressure(NamedTuple):
    """Microseconds in which some, or all, tasks waited for a resource (psi.rst)."""

    some: int = 0
    full: int = 0


class Stats(NamedTuple):
    """All of it, at one time."""

    cpu: CpuUse = CpuUse()
    memory: MemoryUse = MemoryUse()
    pids: PidsUse = PidsUse()
    devices: tuple[DeviceUse, ...] = ()
    hugepages: tuple[HugepageUse, ...] = ()
    pressure: dict[str, Pressure] = {}


def read_stats(nodes: Sequence[Node]) -> Stats:
    """What the container of these cgroups uses now."""
    by_name = {name: node for node in nodes for name in node.controllers}
    unified = next((node for node in nodes if node.version == 2), None)
    return Stats(
        _cpu(by_name, unified),
        _memory(by_name.get("memory")),
        _pids(by_name.get("pids")),
        _devices(by_name.get("blkio") or by_name.get("io")),
        _hugepages(by_name.get("hugetlb")),
        _pressure(unified),
    )


def oom_kills(nodes: Sequence[Node]) -> int:
    """How many processes of the container the kernel has killed for lack of memory."""
    for node in nodes:
        if "memory" in node.controllers:
            file = "memory.oom_control" if node.version == 1 else "memory.events"
            return numbers(read(node.file(file))).get("oom_kill", 0)
    return 0


def _number(node: Node, *files: str) -> int:
    """The number of the first of these files that is there."""
    return next((value for file in files if (value := number(read(node.file(file))))), 0)


def _limit(node: Node, file: str) -> int | None:
    value = number(read(node.file(file)))
    return None if value is None or value >= UNLIMITED else value


def _cpu(by_name: dict[str, Node], unified: Node | None) -> CpuUse:
    cpu, accounting = by_name.get("cpu"), by_name.get("cpuacct")
    if accounting is not None:
        quota = numbers(read(cpu.file("cpu.stat"))) if cpu else {}
        times = numbers(read(accounting.file("cpuacct.stat")))
        per_cpu = read(accounting.file("cpuacct.usage_percpu")).split()
        return CpuUse(
            _number(accounting, "cpuacct.usage"),
            times.get("user", 0) * 1_000_000_000 // _TICKS,
            times.get("system", 0) * 1_000_000_000 // _TICKS,
            tuple(int(value) for value in per_cpu if value.isdecimal()),
            quota.get("nr_periods", 0),
            quota.get("nr_throttled", 0),
            quota.get("throttled_time", 0),
        )
    node = cpu or unified  # v2 counts time even without the controller
    stat = numbers(read(node.file("cpu.stat"))) if node else {}
    return CpuUse(
        stat.get("usage_usec", 0) * 1000,
        stat.get("user_usec", 0) * 1000,
        stat.get("system_usec", 0) * 1000,
        (),
        stat.get("nr_periods", 0),
        stat.get("nr_throttled", 0),
        stat.get("throttled_usec", 0) * 1000,
    )


def _memory(node: Node | None) -> MemoryUse:
    if node is None:
        return MemoryUse()
    detail = numbers(read(node.file("memory.stat")))
    if node.version == 1:
        usage = _number(node, "memory.usage_in_bytes")
        both = _number(node, "memory.memsw.usage_in_bytes")
        return MemoryUse(
            usage,
            _number(node, "memory.max_usage_in_bytes"),
            _limit(node, "memory.limit_in_bytes"),
            detail.get("swap", max(both - usage, 0)),
            _limit(node, "memory.memsw.limit_in_bytes"),
            _number(node, "memory.failcnt") + _number(node, "memory.memsw.failcnt"),
            numbers(read(node.file("memory.oom_control"))).get("oom_kill", 0),
            _number(node, "memory.kmem.usage_in_bytes"),
            _number(node, "memory.kmem.tcp.usage_in_bytes"),
            detail.get("total_cache", detail.get("cache", 0)),
            detail,
        )
    events = numbers(read(node.file("memory.events")))
    return MemoryUse(
        _number(node, "memory.current"),
        _number(node, "memory.peak"),
        _limit(node, "memory.max"),
        _number(node, "memory.swap.current"),
        _limit(node, "memory.swap.max"),
        events.get("max", 0),
        events.get("oom_kill", 0),
        detail.get("kernel", detail.get("slab", 0) + detail.get("kernel_stack", 0)),
        detail.get("sock", 0),
        detail.get("file", 0),
        detail,
    )


def _pids(node: Node | None) -> PidsUse:
    if node is None:
        return PidsUse()
    events = numbers(read(node.file("pids.events")))
    return PidsUse(_number(node, "pids.current"), _limit(node, "pids.max"), events.get("max", 0))


def _devices(node: Node | None) -> tuple[DeviceUse, ...]:
    if node is None:
        return ()
    found: dict[str, dict[str, int]] = {}
    if node.version == 2:  # MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ...
        names = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "reads", "wios": "writes"}
        for line in read(node.file("io.stat")).splitlines():
            device, *pairs = line.split()
            for pair in pairs:
                key, _, value = pair.partition("=")
                if key in names and value.isdecimal():
                    found.setdefault(device, {})[names[key]] = int(value)
    else:  # MAJOR:MINOR Read N
        for file, names in (
            ("io_service_bytes", {"Read": "read_bytes", "Write": "write_bytes"}),
            ("io_serviced", {"Read": "reads", "Write": "writes"}),
        ):
            # BFQ counts what it schedules; without it only the throttle does.
            for line in _lines(node, f"blkio.bfq.{file}_recursive", f"blkio.throttle.{file}"):
                words = line.split()
                if len(words) == 3 and words[1] in names and words[2].isdecimal():
                    found.setdefault(words[0], {})[names[words[1]]] = int(words[2])
    return tuple(
        _device(device, values)
        for device, values in sorted(found.items())
        if device.replace(":", "", 1).isdecimal()
    )


def _lines(node: Node, *files: str) -> list[str]:
    """Of the first file that says more than a total of 0."""
    texts = (read(node.file(file)).splitlines() for file in files)
    return next((lines for lines in texts if len(lines) > 1), [])


def _device(name: str, values: dict[str, int]) -> DeviceUse:
    major, _, minor = name.partition(":")
    return DeviceUse(
        int(major),
        int(minor),
        values.get("read_bytes", 0),
        values.get("write_bytes", 0),
        values.get("reads", 0),
        values.get("writes", 0),
    )


def _hugepages(node: Node | None) -> tuple[HugepageUse, ...]:
    if node is None or not os.path.isdir(node.path):
        return ()
    v1, v2 = ".limit_in_bytes", ".max"
    ending = v1 if node.version == 1 else v2
    sizes = sorted(
        name.removeprefix("hugetlb.").removesuffix(ending)
        for name in os.listdir(node.path)
        if name.startswith("hugetlb.") and name.endswith(ending) and ".rsvd" not in name
    )
    return tuple(_hugepage(node, size) for size in sizes)


def _hugepage(node: Node, size: str) -> HugepageUse:
    prefix = f"hugetlb.{size}"
    if node.version == 2:
        refused = numbers(read(node.file(f"{prefix}.events"))).get("max", 0)
        return HugepageUse(size, _number(node, f"{prefix}.current"), 0, refused)
    return HugepageUse(
        size,
        _number(node, f"{prefix}.usage_in_bytes"),
        _number(node, f"{prefix}.max_usage_in_bytes"),
        _number(node, f"{prefix}.failcnt"),
    )


def _pressure(node: Node | None) -> dict[str, Pressure]:
    found: dict[str, Pressure] = {}
    for name in ("cpu", "memory", "io") if node else ():
        assert node is not None
        totals = {
            line.split(" ", 1)[0]: int(line.rpartition("total=")[2])
            for line in read(node.file(f"{name}.pressure")).splitlines()
            if line.rpartition("total=")[2].isdecimal()
        }
        if totals:
            found[name] = Pressure(totals.get("some", 0), totals.get("full", 0))
    return found
