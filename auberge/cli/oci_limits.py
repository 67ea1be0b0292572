"""The commands of `auberge-oci` about limits and use: update and events."""

from __future__ import annotations

import json
import sys
import time

from auberge.cli.oci import Words
from auberge.container.cgroups_stats import Stats
from auberge.container.clauses import bandwidth_schema, cache_schema
from auberge.container.config import CPU, BlockIO, Memory, Pids, Resources
from auberge.container.config_file import parse
from auberge.container.light import TYPE_CHECKING, Callable
from auberge.container.runtime import Container
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.container.resctrl_stats import ResctrlUse


def run(name: str, words: Words, root: str) -> int:
    """Carry out one of them."""
    container = Container(root, words.rest[0])
    record = container.record()
    status = container.status(record)
    if status == "stopped":
        raise Refusal(f"container {container.id}: container not running; delete it")
    if name == "update":
        shares = [
            _schema(words, "l3-cache-schema", cache_schema),
            _schema(words, "mem-bw-schema", bandwidth_schema),
        ]
        container.update(_resources(words))
        if any(shares):
            container.update_shares(*shares)
        return 0
    return _events(container, words)


def _schema(words: Words, name: str, check: Callable[[str], str | None]) -> str:
    text = words.value(name)
    if complaint := check(text):
        raise Refusal(f"--{name}: {complaint}")
    return text


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

    record = container.record()
    cgroup, place, rdt = container.cgroup(record), record.resctrl, None
    if place is not None:
        rdt = container.config().linux.intel_rdt

    def used() -> dict[str, object]:
        shares: dict[str, object] = {}
        if place is not None and rdt is not None:
            from auberge.container.resctrl_stats import read_use

            shares = resctrl_of(read_use(place, rdt))
        return stats_of(cgroup.stats()) | {"intel_rdt": shares}

    if words.flag("stats"):
        _print(container.id, "stats", used())
        return 0
    interval = seconds(words.value("interval", "5s"))
    watch = OomWatch(cgroup.nodes)
    try:
        due = time.monotonic() + interval
        while container.status(container.record()) != "stopped":
            if watch.wait(max(0.0, due - time.monotonic())):
                _print(container.id, "oom", None)
            if time.monotonic() >= due:
                _print(container.id, "stats", used())
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


def resctrl_of(use: ResctrlUse) -> dict[str, object]:
    """Shares and use of caches and bandwidth, as runc prints them: what is not there is left
    out."""
    found: dict[str, object] = {
        "l3_cache_info": use.l3_cache_info and use.l3_cache_info._asdict(),
        "l3_cache_schema_root": use.l3_cache_schema_root,
        "l3_cache_schema": use.l3_cache_schema,
        "mem_bw_info": use.mem_bw_info and use.mem_bw_info._asdict(),
        "mem_bw_schema_root": use.mem_bw_schema_root,
        "mem_bw_schema": use.mem_bw_schema,
        "schemata": list(use.schemata),
    }
    found = {key: value for key, value in found.items() if value}
    if use.bandwidth is not None:
        found["mbm_stats"] = [
            {"mbm_total_bytes": d.mbm_total_bytes, "mbm_local_bytes": d.mbm_local_bytes}
            for d in use.bandwidth
        ]
    if use.occupancy is not None:
        found["cmt_stats"] = [{"llc_occupancy": d.llc_occupancy} for d in use.occupancy]
    return found
