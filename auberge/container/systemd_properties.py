"""Limits of a container as properties of its unit (systemd.resource-control(5)).

Made of the very values that are written to the cgroup's files: what systemd sets again, at a
`daemon-reload` or when a neighbour changes, are the same ones. A limit that systemd has no property
for is in the file alone, which it leaves as it is (Delegate=yes).
"""

from auberge.container.cgroups_files import Write
from auberge.container.light import Iterator, NamedTuple, Sequence
from auberge.container.number_list import MOST, mask_of
from auberge.refusal import Refusal

INFINITY = (1 << 64) - 1
PERIOD = 100_000  # microseconds, the kernel's own
SECOND = 1_000_000
GRAIN = 10_000
"""Microseconds a second: systemd rounds a quota to a hundredth of a processor; up, as runc has it,
or a small one would become none."""

SINCE = {"CPUQuotaPeriodUSec": 242, "AllowedCPUs": 244, "AllowedMemoryNodes": 244}
"""Versions of systemd that first had a property (its NEWS)."""
IDLE_SINCE = 252  # CPUWeight=idle


class Property(NamedTuple):
    """A property as D-Bus carries it: its name, the signature of its type, and the value."""

    name: str
    signature: str
    value: object


def common(description: str, slice_name: str, pid: int, unified: bool) -> list[Property]:
    """What every container's scope has; the process `pid` is the first in it."""
    block = "IOAccounting" if unified else "BlockIOAccounting"
    counted = ("MemoryAccounting", "CPUAccounting", "TasksAccounting", block)
    return [
        Property("Description", "s", description),
        Property("Slice", "s", slice_name),
        Property("Delegate", "b", True),
        Property("PIDs", "au", [pid]),
        *[Property(name, "b", True) for name in counted],
        Property("DefaultDependencies", "b", False),
    ]


def properties(writes: Sequence[Write], version: int) -> list[Property]:
    """The limits that systemd of that version has properties for; raises Refusal for a value that
    the kernel may understand and systemd does not."""
    found: dict[str, Property] = {}
    for one in _properties(writes, version):
        if version >= SINCE.get(one.name, 0):
            found[one.name] = one  # the last that is written is what holds
    return list(found.values())


def _properties(writes: Sequence[Write], version: int) -> Iterator[Property]:
    by_file = {write.file: write for write in writes}
    for write in writes:
        known = _NUMBERS.get(write.file)
        if known is not None:
            yield Property(known, "t", _number(write, write.text))
        elif write.file in _SETS:
            yield Property(_SETS[write.file], "ay", _bits(write))
        elif write.file == "cpu.max":
            quota, _, period = write.text.partition(" ")
            yield from _quota(_number(write, quota), _number(write, period or str(PERIOD)), period)
        elif write.file == "cpu.idle" and write.text == "1" and version >= IDLE_SINCE:
            yield Property("CPUWeight", "t", 0)
        elif write.file in ("io.bfq.weight", "io.weight"):
            cost = write.otherwise or write
            words = cost.text.split()
            if cost.file == "io.weight" and (len(words) == 1 or words[0] == "default"):
                yield Property("IOWeight", "t", _number(cost, words[-1]))
    quota_v1, period_v1 = by_file.get("cpu.cfs_quota_us"), by_file.get("cpu.cfs_period_us")
    if quota_v1 is not None or period_v1 is not None:
        quota_number = INFINITY if quota_v1 is None else _number(quota_v1, quota_v1.text)
        text = "" if period_v1 is None else period_v1.text
        yield from _quota(quota_number, int(text or PERIOD), text)


_NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.weight": "CPUWeight",
    "cpu.shares": "CPUShares",
    "pids.max": "TasksMax",
    "blkio.weight": "BlockIOWeight",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def _quota(quota: int, period: int, given: str) -> Iterator[Property]:
    if given:
        yield Property("CPUQuotaPeriodUSec", "t", period)
    each = INFINITY
    if quota != INFINITY:
        each = -(-quota * SECOND // max(period, 1))
        each += -each % GRAIN
    yield Property("CPUQuotaPerSecUSec", "t", min(each, INFINITY))


def _number(write: Write, text: str) -> int:
    text = text.strip()
    if text in ("max", "-1"):
        return INFINITY
    if text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= INFINITY:
        return int(text)
    raise Refusal(
        f"config.json: {write.where}: systemd does not take {write.text!r} for {write.file}; "
        "write digits, or 'max'"
    )


def _bits(write: Write) -> bytes:
    """A list as bits, those of the first eight numbers in the first byte."""
    try:
        mask = mask_of(write.text)
    except ValueError:
        raise Refusal(
            f"config.json: {write.where}: {write.text!r} is no list of numbers below {MOST}; "
            "write as 0-3,7"
        ) from None
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")
