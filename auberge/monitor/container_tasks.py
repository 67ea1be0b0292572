"""What the host's /proc and cgroups say of a container: its processes, and what it uses.

A process of a container chooses its own name and arguments: they are shown, and nothing else.
"""

import os
from collections.abc import Sequence

from auberge.container.cgroups import Cgroup
from auberge.image.subordinate import user_name
from auberge.monitor.guest import Task, Usage

LONGEST = 4096
"""Bytes of a command line that are shown."""
_TICKS = os.sysconf("SC_CLK_TCK")


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def beside(pid: int) -> list[int]:
    """The processes in the pid namespace of a container's first one: it has no cgroup to ask."""
    space = _pid_space(pid)
    numbers = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return [other for other in numbers if space and _pid_space(other) == space]


def _pid_space(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def tasks(pids: Sequence[int]) -> list[Task]:
    """These processes, but for those that have ended."""
    found = (_task(pid) for pid in pids)
    return [task for task in found if task is not None]


def _task(pid: int) -> Task | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(LONGEST)
        user = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    begin, end = stat.index(b"(") + 1, stat.rindex(b")")
    fields = stat[end + 2 :].split()
    command = words.rstrip(b"\0").replace(b"\0", b" ") or b"[%s]" % stat[begin:end]
    seconds = (int(fields[11]) + int(fields[12])) / _TICKS
    return Task(pid, int(fields[1]), user_name(user), seconds, command.decode(errors="replace"))


def usage(cgroup: Cgroup, pid: int, network: bool) -> Usage:
    """What a container uses, as far as its cgroups count; `pid` is its first process."""
    counted = cgroup.stats()
    have = {name for node in cgroup.nodes for name in node.controllers}
    # v2 counts processor time without a controller; where v1 has that one, v2 has it too
    unified = any(node.version == 2 for node in cgroup.nodes)
    cpu = counted.cpu.total / 1e9 if "cpuacct" in have or unified else None
    blocks = counted.devices if have & {"blkio", "io"} else None
    received, sent = _traffic(pid) if network else (None, None)
    return Usage(
        cpu,
        counted.memory.usage if "memory" in have else None,
        counted.memory.limit,
        counted.pids.current if "pids" in have else None,
        counted.pids.limit,
        received,
        sent,
        None if blocks is None else sum(device.read_bytes for device in blocks),
        None if blocks is None else sum(device.write_bytes for device in blocks),
    )


def _traffic(pid: int) -> tuple[int | None, int | None]:
    """Bytes received and sent by all but its loopback (proc_pid_net(5), "dev")."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
            lines = [line.partition(":") for line in file if ":" in line]
    except OSError:
        return None, None
    rows = [row.split() for name, _, row in lines if name.strip() != "lo"]
    return sum(int(row[0]) for row in rows), sum(int(row[8]) for row in rows)
