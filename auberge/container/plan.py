"""A configuration as a plan: the operations that make a container of it, in their order.

Nothing is done here, and what has to be known of the host is handed in: a plan can be printed,
compared and tested. `carry.py` runs it. What few containers need is imported where it is planned.
"""

from __future__ import annotations

from auberge.container import kernel as k
from auberge.container.config import Capabilities, Config, ExecCPUAffinity, Namespace, Process
from auberge.container.light import TYPE_CHECKING, Iterator, NamedTuple
from auberge.container.steps import (
    AwaitRuntime,
    AwaitStart,
    BecomeRoot,
    BecomeUser,
    Clone,
    Confine,
    EnterFolder,
    EnterGroups,
    Execute,
    FindProgram,
    Hide,
    Join,
    LimitResources,
    MakeFolder,
    NewKeyring,
    NewSession,
    NoNewPrivileges,
    Operation,
    OwnStreams,
    Personate,
    RunHook,
    Seal,
    SetClocks,
    SetDomainname,
    SetHostname,
    SetUmask,
    Unshare,
    mask,
)
from auberge.container.talk import session_keyring
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.container.host import Host
    from auberge.container.mounts import MountOverlay
    from auberge.container.seccomp_filter import Filter

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Choices(NamedTuple):
    """What the command line says, beside config.json."""

    container: str
    pivot: bool = True
    keyring: bool = True
    own_streams: tuple[int, ...] = ()
    filter: Filter | None = None
    overlay: MountOverlay | None = None  # instead of the root's folder as it is
    resctrl: bool = False  # whether the process of an exec enters groups of resctrl


class Plan(NamedTuple):
    """All operations, in order."""

    operations: tuple[Operation, ...]


def plan(config: Config, host: Host, choices: Choices) -> Plan:
    """The plan of a new container; `config` obeys config_rules.py. Raises Refusal."""
    if config.process is None:
        raise Refusal("config.json: $.process: missing; give at least cwd and args")
    if config.root is None:
        raise Refusal("config.json: $.root: missing; give at least path")
    return Plan(tuple(_container(config, config.process, host, choices)))


def plan_exec(
    process: Process, namespaces: tuple[Namespace, ...], host: Host, choices: Choices,
    set_groups: bool,
) -> Plan:  # fmt: skip
    """The plan of one more process in a container whose namespaces are these."""
    return Plan(tuple(_joined(process, namespaces, host, choices, set_groups)))


def _joined(
    process: Process, namespaces: tuple[Namespace, ...], host: Host, choices: Choices,
    set_groups: bool,
) -> Iterator[Operation]:  # fmt: skip
    yield Seal()
    yield Hide()
    yield from _joins(namespaces)
    yield Clone(())
    if choices.resctrl:
        yield EnterGroups()
    affinity = process.exec_cpu_affinity or ExecCPUAffinity()
    yield from _run_on(affinity.initial, "initial")
    yield AwaitRuntime()
    yield from _run_on(affinity.final, "final")
    yield NewSession()
    if choices.keyring and host.keyrings:
        yield NewKeyring(session_keyring(choices.container))
    if process.terminal:
        from auberge.container.terminal import terminal_of

        yield terminal_of(process, console=False)
    yield from _confined(process, host)
    yield from _identity(process, host, choices, set_groups)
    yield from _asking(process, choices)
    yield AwaitStart()
    yield from _program(process, choices)


def _container(
    config: Config, process: Process, host: Host, choices: Choices
) -> Iterator[Operation]:
    from auberge.container import plan_root

    linux = config.linux
    new = tuple(s.type for s in linux.namespaces if not s.path)
    joined = tuple(s for s in linux.namespaces if s.path)
    early = "user" in new and host.privileged
    yield Seal()
    if "mount" in new:  # as root over the host: in no user namespace may its mounts be mapped
        yield from plan_root.taken_mapped(config, host)
    if joined:
        yield Hide()
    yield from _joins(joined)
    if early:  # in the user namespace to come, these could not be reached
        yield from plan_root.taken_early(config, host, choices)
    # a cgroup namespace begins at the cgroup that is entered later; clocks are set before anybody
    # is in a time namespace
    yield Clone(tuple(kind for kind in k.NAMESPACES if kind in new and kind not in LATE))
    if linux.intel_rdt is not None:
        yield EnterGroups()
    yield AwaitRuntime()
    set_groups = True
    if "user" in new:
        set_groups = host.privileged or len(linux.gid_mappings) > 1
        set_groups = set_groups or linux.gid_mappings[0].size > 1
        if any(m.container_id == 0 for m in linux.uid_mappings):
            yield BecomeRoot(set_groups)
    elif host.privileged and any(space.type == "user" for space in joined):
        yield BecomeRoot(set_groups)  # else nobody there, who could not make a folder
    yield Hide()
    yield SetUmask(0)
    if "cgroup" in new:
        yield Unshare("cgroup")
    if "time" in new:
        yield Unshare("time")
        offsets = linux.time_offsets
        if offsets is not None:
            both = (("monotonic", offsets.monotonic), ("boottime", offsets.boottime))
            yield SetClocks(tuple((name, o.secs, o.nanosecs) for name, o in both if o is not None))
    yield NewSession()
    if choices.keyring and host.keyrings:
        yield NewKeyring(session_keyring(choices.container))
    if config.hostname:
        yield SetHostname(config.hostname)
    if config.domainname:
        yield SetDomainname(config.domainname)
    if "mount" in new:
        yield from plan_root.root_file_system(config, process, host, choices, early)
    yield from _confined(process, host)
    yield MakeFolder(process.cwd)
    if linux.personality is not None:
        yield Personate(linux.personality)
    yield from _identity(process, host, choices, set_groups)
    yield from _asking(process, choices)
    yield AwaitStart()
    for hook in config.hooks.start_container:
        yield RunHook("startContainer", hook)
    yield from _program(process, choices)


