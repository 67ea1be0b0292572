"""A container's configuration (config.json of OCI) from options: what docker's users expect.

All namespaces but those of users and time; a user namespace too where who starts it is not root.
"""

import os
from functools import cache, lru_cache

from auberge.container.cgroups_layout import read_layout
from auberge.container.config import (
    CPU,
    Capabilities,
    Config,
    DeviceRule,
    IdMapping,
    Linux,
    Memory,
    Mount,
    Namespace,
    NamespaceType,
    Pids,
    Process,
    Resources,
    Rlimit,
    Root,
    Seccomp,
    User,
)
from auberge.container.light import NamedTuple
from auberge.container.seccomp_default import default_profile
from auberge.image.oci.identity import Identity
from auberge.image.oci.runtime import Defaults
from auberge.image.subordinate import GROUPS, USERS, Ids
from auberge.monitor.options import PERIOD, Options, cpu_quota, volumes
from auberge.refusal import Refusal

CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE",
        "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
"""docker's, without MKNOD: nothing here needs it, and with it device rules would be needed."""

_PLAIN = ("nosuid", "noexec", "nodev")
_PTS = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")

MOUNTS = (
    Mount("/proc", "proc", _PLAIN, "proc"),
    Mount("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k"), "tmpfs"),
    Mount("/dev/shm", "shm", (*_PLAIN, "mode=1777", "size=65536k"), "tmpfs"),
    Mount("/dev/mqueue", "mqueue", _PLAIN, "mqueue"),
)
TTY = 5
"""The group of terminals, in every distribution."""
PTS_OF_TTY = Mount("/dev/pts", "devpts", (*_PTS, f"gid={TTY}"), "devpts")
PTS = Mount("/dev/pts", "devpts", _PTS, "devpts")  # where that group is nobody's
SYS = Mount("/sys", "sysfs", (*_PLAIN, "ro"), "sysfs")
SYS_OF_HOST = Mount("/sys", "/sys", ("rbind", *_PLAIN, "rro"), "none")
CGROUP = Mount("/sys/fs/cgroup", "cgroup", (*_PLAIN, "relatime", "ro"), "cgroup")

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""docker's, both."""

FILES = ("hosts", "hostname", "resolv.conf")
"""Of /etc: a container's own, which no image can know."""


class Place(NamedTuple):
    """Where a container's parts are on the host, and what its network has become."""

    root: str
    files: str  # the folder with FILES
    net: str  # none, host, bridge or user
    ids: Ids | None = None  # those that a container of somebody else than root has, if several


def configuration(options: Options, defaults: Defaults, place: Place) -> Config:
    """The configuration; raises Refusal."""
    root = os.geteuid() == 0
    several = root or place.ids is not None
    has_tty_group = root or (place.ids is not None and place.ids.last[1] >= TTY)
    mounts = [*MOUNTS, PTS_OF_TTY if has_tty_group else PTS]
    mounts.append(SYS if root or place.net != "host" else SYS_OF_HOST)
    if _shows_cgroups(root, options.sparing):
        mounts.append(CGROUP)
    covered = {volume.guest for volume in volumes(options)}
    for name in FILES:
        if f"/etc/{name}" not in covered:
            source = os.path.join(place.files, name)
            mounts.append(Mount(f"/etc/{name}", source, ("bind", "nodev"), "none"))
    mounts += _volumes(options)
    limits: tuple[Rlimit, ...] = ()
    if options.tmpfs:
        mounts = _with_tmpfs(mounts, options)
    if options.ulimits:
        limits = _limits(options, root)
    spaces: list[NamespaceType] = ["pid", "ipc", "uts", "mount", "cgroup"]
    if place.net != "host":
        spaces.append("network")
    if not root:
        spaces.append("user")
    linux = Linux(
        namespaces=tuple(Namespace(kind) for kind in spaces),
        resources=_resources(options),
        seccomp=_seccomp(os.uname().machine),
        masked_paths=MASKED,
        readonly_paths=READ_ONLY,
    )
    user = defaults.user
    if not root:
        users, groups = mappings(user, place.ids)
        linux = linux._replace(uid_mappings=users, gid_mappings=groups)
    return Config(
        "1.1.0",
        root=Root(place.root, options.read_only),
        mounts=tuple(mounts),
        process=Process(
            cwd=defaults.cwd,
            args=defaults.args,
            terminal=options.terminal,
            env=environment(options, defaults),
            rlimits=limits,
            capabilities=_capabilities(options.cap_add, options.cap_drop, root),
            user=whom(user, several),
        ),
        hostname=hostname(options),
        annotations=defaults.annotations,
        linux=linux,
    )


def mappings(
    user: Identity, ids: Ids | None
) -> tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]:
    """The maps of users and groups: all that are granted, or the one id that we have, which is
    whoever the program is in there."""
    if ids is None:
        one = IdMapping(user.uid, os.geteuid(), 1), IdMapping(user.gid, os.getegid(), 1)
        return (one[0],), (one[1],)
    for number, last, what, path in (
        (user.uid, ids.last[0], "user", USERS), (user.gid, ids.last[1], "group", GROUPS)
    ):  # fmt: skip
        if number > last:
            raise Refusal(
                f"-u: {what} {number}: a container has those up to {last} here; take one of them, "
                f"or have more granted in {path}"
            )
    users, groups = ids.user_map(os.geteuid()), ids.group_map(os.getegid())
    return tuple(IdMapping(*line) for line in users), tuple(IdMapping(*line) for line in groups)


