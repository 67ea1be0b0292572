"""A guest in a container: its image as a root file system, the container, and its network."""

import os
from collections.abc import Sequence

from auberge.container import processes
from auberge.container.carry import Failure
from auberge.container.cgroups import Cgroup
from auberge.container.config import Config
from auberge.container.mounts import MountOverlay
from auberge.container.runtime import Container, Start, prepare_config
from auberge.image import subordinate
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.content import Record
from auberge.image.oci.rootfs import OVERLAY, Rootfs, prepare, release
from auberge.image.subordinate import Ids
from auberge.monitor import container_image, container_tasks
from auberge.monitor.container_command import (
    Joined,
    Terminal,
    execute,
    more_process,
    not_started,
)
from auberge.monitor.container_config import Place, configuration
from auberge.monitor.container_files import add_address, write_files
from auberge.monitor.container_image import Settled
from auberge.monitor.guest import Task, Usage
from auberge.monitor.offspring import Offspring
from auberge.monitor.options import CONTAINER, Options, forwards
from auberge.refusal import Refusal

IMAGE = "image.json"
KEPT = frozenset(
    ("runtime", "etc", "upper", "work", "copied.json", "copied.partial", "root", IMAGE)
)
CREATED_NET = ("bridge", "user")  # networks that are made when there is a process to have them


class Known(Container):
    """A container whose configuration needs not be read from a file."""

    def __init__(self, root: str, name: str, known: Config | None) -> None:
        super().__init__(root, name)
        self._known = known

    def config(self) -> Config:
        """The configuration that it was made from."""
        return self._known or Config("1.1.0")


