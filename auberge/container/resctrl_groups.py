"""A container's group in resctrl: planned, made, and taken back (config-linux.md, "IntelRdt").

A group that has the container's name is its own, and goes with it. One that is named (closID) is
there for others, too: it stays, as runc leaves it and a later specification (1.3) says, unless the
container that was to be the first in it has failed. There, what one container uses is counted by a
monitoring group of its own.
"""

import os
import time

from auberge.container import resctrl
from auberge.container.cgroups_files import read
from auberge.container.config import IntelRdt
from auberge.container.light import Iterator, NamedTuple
from auberge.container.record import ResctrlPlace
from auberge.container.resctrl import WHERE, Lock
from auberge.refusal import Refusal, reason

LINGERING = 1.0  # seconds in which a group has tasks that have ended


class MakeGroup(NamedTuple):
    """A new group, with the shares that the kernel gives it (mkdir(2))."""

    path: str

    def do(self, mount: str) -> None:
        """There are as many as the processor has classes of service."""
        _make(mount, self.path, "remove one, or name one that is there as closID")


class CompareSchemata(NamedTuple):
    """A group that is there already must have these shares."""

    path: str
    schemata: str

    def do(self, mount: str) -> None:
        """ "runtimes MUST compare l3CacheSchema and/or memBwSchema value with schemata file, and
        generate an error if doesn't match"."""
        found = read(f"{self.path}/schemata")
        line = resctrl.difference(mount, self.schemata, found)
        if line is not None:
            has = " ".join(found.split())
            raise Refusal(
                f"{WHERE}.closID: {self.path} has {has!r}, not {line!r}; write what it has, or "
                "another closID"
            )


class SetSchemata(NamedTuple):
    """The shares of a group."""

    path: str
    schemata: str
    where: str

    def do(self, mount: str) -> None:
        """All lines in one write: the kernel takes all of them or none."""
        resctrl.write_schemata(mount, self.path, self.schemata, self.where)


class MakeMonitor(NamedTuple):
    """A group that counts what the container alone uses, in one that others may be in."""

    path: str

    def do(self, mount: str) -> None:
        """It takes one of the processor's numbers for monitoring (RMID)."""
        _make(mount, self.path, "remove one, or take enableCMT and enableMBM out")


Step = MakeGroup | CompareSchemata | SetSchemata | MakeMonitor


class Groups(NamedTuple):
    """What is to be done before the container's process is made, and where it will be."""

    steps: tuple[Step, ...]
    place: ResctrlPlace


def plan_groups(rdt: IntelRdt, name: str, mount: str) -> Groups:
    """The group of a container of that name, by what is there now. Raises Refusal."""
    wanted = resctrl.combined(rdt.l3_cache_schema or "", rdt.mem_bw_schema or "")
    group = f"{mount}/{rdt.clos_id or name}"
    is_there = os.path.lexists(group)
    if is_there and not os.path.isfile(f"{group}/tasks"):
        raise Refusal(f"{WHERE}: {group}: it is the kernel's own, not a group; choose another name")
    if is_there and not rdt.clos_id:
        raise Refusal(
            f"{WHERE}: {group}: there is a group of the container's name; name it as closID if it "
            "is to be shared, or choose another name"
        )
    if not is_there and rdt.clos_id and not wanted:
        raise Refusal(
            f"{WHERE}.closID: {group}: no such group; make it, or give l3CacheSchema or "
            "memBwSchema for a new one"
        )
    steps: list[Step] = []
    if not is_there:
        steps.append(MakeGroup(group))
    elif wanted:
        steps.append(CompareSchemata(group, wanted))
    if wanted:
        steps.append(SetSchemata(group, wanted, _where(rdt)))
    monitor = ""
    if _monitors(rdt, mount) and rdt.clos_id:
        monitor = f"{group}/mon_groups/{name}"
        if os.path.lexists(monitor):
            raise Refusal(
                f"{WHERE}: {monitor}: another counts under the container's name; choose another "
                "name"
            )
        steps.append(MakeMonitor(monitor))
    place = ResctrlPlace(mount, group, monitor, not is_there, bool(rdt.clos_id))
    return Groups(tuple(steps), place)


