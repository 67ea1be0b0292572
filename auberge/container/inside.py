"""One more process in a container that runs: `exec`."""

import os

from auberge.container import kernel as k
from auberge.container import processes
from auberge.container.carry import STREAMS, Child
from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import read_layout
from auberge.container.config import Namespace, Process
from auberge.container.home import with_home
from auberge.container.host import this_host
from auberge.container.light import NamedTuple, Sequence
from auberge.container.listener import sender
from auberge.container.mold import program
from auberge.container.plan import Choices, plan_exec
from auberge.container.prepare import compiled_filter, owned
from auberge.container.record import entrances
from auberge.container.runtime import Container, state_of
from auberge.container.steps import OpenCgroups
from auberge.container.talk import CREATED, READY, Descriptors
from auberge.refusal import Refusal


class Entry(NamedTuple):
    """How a process enters, beside what it is."""

    streams: Sequence[int] = STREAMS
    kept: int = 0
    console: int | None = None
    keyring: bool = True
    ignore_paused: bool = False
    cgroups: Sequence[str] = ()  # those below the container's to be in, as [CONTROLLER,...:]PATH


def enter(container: Container, process: Process, how: Entry) -> Child:
    """Run a process in the container, as a child of ours; raises Refusal.

    It enters the container's namespaces in a program of its own that shares no memory with us.
    """
    record = container.record()
    status = container.status(record)
    if status == "paused" and not how.ignore_paused:
        raise Refusal(f"container {container.id}: it is paused; resume it first")
    if status not in ("running", "created", "paused"):
        raise Refusal(f"container {container.id}: it is {status}, not running; start it first")
    config = container.config()
    spaces = tuple(
        Namespace(kind, path)
        for kind in sorted({s.type for s in config.linux.namespaces})
        if _is_foreign(path := f"/proc/{record.pid}/ns/{k.NAMESPACE_FILES[kind]}")
    )
    layout = read_layout()
    groups = entrances(record)
    choices = Choices(
        container.id,
        resctrl=bool(groups),
        keyring=how.keyring,
        own_streams=owned(how.streams),
        filter=compiled_filter(config),
    )
    cgroup = container.cgroup(record)
    host = this_host(record.bundle, layout, cgroup.nodes)
    process = with_home(process, f"/proc/{record.pid}/root")
    steps = plan_exec(process, spaces, host, choices, _sets_groups(record.pid)).operations
    if how.cgroups:
        cgroup = below(cgroup, how.cgroups)
        unified = cgroup.clone_into
    else:
        unified = cgroup.clone_into_beside(record.pid)
    entering = OpenCgroups(tuple(cgroup.tasks), unified, groups)
    made = program((entering, *steps), Descriptors(how.kept, False, how.console is not None))
    listens = sender(config.linux.seccomp, lambda _: state_of(record, status))
    child = Child(made, how.streams, how.kept, None, how.console, listens=listens)
    try:
        child.until(READY)
        if not processes.is_alive(record.pid, record.start_time):
            raise Refusal(f"container {container.id}: it has just ended; start it again")
        processes.adjust(child.pid, process)
        child.go()
        child.until(CREATED)
        child.go()
        child.started()
    except BaseException:
        child.kill()
        raise
    return child


def below(cgroup: Cgroup, wanted: Sequence[str]) -> Cgroup:
    """The cgroups below a container's that `--cgroup` names, which have to be there; of a hierarchy
    that is not named, the container's own. Raises Refusal."""
    nodes = list(cgroup.nodes)
    for text in wanted:
        names, colon, path = text.rpartition(":")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise Refusal(f"--cgroup: {text!r} leads upwards; write it without '..'")
        controllers = set(names.split(",")) if colon else set()
        known = {name for node in nodes for name in node.controllers}
        if not controllers <= known:
            missing = sorted(controllers - known)[0]
            raise Refusal(f"--cgroup: {text!r}: there is no controller {missing!r}; leave it out")
        for at, node in enumerate(nodes):
            if colon and not controllers & set(node.controllers):
                continue
            nodes[at] = node._replace(path="/".join((node.path, *parts)))
            if not os.path.isdir(nodes[at].path):
                raise Refusal(f"--cgroup: {nodes[at].path}: no such cgroup; make it first")
    return Cgroup(nodes)


def _is_foreign(path: str) -> bool:
    """Whether we are not in that namespace: the kernel refuses to enter our own again."""
    try:
        theirs, ours = os.stat(path), os.stat(f"/proc/self/ns/{path.rpartition('/')[2]}")
    except FileNotFoundError:
        return False
    return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)


def _sets_groups(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/setgroups", encoding="ascii") as file:
            return file.read().strip() != "deny"
    except OSError:
        return True
