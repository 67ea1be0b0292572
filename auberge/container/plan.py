"""A configuration as a plan: the operations that make a container of it, in their order.

Nothing is done here, and what has to be known of the host is handed in: a plan can be printed,
compared and tested. `carry.py` runs it.
"""

import stat

from auberge.container import kernel as k
from auberge.container.config import Capabilities, Config, Device, Mount, Namespace, Process
from auberge.container.devices import LINKS, DeviceNode, device_nodes, host_node
from auberge.container.light import Callable, Iterator, NamedTuple
from auberge.container.mount_ids import is_mapped, mount_ids
from auberge.container.mount_options import Options, parse
from auberge.container.mounts import (
    Bind,
    Isolate,
    MakeDevice,
    MakeLink,
    MakeReadOnly,
    MapIds,
    Mask,
    MountFileSystem,
    MountOverlay,
    MountRoot,
    OpenNull,
    OpenTerminal,
    Pivot,
    Propagate,
    Protect,
    Remount,
    SetSysctl,
    TakeMount,
)
from auberge.container.steps import (
    AwaitRuntime,
    AwaitStart,
    BecomeRoot,
    BecomeUser,
    Clone,
    Confine,
    EnterFolder,
    Execute,
    Filter,
    FindProgram,
    HandOver,
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
    PrioritizeIO,
    RunHook,
    RunOn,
    Schedule,
    Seal,
    SetClocks,
    SetDomainname,
    SetHostname,
    SetUmask,
    Unshare,
    mask,
    processors,
)
from auberge.refusal import Refusal

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ROOT_PROPAGATION = {
    "private": k.MS_PRIVATE, "rprivate": k.MS_PRIVATE | k.MS_REC,
    "shared": k.MS_SHARED, "rshared": k.MS_SHARED | k.MS_REC,
    "slave": k.MS_SLAVE, "rslave": k.MS_SLAVE | k.MS_REC,
    "unbindable": k.MS_UNBINDABLE, "runbindable": k.MS_UNBINDABLE | k.MS_REC,
}  # fmt: skip


class CgroupMount(NamedTuple):
    """One hierarchy of the host's, for a mount of type cgroup: where ours is, and its name."""

    version: int
    controllers: tuple[str, ...]
    path: str
    name: str


class Host(NamedTuple):
    """What a plan has to know of the host, and of whoever asks for the container."""

    bundle: str
    is_directory: Callable[[str], bool]
    mount_of: Callable[[str], str]  # the mount point that holds a path
    last_capability: int
    privileged: bool  # whether the runtime is root over the host
    cgroups: tuple[CgroupMount, ...] = ()
    labels: tuple[str, ...] = ()  # which of apparmor, selinux confine processes here
    keyrings: bool = True  # whether this kernel has them
    node: Callable[[DeviceNode], str] = host_node  # which of the host's to bind


class Choices(NamedTuple):
    """What the command line says, beside config.json."""

    container: str
    pivot: bool = True
    keyring: bool = True
    own_streams: tuple[int, ...] = ()
    filter: Filter | None = None
    overlay: MountOverlay | None = None  # instead of the root's folder as it is


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
    affinity = process.exec_cpu_affinity
    where = "$.process.execCPUAffinity"
    if affinity is not None and affinity.initial:
        yield RunOn(processors(affinity.initial, f"{where}.initial"))
    yield AwaitRuntime()
    if affinity is not None and affinity.final:
        yield RunOn(processors(affinity.final, f"{where}.final"))
    yield NewSession()
    if choices.keyring and host.keyrings:
        yield NewKeyring(f"_ses.{choices.container}")
    if process.terminal:
        yield _terminal(process, console=False)
    yield from _confined(process, host)
    yield from _identity(process, host, choices, set_groups)
    yield from _asking(process, choices)
    yield AwaitStart()
    yield from _program(process, choices)