def _where(rdt: IntelRdt) -> str:
    """The property that a refused value is of."""
    if not rdt.mem_bw_schema:
        return f"{WHERE}.l3CacheSchema"
    return WHERE if rdt.l3_cache_schema else f"{WHERE}.memBwSchema"


def _monitors(rdt: IntelRdt, mount: str) -> bool:
    """Whether something is to be counted. Raises Refusal if it cannot be."""
    counted = resctrl.features(mount)
    for wanted, name, needed in (
        (rdt.enable_cmt, "enableCMT", ("llc_occupancy",)),
        (rdt.enable_mbm, "enableMBM", ("mbm_total_bytes", "mbm_local_bytes")),
    ):
        if wanted and not counted.intersection(needed):
            raise Refusal(
                f"{WHERE}.{name}: this processor does not count {' or '.join(needed)} "
                f"({mount}/{resctrl.FEATURES}); take it out"
            )
    return rdt.enable_cmt or rdt.enable_mbm


def make(rdt: IntelRdt, name: str) -> Iterator[ResctrlPlace]:
    """Make it, planned again as nobody else changes anything now: where it will be, to be written
    down before anything is done, and where it is. Raises Refusal."""
    mount = resctrl.mounted()
    with Lock(mount):
        groups = plan_groups(rdt, name, mount)
        place = groups.place
        yield place
        for step in groups.steps:
            step.do(mount)
        yield place._replace(
            group_is=_identity(place.group) if place.made else "",
            monitor_is=_identity(place.monitor) if place.monitor else "",
        )


def update(place: ResctrlPlace, l3_cache_schema: str, mem_bw_schema: str) -> None:
    """Change the shares of the group, for whoever is in it. Raises Refusal."""
    if not os.path.isdir(place.group):
        raise Refusal(f"{place.group}: somebody has removed the group; create the container anew")
    both = bool(l3_cache_schema and mem_bw_schema)
    where = "--l3-cache-schema" if l3_cache_schema else "--mem-bw-schema"
    text = resctrl.combined(l3_cache_schema, mem_bw_schema)
    with Lock(place.mount):
        resctrl.write_schemata(
            place.mount, place.group, text, f"{where}, --mem-bw-schema" if both else where
        )


def remove(place: ResctrlPlace, was_created: bool) -> None:
    """Take back what was made for the container; of what is gone, or was never made, nothing is
    left to do. `was_created` is whether it came as far as to run. Raises Refusal."""
    if not os.path.isdir(place.mount):  # it is mounted no more: all groups ended with it
        return
    with Lock(place.mount):
        if place.monitor:
            _remove(place.monitor, place.monitor_is)
        if place.made and not place.named:
            _remove(place.group, place.group_is)
        elif place.made and not was_created:
            _remove(place.group, "")  # only if nobody has come to it


def _remove(path: str, identity: str) -> None:
    """Remove a group; one of which nobody has written down that it is ours, if no task is in it:
    the runtime was killed between the two, and its child has died with it."""
    deadline = time.monotonic() + LINGERING
    try:
        if identity and _identity(path) != identity:
            return
        while not identity and read(f"{path}/tasks").strip():
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        os.rmdir(path)  # the kernel gives tasks that are in it to the group above
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refusal(f"{path}: {reason(error)}; remove it with rmdir, and try again") from None


def _make(mount: str, path: str, otherwise: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except PermissionError:
        raise Refusal(
            f"{WHERE}: {path}: only root may make groups; run as root, or take it out"
        ) from None
    except OSError as error:
        raise Refusal(f"{WHERE}: {path}: {resctrl.why(mount, error)}; {otherwise}") from None


def _identity(path: str) -> str:
    status = os.stat(path)
    return f"{status.st_dev}:{status.st_ino}"
