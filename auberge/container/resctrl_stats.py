"""What a container uses of caches and memory bandwidth, as resctrl counts it, and its shares.

A number that the kernel does not count, or not now ("Unavailable"), is 0; what this processor does
not have is None or empty.
"""

import os

from auberge.container.cgroups_files import number, read
from auberge.container.config import IntelRdt
from auberge.container.light import NamedTuple
from auberge.container.record import ResctrlPlace


class CacheInfo(NamedTuple):
    """info/L3: the mask of all bits, the fewest bits of a share, and how many classes there are."""

    cbm_mask: str
    min_cbm_bits: int
    num_closids: int


class BandwidthInfo(NamedTuple):
    """info/MB: percentages, and how many classes there are."""

    bandwidth_gran: int
    delay_linear: int
    min_bandwidth: int
    num_closids: int


class DomainUse(NamedTuple):
    """One L3 cache (`mon_L3_00`): bytes in it, and bytes moved between it and memory."""

    name: str
    llc_occupancy: int
    mbm_total_bytes: int
    mbm_local_bytes: int


class ResctrlUse(NamedTuple):
    """All of it, at one time; shares are lines of schemata, those of the root for comparison."""

    l3_cache_info: CacheInfo | None = None
    l3_cache_schema_root: str = ""
    l3_cache_schema: str = ""
    mem_bw_info: BandwidthInfo | None = None
    mem_bw_schema_root: str = ""
    mem_bw_schema: str = ""
    schemata: tuple[str, ...] = ()
    occupancy: tuple[DomainUse, ...] | None = None  # enableCMT
    bandwidth: tuple[DomainUse, ...] | None = None  # enableMBM


def read_use(place: ResctrlPlace, rdt: IntelRdt) -> ResctrlUse:
    """What a container has and uses whose configuration asks for `rdt`."""
    root, own = _lines(place.mount), _lines(place.group)
    domains = _domains(place.monitor or place.group) if rdt.enable_cmt or rdt.enable_mbm else ()
    info = f"{place.mount}/info"
    cache: CacheInfo | None = None
    if os.path.isdir(f"{info}/L3"):
        mask = read(f"{info}/L3/cbm_mask").strip()
        cache = CacheInfo(
            mask, _number(f"{info}/L3/min_cbm_bits"), _number(f"{info}/L3/num_closids")
        )
    bandwidth: BandwidthInfo | None = None
    if os.path.isdir(f"{info}/MB"):
        names = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
        bandwidth = BandwidthInfo(*(_number(f"{info}/MB/{name}") for name in names))
    return ResctrlUse(
        cache, _of(root, "L3"), _of(own, "L3"), bandwidth, _of(root, "MB"), _of(own, "MB"), own,
        domains if rdt.enable_cmt else None, domains if rdt.enable_mbm else None,
    )  # fmt: skip


def _number(path: str) -> int:
    return number(read(path)) or 0


def _lines(group: str) -> tuple[str, ...]:
    """Its schemata; the kernel aligns them with spaces."""
    return tuple(line.strip() for line in read(f"{group}/schemata").splitlines())


def _of(lines: tuple[str, ...], name: str) -> str:
    """The share of one resource: of L3 it may be one of code and one of data (CDP), and then the
    last of them, as runc has it."""
    return next((line for line in reversed(lines) if line.startswith(name)), "")


def _domains(group: str) -> tuple[DomainUse, ...]:
    folder = f"{group}/mon_data"
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith("mon_L3_"))
    except FileNotFoundError:
        return ()
    files = ("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes")
    return tuple(
        DomainUse(name, *(_number(f"{folder}/{name}/{file}") for file in files)) for name in names
    )
