"""The root file system of a plan: its mounts, devices and masks, in their order; see plan.py."""

from __future__ import annotations

import stat

from auberge.container import kernel as k
from auberge.container.config import Config, Device, Mount, Process
from auberge.container.devices import LINKS, device_nodes
from auberge.container.light import TYPE_CHECKING, Iterator
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
    MountRoot,
    OpenNull,
    Pivot,
    Propagate,
    Protect,
    Remount,
    SetSysctl,
    TakeMount,
)
from auberge.container.steps import Operation, RunHook
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.container.host import CgroupMount, Host
    from auberge.container.plan import Choices

ROOT_PROPAGATION = {
    "private": k.MS_PRIVATE, "rprivate": k.MS_PRIVATE | k.MS_REC,
    "shared": k.MS_SHARED, "rshared": k.MS_SHARED | k.MS_REC,
    "slave": k.MS_SLAVE, "rslave": k.MS_SLAVE | k.MS_REC,
    "unbindable": k.MS_UNBINDABLE, "runbindable": k.MS_UNBINDABLE | k.MS_REC,
}  # fmt: skip


def root_file_system(
    config: Config, process: Process, host: Host, choices: Choices, early: bool
) -> Iterator[Operation]:
    """Make the root file system and enter it; `early`, of mounts that are taken already."""
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
        from auberge.container.terminal import terminal_of

        yield terminal_of(process, _own_dev(config))
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


def taken_early(config: Config, host: Host, choices: Choices) -> Iterator[Operation]:
    """Take what the user namespace to come could not reach."""
    propagation = _propagation(config)
    if config.root is not None and choices.overlay is None:
        yield TakeMount(_from(host.bundle, config.root.path), "/", True, propagation)
    for mount in config.mounts:
        if parse(mount.options).bind and not is_mapped(mount):
            yield _taken(mount, host, propagation)
    for node in device_nodes(config.linux.devices) if _own_dev(config) else ():
        if not stat.S_ISFIFO(node.mode):
            yield TakeMount(host.node(node), node.path, False, propagation)


def taken_mapped(config: Config, host: Host) -> Iterator[Operation]:
    """Take mounts with maps of their own (config.md, "Mounts"); `Bind` puts them in place."""
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