def _container(
    config: Config, process: Process, host: Host, choices: Choices
) -> Iterator[Operation]:
    linux = config.linux
    new = tuple(s.type for s in linux.namespaces if not s.path)
    joined = tuple(s for s in linux.namespaces if s.path)
    early = "user" in new and host.privileged
    yield Seal()
    if "mount" in new:  # as root over the host: in no user namespace may its mounts be mapped
        yield from _mapped(config, host)
    if joined:
        yield Hide()
    yield from _joins(joined)
    if early:  # in the user namespace to come, these could not be reached
        yield from _early(config, host, choices)
    # a cgroup namespace begins at the cgroup that is entered later; clocks are set before anybody
    # is in a time namespace
    yield Clone(tuple(kind for kind in k.NAMESPACES if kind in new and kind not in LATE))
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
        yield NewKeyring(f"_ses.{choices.container}")
    if config.hostname:
        yield SetHostname(config.hostname)
    if config.domainname:
        yield SetDomainname(config.domainname)
    if "mount" in new:
        yield from _root(config, process, host, choices, early)
    yield from _confined(process, host)
    yield MakeFolder(process.cwd)
    if linux.personality is not None:
        yield Personate(linux.personality)
    yield from _identity(process, host, choices, set_groups)
    yield from _asking(process, choices)
    yield AwaitStart()
    if config.hooks.start_container:
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


# -- the root file system ---------------------------------------------------------------------


def _root(
    config: Config, process: Process, host: Host, choices: Choices, early: bool
) -> Iterator[Operation]:
    linux, root = config.linux, config.root
    assert root is not None
    path = _from(host.bundle, root.path)
    shared = linux.rootfs_propagation in ("shared", "rshared")
    propagation = _propagation(config)
    yield Isolate(propagation, host.mount_of(path) if shared else None)
    yield choices.overlay or MountRoot(path, early)
    yield OpenNull()
    kinds = {space.type for space in linux.namespaces}
    userns = "user" in kinds
    mapped = mount_ids(config)
    for at, mount in enumerate(config.mounts):
        lower = "" if choices.overlay else path
        mount = _labelled(mount, linux.mount_label or "", host)
        taken = early or at in mapped
        yield from _mount(mount, host, "cgroup" in kinds, taken, userns, lower)
    if _own_dev(config):
        yield from _devices(linux.devices, host, userns, early)
    for name, value in linux.sysctl.items():
        yield SetSysctl(name, value)
    if process.terminal:
        yield _terminal(process, _own_dev(config))
    for hook in config.hooks.create_container:
        yield RunHook("createContainer", hook)
    for masked in linux.masked_paths:
        yield Mask(masked)
    for protected in linux.readonly_paths:
        yield Protect(protected)
    for mount in config.mounts:
        if mount.type == "tmpfs" and parse(mount.options).set & k.MOUNT_ATTR_RDONLY:
            yield MakeReadOnly(mount.destination)
    if root.readonly:
        yield MakeReadOnly("/")
    yield Pivot("pivot" if choices.pivot else "move")
    if linux.rootfs_propagation and (shared or propagation != ROOT_PROPAGATION.get(
        linux.rootfs_propagation
    )):  # fmt: skip
        yield Propagate(ROOT_PROPAGATION[linux.rootfs_propagation])


def _propagation(config: Config) -> int:
    """Of all mounts, while the root is made."""
    wanted = config.linux.rootfs_propagation
    if wanted in ("unbindable", "runbindable"):
        return k.MS_SLAVE | k.MS_REC  # an unbindable mount could not be copied
    return ROOT_PROPAGATION.get(wanted, k.MS_SLAVE | k.MS_REC)


def _mount(
    mount: Mount, host: Host, namespaced: bool, early: bool, userns: bool, root: str
) -> Iterator[Operation]:
    options = parse(mount.options)
    destination = "/" + mount.destination.strip("/")
    if options.remount:
        yield Remount(destination, options)
    elif options.bind:
        source = _from(host.bundle, mount.source or "")
        yield Bind(source, destination, host.is_directory(source), options, early)
    elif mount.type in ("cgroup", "cgroup2"):
        yield from _cgroups(mount, destination, options, host, namespaced)
    elif not mount.type:
        raise Refusal(
            f"config.json: $.mounts: {mount.destination}: no type; give one, or the option 'bind'"
        )
    else:
        yield MountFileSystem(mount.type, mount.source or mount.type, destination, options)
        if options.copy_up and root:
            from auberge.container.copy_up import CopyUp, entries_of

            if entries := entries_of(root, destination):
                yield CopyUp(destination, entries, not userns)


WITHOUT_LABELS = ("tmpfs", "devpts", "mqueue")  # file systems whose files have no labels of theirs


def _labelled(mount: Mount, label: str, host: Host) -> Mount:
    """linux.mountLabel: the option `context` of selinux (mount(8))."""
    if label and "selinux" not in host.labels:
        raise Refusal(
            "config.json: $.linux.mountLabel: this kernel does not run selinux; take it out"
        )
    if not label or mount.type not in WITHOUT_LABELS:
        return mount
    return mount._replace(options=(*mount.options, f"context={label}"))


