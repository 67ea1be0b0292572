"""A container's scope: made by systemd, kept in step with its limits, and stopped.

A scope has to have a process from its beginning (systemd.scope(5)), and the container's process is
to be born in its cgroups. So a keeper is put there first: a process of ours that waits until the
container's is there, and ends when we do, however that is. A scope whose last process has ended
goes by itself.
"""

import os

from auberge.container.cgroups_files import Write
from auberge.container.cgroups_layout import Hierarchy, Layout, Node, read_layout
from auberge.container.config import Config
from auberge.container.light import NamedTuple, Sequence
from auberge.container.systemd_annotations import asked
from auberge.container.systemd_bus import MANAGER, NAME, PATH, Bus, Unanswered
from auberge.container.systemd_properties import Property, common, properties
from auberge.container.systemd_unit import Unit, unit_of
from auberge.refusal import Refusal

_GONE = f"{NAME}.NoSuchUnit"
_EXISTS = f"{NAME}.UnitExists"


def is_of_user() -> bool:
    """Whether the user's systemd is asked, not the host's: that of whoever is not root, or is it in
    a user namespace of their own (as podman's without root)."""
    if os.geteuid() != 0:
        return True
    with open("/proc/self/uid_map", encoding="ascii") as file:
        whole = file.read().split() == ["0", "0", "4294967295"]
    return not whole and os.environ.get("XDG_RUNTIME_DIR", "") not in ("", "/run/user/0")


class Scope(NamedTuple):
    """What is asked of systemd for a container."""

    unit: Unit
    of_user: bool
    description: str
    limits: tuple[Property, ...]
    nodes: tuple[Node, ...]  # where its cgroups will be
    layout: Layout


def scope_of(config: Config, container: str, layout: Layout) -> Scope:
    """The scope of a container of that configuration; nothing is made. Raises Refusal."""
    of_user = is_of_user()
    unit = unit_of(config.linux.cgroups_path, container, of_user)
    wanted = asked(config.annotations)
    if not any(_is_managed(one, layout) for one in layout.hierarchies):
        raise Refusal(
            "--systemd-cgroup: neither cgroup v2 nor systemd's own hierarchy is mounted; mount "
            "cgroup2 on /sys/fs/cgroup, or leave the option out"
        )
    with Bus(of_user) as bus:
        version = _version(bus)
        top = bus.get(PATH, MANAGER, "ControlGroup")
    if not isinstance(top, str) or ".." in top.split("/") or not f"{top}/".startswith("/"):
        raise Refusal(f"systemd: its own cgroup is {top!r}; run it in the namespace of systemd's")
    nodes = layout.place(f"{top.rstrip('/')}{unit.path}", container)
    if of_user:
        _check_below(layout, nodes, top)
    writes = _writes(config, layout)
    known = {one.name: one for one in (*properties(writes, version), *wanted)}
    return Scope(unit, of_user, description(container), tuple(known.values()), nodes, layout)


def description(container: str) -> str:
    """What systemd says of a container's scope, and what it is known by."""
    return f"auberge-oci container {container}"


def _writes(config: Config, layout: Layout) -> Sequence[Write]:
    if config.linux.resources is None:
        return ()
    from auberge.container.cgroups_limits import limits

    return limits(config.linux.resources, layout)


def _version(bus: Bus) -> int:
    """The first number of `252.38-1~deb12u1`; 0 if there is none."""
    digits = ""
    for letter in str(bus.get(PATH, MANAGER, "Version")).lstrip("v"):
        if not letter.isascii() or not letter.isdigit() or len(digits) > 5:
            break
        digits += letter
    return int(digits or "0")


def _is_managed(one: Hierarchy | Node, layout: Layout) -> bool:
    """Whether systemd keeps its units there: in the hierarchy of v1 with its name, or else v2."""
    if any("name=systemd" in h.controllers for h in layout.hierarchies):
        return "name=systemd" in one.controllers
    return one.version == 2


