"""The commands of `auberge-oci` about limits and use: update and events."""

import json
import sys
import time

from auberge.cli.oci import Words
from auberge.container.cgroups_stats import Stats
from auberge.container.config import CPU, BlockIO, Memory, Pids, Resources
from auberge.container.config_file import parse
from auberge.container.runtime import Container
from auberge.refusal import Refusal


def run(name: str, words: Words, root: str) -> int:
    """Carry out one of them."""
    container = Container(root, words.rest[0])
    record = container.record()
    status = container.status(record)
    if status == "stopped":
        raise Refusal(f"container {container.id}: container not running; delete it")
    if name == "update":
        container.update(_resources(words))
        return 0
    return _events(container, words)


def _resources(words: Words) -> Resources:
    path = words.value("resources")
    if path == "-":
        return parse(sys.stdin.buffer.read(), Resources, "standard input")
    if path:
        with open(path, "rb") as file:
            return parse(file.read(), Resources, path)

    def number(name: str) -> int | None:
        return words.number(name) if words.value(name) else None

    memory = Memory(
        limit=number("memory"), reservation=number("memory-reservation"),
        swap=number("memory-swap"), kernel=number("kernel-memory"),
        kernel_tcp=number("kernel-memory-tcp"),
    )  # fmt: skip
    cpu = CPU(
        shares=number("cpu-share"), quota=number("cpu-quota"), burst=number("cpu-burst"),
        period=number("cpu-period"), realtime_runtime=number("cpu-rt-runtime"),
        realtime_period=number("cpu-rt-period"), cpus=words.value("cpuset-cpus") or None,
        mems=words.value("cpuset-mems") or None, idle=number("cpu-idle"),
    )  # fmt: skip
    weight, pids = number("blkio-weight"), number("pids-limit")
    return Resources(
        memory=memory if memory != Memory() else None,
        cpu=cpu if cpu != CPU() else None,
        block_io=None if weight is None else BlockIO(weight=weight),
        pids=None if pids is None else Pids(pids),
    )


def _events(container: Container, words: Words) -> int:
    from auberge.container.cgroups_events import OomWatch

    cgroup = container.cgroup(container.record())
    if words.flag("stats"):
        _print(container.id, "stats", stats_of(cgroup.stats()))
        return 0
    interval = seconds(words.value("interval", "5s"))
    watch = OomWatch(cgroup.nodes)
    try:
        due = time.monotonic() + interval
        while container.status(container.record()) != "stopped":
            if watch.wait(max(0.0, due - time.monotonic())):
                _print(container.id, "oom", None)
            if time.monotonic() >= due:
                _print(container.id, "stats", stats_of(cgroup.stats()))
                due += interval
    finally:
        watch.close()
    return 0


def seconds(text: str) -> float:
    """A duration of Go's, as `5s` or `500ms`; raises Refusal."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        number = text.removesuffix(unit)
        digits = number.replace(".", "", 1)
        if text.endswith(unit) and digits.isascii() and digits.isdigit() and len(number) < 8:
            if float(number) > 0:
                return float(number) * factor
    raise Refusal(f"--interval: {text!r} is no duration; write as 5s")


def _print(name: str, kind: str, data: object) -> None:
    event = {"type": kind, "id": name} | ({} if data is None else {"data": data})
    print(json.dumps(event), flush=True)


def stats_of(s: Stats) -> dict[str, object]:
    """As runc prints them."""
    memory = s.memory
    return {
        "cpu": {
            "usage": {
                "total": s.cpu.total, "percpu": list(s.cpu.per_cpu), "kernel": s.cpu.system,
                "user": s.cpu.user,
            },
            "throttling": {
                "periods": s.cpu.periods, "throttledPeriods": s.cpu.throttled_periods,
                "throttledTime": s.cpu.throttled,
            },
        },
        "memory": {
            "cache": memory.cache,
            "usage": {
                "limit": memory.limit or 0, "usage": memory.usage, "max": memory.peak,
                "failcnt": memory.at_limit,
            },
            "swap": {
                "limit": memory.swap_limit or 0, "usage": memory.swap, "max": 0, "failcnt": 0
            },
            "kernel": {"usage": memory.kernel},
            "kernelTCP": {"usage": memory.kernel_tcp},
            "raw": memory.detail,
        },
        "pids": {"current": s.pids.current, "limit": s.pids.limit or 0},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": d.major, "minor": d.minor, "op": op, "value": value}
                for d in s.devices
                for op, value in (("Read", d.read_bytes), ("Write", d.write_bytes))
            ],
        },
        "hugetlb": {
            h.page_size: {"usage": h.usage, "max": h.peak, "failcnt": h.refused}
            for h in s.hugepages
        },
    }  # fmt: skip