LATE = ("cgroup", "time")


def _joins(namespaces: tuple[Namespace, ...]) -> Iterator[Operation]:
    """In the order of the kernel's own needs: the user namespace first, the mounts last."""
    paths: dict[str, str] = {s.type: s.path for s in namespaces if s.path}
    found = tuple((kind, path) for kind in k.NAMESPACES if (path := paths.get(kind)))
    if found:
        yield Join(found)


# -- the process ------------------------------------------------------------------------------


def _confined(process: Process, host: Host) -> Iterator[Operation]:
    wanted = (("apparmor", process.apparmor_profile), ("selinux", process.selinux_label))
    for module, label in wanted:
        if not label or label == "unconfined":
            continue
        if module not in host.labels:
            what = "apparmorProfile" if module == "apparmor" else "selinuxLabel"
            raise Refusal(
                f"config.json: $.process.{what}: this kernel does not run {module}; take it out"
            )
        if module == "apparmor":
            yield Confine("apparmor/exec", f"exec {label}")
        else:
            yield Confine("exec", label)


def _identity(
    process: Process, host: Host, choices: Choices, set_groups: bool
) -> Iterator[Operation]:
    user = process.user
    if process.rlimits:
        yield LimitResources(process.rlimits)
    yield from _scheduling(process)
    if choices.own_streams and user.uid and not process.terminal:
        yield OwnStreams(choices.own_streams, user.uid)
    if process.no_new_privileges:
        yield NoNewPrivileges()
    elif choices.filter is not None:
        yield from _filter(choices.filter)  # while there is CAP_SYS_ADMIN, which it takes
    if user.additional_gids and not set_groups:
        raise Refusal(
            "config.json: $.process.user.additionalGids: with a single group mapped, groups "
            "cannot be set; take them out"
        )
    c = process.capabilities or Capabilities()
    known = (1 << host.last_capability + 1) - 1
    permitted = mask(c.permitted) & known
    yield BecomeUser(
        user.uid, user.gid, user.additional_gids, set_groups, mask(c.bounding) & known,
        mask(c.effective) & permitted, permitted, mask(c.inheritable) & known,
        mask(c.ambient) & permitted & mask(c.inheritable), host.last_capability,
    )  # fmt: skip
    yield EnterFolder(process.cwd)
    yield FindProgram(_paths(process))
    yield SetUmask(0o022 if user.umask is None else user.umask)


def _run_on(wanted: str | None, when: str) -> Iterator[Operation]:
    if wanted:
        from auberge.container.scheduling import RunOn, processors

        yield RunOn(processors(wanted, f"$.process.execCPUAffinity.{when}"))


def _scheduling(process: Process) -> Iterator[Operation]:
    if process.scheduler is not None:
        from auberge.container.scheduling import Schedule

        yield Schedule(process.scheduler)
    if process.io_priority is not None:
        from auberge.container.scheduling import PrioritizeIO

        yield PrioritizeIO(process.io_priority.class_, process.io_priority.priority)


def _paths(process: Process) -> tuple[str, ...]:
    name = process.args[0]
    if "/" in name or not name:  # a folder of PATH is no program of that name
        return (name,)
    settings = (s.partition("=") for s in process.env)
    search = next((value for key, _, value in settings if key == "PATH"), SEARCH)
    return tuple(f"{folder or '.'}/{name}" for folder in search.split(":"))


def _filter(filter: Filter) -> Iterator[Operation]:
    yield filter
    if filter.asks:
        from auberge.container.seccomp_filter import HandOver

        yield HandOver()


def _asking(process: Process, choices: Choices) -> Iterator[Operation]:
    """A filter that asks an agent is loaded while the runtime is there to hand the listener on."""
    if choices.filter is not None and choices.filter.asks and process.no_new_privileges:
        yield from _filter(choices.filter)


def _program(process: Process, choices: Choices) -> Iterator[Operation]:
    filter = choices.filter
    if filter is not None and process.no_new_privileges and not filter.asks:
        yield filter  # as late as can be: the fewest system calls of ours are filtered
    yield Execute(process.args, process.env)