def _check_below(layout: Layout, nodes: Sequence[Node], top: str) -> None:
    """A user may give birth in a cgroup, or move to it, only if all the way there from ours is
    theirs (cgroup-v2.rst, "Delegation Containment")."""
    for h in layout.hierarchies:
        if h.version == 2 and not f"{h.own}/".startswith(f"{top.rstrip('/')}/"):
            raise Refusal(
                f"--systemd-cgroup: this process is in the cgroup {h.own}, outside of what this "
                "user's systemd has; start it with `systemd-run --user --scope`"
            )


class Keeper:
    """The first process of a scope, which does nothing."""

    def __init__(self) -> None:
        hears, self._tells = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._tells)
                os.read(hears, 1)
            finally:
                os._exit(0)
        os.close(hears)

    def end(self) -> None:
        """Let it end, and see that it has."""
        if self._tells >= 0:
            os.close(self._tells)
            self._tells = -1
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:  # whoever ignores SIGCHLD has no children to wait for
                pass


def start(scope: Scope, keeper: int) -> None:
    """Have systemd make the scope, with the process `keeper` in it; raises Refusal, and there is
    none then."""
    unified = all(h.version == 2 for h in scope.layout.hierarchies)
    first = common(scope.description, scope.unit.slice, keeper, unified)
    theirs = {one.name for one in scope.limits}
    wanted = [*(one for one in first if one.name not in theirs), *scope.limits]
    sent = [(one.name, (one.signature, one.value)) for one in wanted]
    name = scope.unit.name
    body: tuple[object, ...] = (name, "replace", sent, [])
    with Bus(scope.of_user) as bus:
        bus.listen()
        try:
            try:
                result = _started(bus, body)
            except Unanswered as no:
                if no.name != _EXISTS:
                    raise
                # one that has failed is kept until somebody says that they have seen it
                bus.call("ResetFailedUnit", "s", (name,))
                result = _started(bus, body)
            if result != "done":
                raise Refusal(
                    f"systemd: the job for {name} ended as {result[:40]!r}; "
                    f"see `systemctl status {name}`"
                )
            _check_place(scope, keeper)
        except Unanswered:  # and so there is none of ours
            raise
        except BaseException:
            _undo(scope)
            raise


def _started(bus: Bus, body: tuple[object, ...]) -> str:
    return bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)


def _undo(scope: Scope) -> None:
    try:
        stop(scope.unit.name, scope.of_user, scope.description)
    except Refusal:  # what is told is why it was to be undone; without a process it goes by itself
        pass


def _check_place(scope: Scope, keeper: int) -> None:
    """Raise Refusal unless the keeper is where the container's cgroups are to be."""
    layout = read_layout(process=str(keeper))
    wanted = [node.path for node in scope.nodes if _is_managed(node, layout)]
    found = [h.mount + h.own for h in layout.hierarchies if _is_managed(h, layout)]
    if found != wanted:
        raise Refusal(
            f"systemd: {scope.unit.name} is in {' '.join(found)}, not in {' '.join(wanted)}; run "
            "it in the cgroup namespace of systemd's"
        )


def change(name: str, of_user: bool, writes: Sequence[Write]) -> None:
    """Tell systemd of new limits; when it returns, they hold. Raises Refusal."""
    with Bus(of_user) as bus:
        sent = [(p.name, (p.signature, p.value)) for p in properties(writes, _version(bus))]
        if sent:
            bus.call("SetUnitProperties", "sba(sv)", (name, True, sent))
            _version(bus)  # systemd writes its files before it hears the next call


def stop(name: str, of_user: bool, description: str) -> None:
    """Stop a scope, and have systemd forget it; nothing is done to one that is somebody else's by
    now. Raises Refusal."""
    with Bus(of_user) as bus:
        bus.listen()
        try:
            if bus.get(bus.unit(name), f"{NAME}.Unit", "Description") != description:
                return
            bus.job("StopUnit", "ss", (name, "replace"))
            bus.call("ResetFailedUnit", "s", (name,))
        except Unanswered as no:
            # gone at one of the steps: its last process had ended before
            if no.name not in (_GONE, "org.freedesktop.DBus.Error.UnknownObject"):
                raise
