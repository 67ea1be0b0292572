"""A bundle understood: what is to be done for a container of it, and nothing is done yet.

What that takes is imported where it is needed: a bundle that was run before needs none of it
(kept.py).
"""

from __future__ import annotations

import os

from auberge.container.carry import STREAMS, Program
from auberge.container.cgroups_layout import Layout, Node, read_layout
from auberge.container.config import LONGEST, Config
from auberge.container.light import TYPE_CHECKING, Callable, NamedTuple, Sequence
from auberge.container.talk import Descriptors, session_keyring
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from auberge.container.cgroups import Cgroup
    from auberge.container.host import Host
    from auberge.container.kept import Kept
    from auberge.container.mounts import MountOverlay
    from auberge.container.plan import Choices, Plan
    from auberge.container.resctrl_groups import Groups
    from auberge.container.seccomp_filter import Filter
    from auberge.container.steps import Operation
    from auberge.container.systemd import Scope


class Start(NamedTuple):
    """How a container is started, beside what its bundle says."""

    streams: Sequence[int] = STREAMS
    kept: int = 0  # preserved descriptors, from 3 on
    console: int | None = None  # a socket that is sent the terminal
    pivot: bool = True
    keyring: bool = True
    waits: bool = False  # for `start`, instead of running at once
    overlay: MountOverlay | None = None
    sparing: bool = False  # no cgroups of v1 but those that a limit needs: each costs milliseconds
    connect: Callable[[int], None] | None = None  # gives its network to the process of that number
    systemd: bool = False  # whether systemd makes its cgroup
    again: bool = False  # whether this bundle may well be run again: its program is kept on disk


class Prepared(NamedTuple):
    """A bundle that is understood: nothing has been done to the host yet."""

    config: Config
    bundle: str
    layout: Layout
    nodes: tuple[Node, ...]
    planned: Callable[[], Plan]
    kept: Kept | None = None
    scope: Scope | None = None  # which systemd is to make, with the cgroups at `nodes`
    groups: Groups | None = None  # of resctrl

    @property
    def plan(self) -> Plan:
        """The operations; those of a program that was kept are found again."""
        return self.planned()

    def program(
        self, cgroup: Cgroup, descriptors: Descriptors, resctrl: tuple[str, ...] = ()
    ) -> Program:
        """What its first process runs, which begins in these cgroups; `resctrl` are the files by
        which it enters groups there."""
        tasks, unified = tuple(cgroup.tasks), cgroup.clone_into
        if self.kept is not None:
            found = self.kept.program(tasks, unified, descriptors, self._operations)
            if found is not None:
                return found
        from auberge.container.mold import mold_of

        operations = self._operations(tasks, unified, resctrl)
        mold, texts = mold_of(operations, descriptors)
        if self.kept is not None:
            home = bundle_home(self.config, self.bundle)
            self.kept.keep(self.config, home, mold, operations, descriptors)
        return Program(mold.filled(texts), mold.numbers, lambda: operations)

    def _operations(
        self, tasks: tuple[str, ...], unified: str | None, resctrl: tuple[str, ...] = ()
    ) -> tuple[Operation, ...]:
        from auberge.container.steps import OpenCgroups

        return (OpenCgroups(tasks, unified, resctrl), *self.plan.operations)


def prepare(bundle: str, name: str, how: Start) -> Prepared:
    """Read and check a bundle; raises Refusal."""
    bundle = os.path.abspath(bundle)
    path = os.path.join(bundle, "config.json")
    data = read(path)
    kept: Kept | None = None
    if how.again and how.overlay is None:
        from auberge.container.kept import Kept

        layout = read_layout()
        kept = Kept(data, bundle, name, how.pivot, how.keyring, owned(how.streams), layout)
        config = kept.config(lambda found: bundle_home(found, bundle))
        if config is not None:
            nodes, scope = _placed(config, name, layout, how)
            return Prepared(
                config, bundle, layout, nodes,
                lambda: prepare(bundle, name, how._replace(again=False)).plan, kept, scope,
            )  # fmt: skip
    from auberge.container.config_file import parse
    from auberge.container.config_rules import check

    config = parse(data, Config, path)
    check(config)
    if config.linux.intel_rdt is not None:
        kept = None  # what is kept does not know of groups of resctrl
    return prepare_config(config, bundle, name, how)._replace(kept=kept)


def read(path: str) -> bytes:
    """The text of a config.json; raises Refusal."""
    try:
        with open(path, "rb") as file:
            return file.read(LONGEST + 1)
    except OSError as error:
        raise Refusal(
            f"{path}: {reason(error)}; give the folder of a bundle, with its config.json"
        ) from None