def whom(user: Identity, several: bool) -> User:
    """A user's process is in its first group as in the others: who leaves that one for another is
    still denied what it is denied (CVE-2022-36109). With one id there are no others."""
    groups = tuple(dict.fromkeys((user.gid, *user.groups))) if several else ()
    return User(user.uid, user.gid, None, groups)


def hostname(options: Options) -> str:
    """What the container calls itself."""
    return options.hostname or options.id[:12]


def environment(options: Options, defaults: Defaults) -> tuple[str, ...]:
    """The image's and the user's variables, and docker's own two."""
    found = {text.partition("=")[0] for text in defaults.env}
    more = [] if "HOSTNAME" in found else [f"HOSTNAME={hostname(options)}"]
    if options.terminal and "TERM" not in found:
        more.append("TERM=xterm")
    return (*defaults.env, *more)


def _volumes(options: Options) -> list[Mount]:
    """What a volume has of device nodes is no device: nobody has said that it may be used."""
    found = []
    for volume in volumes(options):
        if not os.path.exists(volume.host):
            raise Refusal(f"-v: {volume.host}: no such file or directory; make it first")
        ways = ("rbind", "rprivate", "nodev", *(("rro",) if volume.read_only else ()))
        found.append(Mount(volume.guest, volume.host, ways, "none"))
    return found


def _with_tmpfs(mounts: list[Mount], options: Options) -> list[Mount]:
    """Those of the user in one order with volumes: what is in another comes after it."""
    from auberge.monitor.settings import parse_all_tmpfs

    shared = volumes(options)
    found = parse_all_tmpfs(options.tmpfs, shared)
    ours = len(mounts) - len(shared)
    more = [Mount(each.guest, "tmpfs", each.options, "tmpfs") for each in found]
    last = sorted((*mounts[ours:], *more), key=lambda mount: mount.destination)
    covered = {each.guest for each in found}
    return [*(mount for mount in mounts[:ours] if mount.destination not in covered), *last]


def _limits(options: Options, root: bool) -> tuple[Rlimit, ...]:
    """Without root, none can be above that of this process."""
    import resource

    from auberge.container.clauses import rlimit_number
    from auberge.monitor.settings import parse_limits

    found = parse_limits(options.ulimits)
    for limit in found:
        _, most = resource.getrlimit(rlimit_number(limit.type))
        if not root and most != resource.RLIM_INFINITY and limit.hard > most:
            name = limit.type.removeprefix("RLIMIT_").lower()
            raise Refusal(
                f"--ulimit: {name}: {limit.hard} is more than may be had without root; "
                f"write {most} at most"
            )
    return tuple(found)


@lru_cache(64)
def _capabilities(add: tuple[str, ...], drop: tuple[str, ...], root: bool) -> Capabilities:
    """docker's, and what is said. What this process has not got itself nobody gets, unless it is
    asked for by name: then the start says so."""
    from auberge.container.clauses import CAPABILITIES as EVERY

    ours = _held() if root else -1  # in a user namespace, there are all
    everything = tuple(f"CAP_{name}" for at, name in enumerate(EVERY) if ours >> at & 1)
    found = set() if "ALL" in drop else {*CAPABILITIES} & {*everything}
    found |= {*everything} if "ALL" in add else set()
    found = (found - {*drop}) | ({*add} - {"ALL"})
    names = tuple(sorted(found))
    return Capabilities(names, names, (), names)


def _held() -> int:
    """The capabilities that this process may use (proc_pid_status(5), "CapPrm")."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith("CapPrm:")]
    return masks[0]


def _resources(options: Options) -> Resources | None:
    """Limits, and rules for devices where there is the right to make nodes of them."""
    rules: tuple[DeviceRule, ...] = ()
    if os.geteuid() == 0 and {"ALL", "CAP_MKNOD"}.intersection(options.cap_add):
        rules = (DeviceRule(False, access="rwm"),)
    found = Resources(
        rules,
        _memory(options.memory) if options.memory else None,
        CPU(quota=cpu_quota(options.millicpus), period=PERIOD) if options.millicpus else None,
        pids=Pids(options.pids) if options.pids else None,
    )
    return None if found == Resources() else found


def _memory(limit: int) -> Memory:
    """None of it can be swapped out beyond that, where the kernel counts swap."""
    return Memory(limit=limit, swap=limit if _counts_swap() else None)


@cache
def _counts_swap() -> bool:
    for hierarchy in read_layout().hierarchies:
        if hierarchy.version == 1 and "memory" in hierarchy.controllers:
            return os.path.exists(f"{hierarchy.mount}/memory.memsw.limit_in_bytes")
    return os.path.exists("/proc/swaps")


@cache
def _seccomp(machine: str) -> Seccomp:
    return default_profile(machine)


@cache
def _shows_cgroups(root: bool, sparing: bool) -> bool:
    """One mount shows them all in v2; of v1 there are many, which only root can mount."""
    kinds = {hierarchy.version for hierarchy in read_layout().hierarchies}
    return kinds == {2} or (bool(kinds) and root and not sparing)
