"""The kernel's file system resctrl (resctrl.rst): where it is mounted, its lock, and schemata.

A folder in its root is a class of service, a group of tasks with shares of caches and memory
bandwidth, which its file `schemata` says, a resource a line. It is mounted once or not at all.
"""

import fcntl
import os
import time

from auberge.container.cgroups_files import number, read
from auberge.container.cgroups_layout import unescape
from auberge.container.clauses import BANDWIDTHS
from auberge.refusal import Refusal, reason

MOUNTINFO = "/proc/self/mountinfo"
USUAL = "/sys/fs/resctrl"
PATIENCE = 10.0  # seconds for others to let go of the lock
WHERE = "config.json: $.linux.intelRdt"
FEATURES = "info/L3_MON/mon_features"


def mounted() -> str:
    """Where it is mounted. Raises Refusal: "If no mounted resctrl pseudo-filesystem is available
    in the runtime mount namespace, the runtime MUST generate an error"."""
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
        found = find_mount(file.read())
    if found is None:
        raise Refusal(
            f"{WHERE}: no resctrl is mounted; mount it (mount -t resctrl resctrl {USUAL}) if this "
            "processor and kernel have it, or take intelRdt out"
        )
    return found


def find_mount(mountinfo: str) -> str | None:
    """The same by the text of a mountinfo file (proc_pid_mountinfo(5)); None if there is none."""
    found: list[str] = []
    for line in mountinfo.splitlines():
        words = line.partition(" - ")[0].split(" ")
        kind = line.partition(" - ")[2].split(" ")[0]
        if kind == "resctrl" and len(words) > 4 and words[3] == "/":  # a folder of it is no root
            found.append(unescape(words[4]))
    return USUAL if USUAL in found else next(iter(found), None)


class Lock:
    """The lock under which groups are looked at and made (resctrl.rst, "Locking between
    applications": flock(2) of the root folder); a `with` statement raises Refusal."""

    def __init__(self, mount: str) -> None:
        self._mount = mount
        self._fd = -1

    def __enter__(self) -> None:
        try:
            self._fd = os.open(self._mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Refusal(f"{self._mount}: {reason(error)}; mount resctrl there again") from None
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._fd)
                    raise Refusal(
                        f"{self._mount}: locked by another program for {PATIENCE:.0f} seconds; "
                        "try again when it has ended"
                    ) from None
                time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def why(mount: str, error: OSError) -> str:
    """What the kernel says about an operation of ours that it has refused."""
    said = " ".join(read(f"{mount}/info/last_cmd_status").split())
    return said if said not in ("", "ok") else reason(error)


def features(mount: str) -> set[str]:
    """What is counted here: `llc_occupancy`, `mbm_total_bytes`, `mbm_local_bytes`."""
    return set(read(f"{mount}/{FEATURES}").split())


def combined(l3_cache_schema: str, mem_bw_schema: str) -> str:
    """What is written to `schemata`; empty if both are. "If l3CacheSchema contains a line beginning
    with MB:, the value written to schemata file MUST be the non-MB: line(s) from l3CacheSchema and
    the line from memBWSchema"."""
    lines = [line for line in l3_cache_schema.split("\n") if line]
    if mem_bw_schema:
        lines = [line for line in lines if not line.startswith("MB:")] + [mem_bw_schema]
    return "".join(f"{line}\n" for line in lines)


def write_schemata(mount: str, group: str, text: str, where: str) -> None:
    """Give a group its shares, all in one write. Raises Refusal about `where`."""
    try:
        fd = os.open(f"{group}/schemata", os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise Refusal(
            f"{where}: the kernel refuses {_line(text)!r}: {why(mount, error)}; change the value"
        ) from None
    if written < len(text):
        raise Refusal(f"{where}: the kernel takes {written} bytes of {len(text)}; shorten it")


def difference(mount: str, wanted: str, found: str) -> str | None:
    """What a group's schemata `found` do not grant of those `wanted`, as a line; None if nothing.

    By meaning: digits may be written in several ways, and the kernel takes the next step of a
    bandwidth (`bandwidth_gran`). A domain that is not named may have any value.
    """
    there = dict(map(_resource, found.splitlines()))
    for line in wanted.splitlines():
        name, values = _resource(line)
        step = number(read(f"{mount}/info/{name}/bandwidth_gran")) or 1
        for domain, value in values.items():
            if there.get(name, {}).get(domain) not in (value, -(-value // step) * step):
                return line
    return None


def _resource(line: str) -> tuple[str, dict[int, int]]:
    """A line of schemata: the resource, and a value for each domain; what is none is left out, as
    the `uninitialized` of a group that is to be locked."""
    name, _, rest = line.strip().partition(":")
    base = 10 if name in BANDWIDTHS else 16
    values: dict[int, int] = {}
    for part in rest.split(";"):
        domain, _, value = part.partition("=")
        try:
            values[int(domain)] = int(value, base)
        except ValueError:
            continue
    return name, values


def _line(text: str) -> str:
    return text.strip().replace("\n", ", ")