def prepare_config(config: Config, bundle: str, name: str, how: Start) -> Prepared:
    """The same of a configuration that was checked."""
    from auberge.container.host import this_host
    from auberge.container.plan import Choices

    layout = read_layout()
    nodes, scope = _placed(config, name, layout, how)
    if how.sparing:
        needed = needed_controllers(config)
        nodes = tuple(n for n in nodes if n.version == 2 or needed.intersection(n.controllers))
    groups: Groups | None = None
    if config.linux.intel_rdt is not None:
        from auberge.container.resctrl import mounted
        from auberge.container.resctrl_groups import plan_groups

        groups = plan_groups(config.linux.intel_rdt, name, mounted())
    host = this_host(bundle, layout, nodes)
    choices = Choices(
        name, how.pivot, how.keyring, owned(how.streams), compiled_filter(config), how.overlay
    )
    process, root, complete = config.process, config.root, config
    if process is not None and root is not None and how.overlay is None:
        from auberge.container.home import with_home

        complete = config._replace(process=with_home(process, os.path.join(bundle, root.path)))
    made = _planned(complete, host, choices)
    return Prepared(config, bundle, layout, nodes, lambda: made, scope=scope, groups=groups)


def _placed(
    config: Config, name: str, layout: Layout, how: Start
) -> tuple[tuple[Node, ...], Scope | None]:
    """Where its cgroups will be, and what systemd is asked for them if it is to be."""
    if not how.systemd:
        return layout.place(config.linux.cgroups_path, name), None
    from auberge.container.systemd import scope_of

    scope = scope_of(config, name, layout)
    return scope.nodes, scope


def bundle_home(config: Config, bundle: str) -> str | None:
    """The setting of HOME that the process of a bundle lacks, from the image's passwd."""
    process, root = config.process, config.root
    if process is None or root is None:
        return None
    from auberge.container.home import lacking

    return lacking(process, os.path.join(bundle, root.path))


_last: list[tuple[Config, Host, Choices, Plan]] = []  # one whose plan asks the host for nothing


def _planned(config: Config, host: Host, choices: Choices) -> Plan:
    """The plan, made of the last one if that differs in the container's name and layers alone.

    The paths of cgroups are looked at for bind mounts only, and plans with those are not taken.
    """
    from auberge.container.copy_up import CopyUp
    from auberge.container.mounts import Bind, Isolate, MountOverlay, TakeMount
    from auberge.container.plan import Plan, plan
    from auberge.container.steps import NewKeyring

    same = choices._replace(container="")
    host_alike = host._replace(cgroups=tuple([h._replace(path="") for h in host.cgroups]))
    if choices.overlay is not None:
        same = same._replace(overlay=MountOverlay((), "", "", ""))
    if _last:
        known_config, known_host, known_choices, known = _last[0]
        if known_choices == same and known_host == host_alike and known_config == config:
            return Plan(tuple([
                NewKeyring(session_keyring(choices.container)) if isinstance(one, NewKeyring)
                else choices.overlay if isinstance(one, MountOverlay) and choices.overlay
                else one
                for one in known.operations
            ]))  # fmt: skip
    made = plan(config, host, choices)
    if not any(
        isinstance(one, Bind | CopyUp | TakeMount) or (isinstance(one, Isolate) and one.parent)
        for one in made.operations
    ):
        _last[:] = [(config, host_alike, same, made)]
    return made


def compiled_filter(config: Config) -> Filter | None:
    """The filter of linux.seccomp, if there is one; raises Refusal."""
    profile = config.linux.seccomp
    if profile is None:
        return None
    from auberge.container.seccomp import compile_filter, kernel_flags
    from auberge.container.seccomp_filter import Filter
    from auberge.engine.cache import folder

    made = compile_filter(profile, folder())
    asks = made.listener is not None
    return Filter(made.program, kernel_flags(made.flags, asks), asks)


def owned(streams: Sequence[int]) -> tuple[int, ...]:
    """Which of the standard streams a user may be given: all but /dev/null."""
    null = os.stat("/dev/null").st_rdev
    found = []
    for at, fd in enumerate(streams):
        try:
            if os.fstat(fd).st_rdev != null:
                found.append(at)
        except OSError:
            pass
    return tuple(found)


def needed_controllers(config: Config) -> set[str]:
    """Controllers without which the container would not be limited as it says."""
    r = config.linux.resources
    if r is None:
        return set()
    wanted = (
        ("memory", r.memory), ("cpu", r.cpu), ("pids", r.pids), ("blkio", r.block_io),
        ("hugetlb", r.hugepage_limits), ("net_cls", r.network), ("rdma", r.rdma),
        ("cpuset", r.cpu and (r.cpu.cpus or r.cpu.mems)), ("devices", r.devices),
        ("io", r.block_io),  # as v2 calls it
    )  # fmt: skip
    return {name for name, value in wanted if value} | {file.split(".")[0] for file in r.unified}