def _cgroups(
    mount: Mount, destination: str, options: Options, host: Host, namespaced: bool
) -> Iterator[Operation]:
    """cgroup v2 is one file system; v1 is one for each hierarchy, in folders of a tmpfs."""
    plain = options._replace(data=())
    if all(h.version == 2 for h in host.cgroups):
        yield from (_cgroup(h, destination, plain, namespaced) for h in host.cgroups[:1])
        return
    whole = plain._replace(data=(("mode", "755"),))
    yield MountFileSystem("tmpfs", "tmpfs", destination, whole)
    for hierarchy in host.cgroups:
        yield _cgroup(hierarchy, f"{destination}/{hierarchy.name}", plain, namespaced)
    if options.set & k.MOUNT_ATTR_RDONLY:
        yield MakeReadOnly(destination)


def _cgroup(h: CgroupMount, destination: str, options: Options, namespaced: bool) -> Operation:
    """The container's own part of it: by its namespace, or as a bind mount."""
    if not namespaced:
        return Bind(h.path, destination, True, options, False)
    if h.version == 2:
        return MountFileSystem("cgroup2", "cgroup2", destination, options)
    data = tuple(
        (key, value if equals else None)
        for key, equals, value in (name.partition("=") for name in h.controllers)
    )
    if any(key == "name" for key, _ in data):
        data = (*data, ("none", None))
    return MountFileSystem("cgroup", "cgroup", destination, options._replace(data=data))


def _early(config: Config, host: Host, choices: Choices) -> Iterator[Operation]:
    propagation = _propagation(config)
    if config.root is not None and choices.overlay is None:
        yield TakeMount(_from(host.bundle, config.root.path), "/", True, propagation)
    for mount in config.mounts:
        if parse(mount.options).bind and not is_mapped(mount):
            yield _taken(mount, host, propagation)
    for node in device_nodes(config.linux.devices) if _own_dev(config) else ():
        if not stat.S_ISFIFO(node.mode):
            yield TakeMount(host.node(node), node.path, False, propagation)


def _mapped(config: Config, host: Host) -> Iterator[Operation]:
    """Mounts with maps of their own (config.md, "Mounts"), which `Bind` puts in their places."""
    for at, one in mount_ids(config).items():
        mount, where = config.mounts[at], f"$.mounts[{at}]"
        if not host.privileged:
            raise Refusal(
                f"config.json: {where}: only root may map the ids of a mount; take uidMappings, "
                "gidMappings and 'idmap' out"
            )
        taken = _taken(mount, host, _propagation(config))
        yield taken
        deep = parse(mount.options).idmap_below
        uids, gids = (
            one.ids.path or ",".join(f"{m.container_id}:{m.host_id}:{m.size}" for m in mappings)
            for mappings in (one.ids.uids, one.ids.gids)
        )
        yield MapIds(where, taken.source, taken.destination, one.number, deep, uids, gids)


def _taken(mount: Mount, host: Host, propagation: int) -> TakeMount:
    source, destination = _from(host.bundle, mount.source or ""), "/" + mount.destination.strip("/")
    return TakeMount(source, destination, parse(mount.options).deep, propagation)


def _own_dev(config: Config) -> bool:
    """Whether /dev is the container's own, not the host's or the image's."""
    return any(
        mount.destination.rstrip("/") == "/dev" and not parse(mount.options).bind
        for mount in config.mounts
    )


def _devices(
    devices: tuple[Device, ...], host: Host, userns: bool, early: bool
) -> Iterator[Operation]:
    """In a user namespace nobody can make nodes: there, they are the host's (config-linux.md)."""
    for n in device_nodes(devices):
        if userns and not stat.S_ISFIFO(n.mode):
            yield Bind(host.node(n), n.path, False, Options(bind=True), early)
        else:
            yield MakeDevice(n.path, n.mode, n.major, n.minor, n.uid, n.gid)
    for path, target in LINKS:
        yield MakeLink(path, target)


def _from(bundle: str, path: str) -> str:
    return path if path.startswith("/") else f"{bundle.rstrip('/')}/{path}"


# -- the process ------------------------------------------------------------------------------


def _terminal(process: Process, console: bool) -> Operation:
    size = process.console_size
    height, width = (size.height, size.width) if size else (0, 0)
    return OpenTerminal(height, width, process.user.uid, console)


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
    if process.scheduler is not None:
        yield Schedule(process.scheduler)
    if process.io_priority is not None:
        yield PrioritizeIO(process.io_priority.class_, process.io_priority.priority)
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
