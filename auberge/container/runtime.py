"""The life of a container (runtime.md, "Lifecycle"): create, start, kill, delete.

The order of what is done to the host is the order of the lines here. Each step that leaves
something behind is recorded first, so that `delete` finds it, whenever this process is killed.
"""

from __future__ import annotations

import os
import time

from auberge.container import processes
from auberge.container.carry import Child
from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import Layout, Node
from auberge.container.config import Config, Hooks, Resources
from auberge.container.light import TYPE_CHECKING, Callable
from auberge.container.listener import sender
from auberge.container.mount_ids import open_ids
from auberge.container.prepare import Prepared, needed_controllers
from auberge.container.prepare import Start as Start
from auberge.container.prepare import prepare as prepare
from auberge.container.prepare import prepare_config as prepare_config
from auberge.container.record import CgroupPlace, Folder, Record, entrances
from auberge.container.stopwatch import mark
from auberge.container.talk import CREATED, READY, Descriptors
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.container.systemd import Keeper, Scope

PATIENCE = 10.0  # seconds for a killed process to be gone
LINGERING = 1.0  # seconds in which a cgroup has processes that have ended


class Container:
    """A container of a folder of containers, by its name."""

    def __init__(self, root: str, name: str) -> None:
        self.folder = Folder(root, name)
        self.id = name
        self._config: Config | None = None  # what we have made it from ourselves

    # -- create ---------------------------------------------------------------------------------

    def create(self, prepared: Prepared, how: Start) -> Child:
        """Make the container; it waits for `start`, or runs, as `how` says. Raises Refusal, and
        leaves nothing behind then."""
        self.folder.create()
        self._config = prepared.config
        places = tuple([CgroupPlace(*node) for node in prepared.nodes])
        record = Record(
            self.id, prepared.bundle, _now(), owner=os.geteuid(),
            rootfs=prepared.config.root.path if prepared.config.root else "",
            oci_version=prepared.config.oci_version, annotations=prepared.config.annotations,
        )  # fmt: skip
        child: Child | None = None
        keeper: Keeper | None = None
        try:
            Cgroup(prepared.nodes).check_empty()  # whatever is in those that are recorded is killed
            with_unit = _with_unit(record, prepared.scope)
            self.folder.save(with_unit._replace(cgroups=places))
            self._keep_config(prepared.bundle)
            if prepared.scope is not None:
                from auberge.container import systemd

                keeper = systemd.Keeper()
                systemd.start(prepared.scope, keeper.pid)
                record = with_unit
            ours = keeper.pid if keeper is not None else 0
            cgroup = Cgroup(prepared.nodes).create(needed_controllers(prepared.config), ours)
            record = record._replace(cgroups=tuple([CgroupPlace(*node) for node in cgroup.nodes]))
            rdt = prepared.config.linux.intel_rdt
            if rdt is not None:
                from auberge.container.resctrl_groups import make

                for place in make(rdt, self.id):  # what will be, and what is
                    record = record._replace(resctrl=place, boot=processes.boot_id())
                    self.folder.save(record)
            child = self._make(prepared, how, record, cgroup)
            if keeper is not None:
                keeper.end()
        except BaseException:
            if child is not None:
                child.kill()
            if keeper is not None:
                keeper.end()
            self.clear(record, prepared.config)
            raise
        return child

    def _keep_config(self, bundle: str) -> None:
        try:
            with open(os.path.join(bundle, "config.json"), "rb") as file:
                self.folder.write("config.json", file.read())
        except FileNotFoundError:  # a container that has no bundle, made by a program
            pass

    def _make(self, prepared: Prepared, how: Start, record: Record, cgroup: Cgroup) -> Child:
        config = prepared.config
        mark("record and cgroups")
        users = open_ids(config)
        given = [*users]
        try:
            fifo: int | None = None
            if how.waits:
                os.mkfifo(self.folder.fifo, 0o600)
                fifo = os.open(self.folder.fifo, os.O_RDWR | os.O_CLOEXEC)
                given.append(fifo)
            console = how.console is not None
            descriptors = Descriptors(how.kept, fifo is not None, console, len(users))
            program = prepared.program(cgroup, descriptors, entrances(record))
            listens = sender(config.linux.seccomp, lambda pid: state_of(
                record._replace(pid=pid), "creating"
            ))  # fmt: skip
            child = Child(program, how.streams, how.kept, fifo, how.console, users, listens)
        finally:
            for fd in given:
                os.close(fd)
        try:
            confine = limiter(cgroup, config, prepared.layout)  # while its namespaces are made
            if config.process is not None and config.process.rlimits:
                import resource  # noqa: F401  # `adjust` needs it: 0.35 ms nobody waits for here
            mark("table and start")
            child.until(READY)
            mark("namespaces")
            pid = child.pid
            record = record._replace(
                pid=pid, start_time=processes.start_time(pid), boot=processes.boot_id()
            )
            hooks = config.hooks
            if hooks != Hooks():  # one may ask for the state; else cgroups are enough to find it
                self.folder.save(record)
            if any(s.type == "user" and not s.path for s in config.linux.namespaces):
                from auberge.container.idmaps import write_maps

                write_maps(pid, config.linux.uid_mappings, config.linux.gid_mappings)
            confine()
            if config.process is not None:
                processes.adjust(pid, config.process)
            if hooks.prestart or hooks.create_runtime:
                from auberge.container.hooks import run_hooks

                state = self.state_text(record, "creating")
                run_hooks("prestart", hooks.prestart, state)
                run_hooks("createRuntime", hooks.create_runtime, state)
            if how.connect is not None:  # while its process can be looked at without privileges
                how.connect(pid)
            mark("limits and hooks")
            child.go(self._inner_state(config, record, "creating"))
            child.until(CREATED)
            mark("root file system")
            record = record._replace(is_created=True)
            self.folder.save(record)
            child.go(self._inner_state(config, record, "created"))
            if not how.waits:
                child.started()
                mark("exec")
                self._poststart(config, record)
        except BaseException:
            child.kill()
            raise
        return child

    def _inner_state(self, config: Config, record: Record, status: str) -> bytes:
        """For hooks inside: "the pid as seen by the container" (runtime.md, "State")."""
        hooks = config.hooks
        if not (hooks.create_container or hooks.start_container):
            return b"{}"
        with open(f"/proc/{record.pid}/status", encoding="utf-8", errors="replace") as file:
            numbers = next((line for line in file if line.startswith("NSpid:")), "NSpid: 0")
        inner = record._replace(pid=int(numbers.split()[-1]))
        return self.state_text(inner, status)

    # -- start ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Let a created container run its program; raises Refusal unless it is created."""
        record = self.record()
        status = self.status(record)
        if status != "created":
            raise Refusal(f"container {self.id}: it is {status}, not created; create it first")
        try:
            fd = os.open(self.folder.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise Refusal(f"container {self.id}: its process has ended; delete it") from None
        try:
            os.write(fd, b"!")  # if we are killed here, `status` finds that nobody reads any more
            os.unlink(self.folder.fifo)
        except FileNotFoundError:
            raise Refusal(f"container {self.id}: it was just started; see its state") from None
        finally:
            os.close(fd)
        self._poststart(self.config(), record)

    def _poststart(self, config: Config, record: Record) -> None:
        if config.hooks.poststart:
            from auberge.container.hooks import run_hooks

            try:
                run_hooks("poststart", config.hooks.poststart, self.state_text(record, "running"))
            except Refusal:
                processes.send(record.pid, record.start_time, processes.SIGKILL)
                raise

    # -- state ----------------------------------------------------------------------------------

    def record(self) -> Record:
        """What is recorded; raises Refusal if there is no such container."""
        return self.folder.load() or Record(self.id, "")

    def config(self) -> Config:
        """The configuration that it was made from."""
        if self._config is not None:
            return self._config
        from auberge.container.config_file import parse

        try:
            with open(self.folder.config, "rb") as file:
                return parse(file.read(), Config, "config.json")
        except FileNotFoundError:
            return Config("1.1.0")

    def cgroup(self, record: Record) -> Cgroup:
        """Its cgroups."""
        return Cgroup([Node(*place) for place in record.cgroups])

    def status(self, record: Record) -> str:
        """creating, created, running, paused or stopped."""
        if record.pid and not processes.is_alive(record.pid, record.start_time):
            return "stopped"
        if not record.is_created:
            return "creating" if record.pid else "stopped"
        if self._waits():
            return "created"
        return "paused" if self.is_frozen(record) else "running"

    def _waits(self) -> bool:
        """Whether its process reads the FIFO: its program has closed it."""
        try:
            os.close(os.open(self.folder.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # ENXIO, or it is gone
            return False
        return True

    def is_frozen(self, record: Record) -> bool:
        """Whether its cgroup is frozen."""
        try:
            return self.cgroup(record).frozen
        except (OSError, Refusal):
            return False

    def state(self) -> dict[str, object]:
        """runtime.md, "State", with runc's additions."""
        record = self.record()
        status = self.status(record)
        return state_of(record, status) | {
            "rootfs": os.path.join(record.bundle, record.rootfs),
            "created": record.created,
            "owner": "",
        }

    def state_text(self, record: Record, status: str) -> bytes:
        """What a hook reads."""
        from auberge.container.light import write_json

        return write_json(state_of(record, status)).encode()

    # -- kill and delete ------------------------------------------------------------------------

    def kill(self, number: int, everyone: bool = False) -> None:
        """Send a signal to its first process, or to all; raises Refusal if it has ended."""
        record = self.record()
        if everyone and record.cgroups:
            self.cgroup(record).kill(number)
            return
        if self.status(record) == "stopped" or not processes.send(
            record.pid, record.start_time, number
        ):
            raise Refusal(f"container {self.id}: container not running; delete it")

    def delete(self, force: bool = False) -> list[str]:
        """Remove all that is left of it; with force, end it first. Answers with complaints."""
        if not self.folder.exists():
            if force:
                return []
            raise Refusal(f"container {self.id}: container does not exist; see `auberge-oci list`")
        try:
            record = self.record()
            config = self.config()
        except Refusal:
            if not force:
                raise
            record, config = Record(self.id, ""), Config("1.1.0")
        status = self.status(record)
        if status not in ("stopped", "created") and not force:
            raise Refusal(f"container {self.id}: it is {status}; kill it first, or use --force")
        if status != "stopped":
            processes.send(record.pid, record.start_time, processes.SIGKILL)
        # with the first process of a pid namespace, all others in it have ended
        spaces = config.linux.namespaces
        alone = any(space.type == "pid" and not space.path for space in spaces)
        return self.clear(record, config, bool(record.pid) and status == "stopped" and alone)

    def update_shares(self, l3_cache_schema: str, mem_bw_schema: str) -> None:
        """Change its shares of caches and memory bandwidth, of which an empty one stays as it is;
        raises Refusal."""
        from auberge.container.resctrl_groups import update

        place = self.record().resctrl
        if place is None:
            raise Refusal(
                f"container {self.id}: it is in no group of resctrl; create it with "
                "$.linux.intelRdt"
            )
        update(place, l3_cache_schema, mem_bw_schema)

    def update(self, resources: Resources) -> None:
        """Change its limits, while it runs; raises Refusal at the first that does not work."""
        from auberge.container.cgroups_layout import read_layout
        from auberge.container.cgroups_limits import limits

        record = self.record()
        writes = limits(resources, read_layout())
        if record.unit:
            from auberge.container import systemd

            systemd.change(record.unit, record.unit_of_user, writes)
        # the last word is the kernel's own: systemd rounds
        self.cgroup(record).apply(writes)

    def clear(self, record: Record, config: Config, has_ended: bool = False) -> list[str]:
        """Kill what still runs, run the last hooks, and remove cgroups and folder. Of a container
        that has ended as a whole, who is in its cgroup is of another one."""
        cgroup = self.cgroup(record)
        if has_ended:
            cgroup.leave(LINGERING)
        elif cgroup.nodes and not (record.pid and cgroup.remove()):
            cgroup.kill()
            if record.pid:
                processes.wait_gone(record.pid, record.start_time, PATIENCE)
            cgroup.delete()
        elif record.pid:
            processes.wait_gone(record.pid, record.start_time, PATIENCE)
        if record.resctrl is not None and record.boot == processes.boot_id():
            from auberge.container.resctrl_groups import remove

            remove(record.resctrl, record.is_created)
        complaints: list[str] = []
        alone = record.unit and not (has_ended and cgroup.processes())
        if alone and record.boot == processes.boot_id():
            from auberge.container import systemd

            try:
                systemd.stop(record.unit, record.unit_of_user, systemd.description(self.id))
            except Refusal as refusal:  # all its processes are gone, and so it will go by itself
                complaints.append(str(refusal))
        if config.hooks.poststop:
            from auberge.container.hooks import run_all_hooks

            state = self.state_text(record, "stopped")
            complaints += run_all_hooks(config.hooks.poststop, state)
        self.folder.remove()
        return complaints


def _with_unit(record: Record, scope: Scope | None) -> Record:
    if scope is None:
        return record
    boot = processes.boot_id()  # of another, a unit of that name is not ours
    return record._replace(unit=scope.unit.name, unit_of_user=scope.of_user, boot=boot)


def state_of(record: Record, status: str) -> dict[str, object]:
    """runtime.md, "State"."""
    return {
        "ociVersion": record.oci_version,
        "id": record.id,
        "status": status,
        "pid": 0 if status == "stopped" else record.pid,
        "bundle": record.bundle,
        "annotations": record.annotations,
    }


def limiter(cgroup: Cgroup, config: Config, layout: Layout) -> Callable[[], None]:
    """What sets linux.resources, with all worked out that can be before; raises Refusal."""
    resources = config.linux.resources
    if resources is None:
        return lambda: None
    from auberge.container.cgroups_limits import limits

    writes = limits(resources, layout)
    if not resources.devices:
        return lambda: cgroup.apply(writes)
    from auberge.container.cgroups_devices import confine, rules

    found = rules(resources.devices)

    def set_all() -> None:
        cgroup.apply(writes)
        confine(cgroup, found)

    return set_all


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{now % 1 * 1e9:09.0f}Z"