class ContainerGuest:
    """See guest.py; `folder` is the guest's."""

    def __init__(self, options: Options, folder: str) -> None:
        self._options = options
        self._folder = folder
        self._runtime = os.path.join(folder, "runtime")
        self._net = network_of(options)
        self._known: Settled | None = None
        self._config: Config | None = None
        self._first: Offspring | None = None
        self._terminal = Terminal()
        self._ports: tuple[str, ...] = options.ports

    # -- what it is -----------------------------------------------------------------------------

    @property
    def isolation(self) -> str:
        """Which walls."""
        return CONTAINER

    @property
    def _settled(self) -> Settled:
        """Its image as it was when it started, and what is run in it."""
        if self._known is None:
            record = container_image.saved(os.path.join(self._folder, IMAGE))
            record = record or container_image.find(self._options.image)
            self._known = container_image.settled(record, self._options)
        return self._known

    @property
    def _record(self) -> Record:
        return self._settled.record

    @property
    def _ids(self) -> Ids | None:
        """Those that its image's layers, and so its files, are of."""
        return subordinate.read(self._record.ids)

    @property
    def image(self) -> str:
        """NAME:ARCH."""
        return self._record.reference

    @property
    def command(self) -> tuple[str, ...]:
        """What runs in it."""
        return self._settled.defaults.args

    @property
    def stop_signal(self) -> str:
        """What ends it politely."""
        return self._options.stop_signal or self._settled.defaults.stop_signal

    @property
    def pid(self) -> int:
        """Of its first process; 0 if there is none."""
        if self._first is not None:
            return self._first.pid
        container = self._container()
        return container.record().pid if container.folder.exists() else 0

    @property
    def ports(self) -> tuple[str, ...]:
        """What was forwarded."""
        return self._ports

    def _container(self) -> Known:
        return Known(self._runtime, self._options.id, self._config)

    def _configured(self) -> Known:
        """The container of a guest that others may have started."""
        if self._config is None:
            # where its root is matters to nobody who joins it
            place = Place("/", os.path.join(self._folder, "etc"), self._net, self._ids)
            self._config = configuration(self._options, self._settled.defaults, place)
        return self._container()

    # -- its start ------------------------------------------------------------------------------

    def start(self, streams: Sequence[int]) -> int | None:
        """Start it, again if it has ended; the answer is its terminal's master, if it has one."""
        if self._first is not None:
            self._container().delete(force=True)
            self._first = None
        record, defaults = self._settled
        if not self._options.sparing:
            container_image.save(record, os.path.join(self._folder, IMAGE))
        # never as a bind of its one layer: what is mounted in it needs places, which are made
        root = prepare(
            record, self._folder, self._options.id, os.geteuid() != 0,
            forgotten=self._options.remove,
        )  # fmt: skip
        etc = os.path.join(self._folder, "etc")
        write_files(etc, self._options, self._net)
        place = Place(root.path, etc, self._net, self._ids)
        config = configuration(self._options, defaults, place)
        self._config = config
        if not self._options.terminal:
            self._run(config, root, streams, None)
            return None
        with self._terminal.expected() as console:
            self._run(config, root, console.streams, console.socket)
        return self._terminal.copy()

    def _run(
        self, config: Config, root: Rootfs, streams: Sequence[int], console: int | None
    ) -> None:
        """Create the container, and let it go."""
        how = Start(
            streams=tuple(streams), console=console, overlay=overlay(root),
            sparing=self._options.sparing,
            connect=self._connect if self._net in CREATED_NET else None,
        )  # fmt: skip
        try:
            prepared = prepare_config(config, self._folder, self._options.id, how)
            child = self._container().create(prepared, how)
        except Failure as failure:
            raise not_started(failure, self.image) from None
        child.close()
        self._first = Offspring(child.pid, self._terminal.close)

    def _connect(self, pid: int) -> None:
        from auberge.container.network import connect

        connection = connect(self._net, self._options.id, pid, forwards(self._options))
        self._ports = tuple(map(str, connection.forwards))
        address = connection.bridge.address if connection.bridge is not None else "127.0.0.1"
        add_address(os.path.join(self._folder, "etc"), address, self._options)

    # -- its life -------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; None if it still runs."""
        if self._first is None:
            raise self._refusal("was not started here; ask its supervisor")
        return self._first.wait(timeout)

    def _refusal(self, what: str) -> Refusal:
        return Refusal(f"{self._options.name or self._options.id[:12]}: it {what}")

    @property
    def oom_killed(self) -> bool:
        """Whether something in it was killed for lack of memory."""
        container = self._container()
        if not container.folder.exists():
            return False
        return container.cgroup(container.record()).oom_kills() > 0

    def signal(self, number: int, everyone: bool = False) -> None:
        """Send a signal to its first process, or to all."""
        if not everyone and self._first is not None:
            sent = self._first.signal(number)
        else:
            container = self._container()
            record = container.record() if container.folder.exists() else None
            sent = record is not None and processes.is_alive(record.pid, record.start_time)
            if record is not None and sent and everyone:
                for pid in self._pids():
                    container_tasks.send(pid, number)
            elif record is not None and sent:
                sent = processes.send(record.pid, record.start_time, number)
        if not sent:
            raise self._refusal("does not run; see `auberge ps --all`")

    def pause(self) -> None:
        """Stop everything in it."""
        self._running().freeze()

    def resume(self) -> None:
        """Have everything go on."""
        self._running().thaw()

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        container = self._container()
        return container.folder.exists() and container.is_frozen(container.record())

    def _running(self) -> Cgroup:
        container = self._container()
        record = container.record() if container.folder.exists() else None
        if record is None or not processes.is_alive(record.pid, record.start_time):
            raise self._refusal("does not run; see `auberge ps --all`")
        return container.cgroup(record)

    def _pids(self) -> list[int]:
        return self._running().processes() or container_tasks.beside(self.pid)

    def processes(self) -> list[Task]:
        """What runs in it."""
        return container_tasks.tasks(self._pids())

    def stats(self) -> Usage:
        """What it uses now."""
        found = container_tasks.usage(self._running(), self.pid, self._net != "host")
        return found if found.pids is not None else found._replace(pids=len(self._pids()))

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""
        self._terminal.resize(rows, columns)

    def execute(
        self,
        command: Sequence[str],
        streams: Sequence[int],
        env: Sequence[str] = (),
        cwd: str = "",
        user: str = "",
        terminal: bool = False,
    ) -> Joined:
        """Run one more program in it."""
        container = self._configured()
        config = container.config()
        assert config.process is not None
        process = more_process(config.process, self._settled, command, env, cwd, user, terminal)
        if not process.args:
            raise self._refusal("needs a command to run; give one")
        return execute(container, process, streams, self.image)

    # -- its end --------------------------------------------------------------------------------

    def commit(self, name: str, comment: str = "") -> str:
        """Save what it changed as an image."""
        from auberge.image.oci.commit import commit

        paused = self._container().folder.exists() and self._lives() and not self.paused
        try:
            if paused:
                self.pause()
        except Refusal:  # without cgroups it is saved while it goes on
            paused = False
        try:
            return commit(self._record, self._rootfs(), name, comment=comment).reference
        finally:
            if paused:
                self.resume()

    def _rootfs(self) -> Rootfs:
        """Where its changes are; to prepare it again could take its work from an overlay."""
        path, upper = (os.path.join(self._folder, name) for name in ("root", "upper"))
        return Rootfs(OVERLAY, path, None, upper if os.path.isdir(upper) else "")

    def _lives(self) -> bool:
        record = self._container().record()
        return processes.is_alive(record.pid, record.start_time)

    def remove(self) -> None:
        """End it if it runs, and take away all that it has on the host."""
        self._container().delete(force=True)
        if self._first is not None:
            self._first.wait()
        self._terminal.close()
        if self._net in CREATED_NET:
            from auberge.container.network import disconnect_by_name

            disconnect_by_name(self._net, self._options.id)
        for name in KEPT.intersection(os.listdir(self._folder)):
            remove_tree(os.path.join(self._folder, name))
        release(self._options.id)


def remove_remains(folder: str, id: str) -> None:
    """The same of a container about which nothing else is known, and of its folder."""
    Known(os.path.join(folder, "runtime"), id, None).delete(force=True)
    from auberge.container.network import disconnect_by_name

    for net in CREATED_NET:
        disconnect_by_name(net, id)
    remove_tree(folder)
    release(id)


def network_of(options: Options) -> str:
    """Which network "user" is: of a bridge where we may make one."""
    if options.net in ("", "user"):
        return "bridge" if os.geteuid() == 0 else "user"
    return options.net


def overlay(root: Rootfs) -> MountOverlay | None:
    """The mount of a root file system, to be made in the container's own namespace."""
    if root.mount is None:
        return None
    found = {key: value for key, _, value in (text.partition("=") for text in root.mount.options)}
    lower, upper, work = (found[f"{name}dir"] for name in ("lower", "upper", "work"))
    own = ("lowerdir=", "upperdir=", "workdir=")
    more = tuple(text for text in root.mount.options if not text.startswith(own))
    return MountOverlay(tuple(lower.split(":")), upper, work, root.path, more)
