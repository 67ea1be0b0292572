"""A guest, whatever its walls: what can be done with it, and which kind of it options ask for.

What supervises guests (supervisor.py, `auberge run`, `auberge.Container`) knows no more of them
than this file says:

    options = check(Options(fresh_id(), "debian", ("sleep", "9")))      (options.py)
    options, why = choose(options)          settles the isolation; `why` is a line for the user
    guest = make(options, folder)           nothing is done to the host yet
    master = guest.start(streams)           runs; `master` is its terminal, if it has one
    status = guest.wait()                   by the process that started it, as often as it likes
    guest.remove()                          nothing of it is left, but `folder` itself

`folder` is a directory of the guest's alone, which its maker makes and removes. What a guest keeps
there has these names: `root`, `upper`, `work`, `copied*` (its root file system: rootfs.py), `etc`,
`runtime` (the container's record), `machine`.

Any other process of the same user can make the same guest from the same options and folder, and
call everything but `start`, `wait` and, for a machine, whatever takes its memory: `remove` above
all, when a supervisor was killed. A machine lives in its supervisor, so verbs of others reach it
there; the supervisor calls these methods from a thread of its own, for any thread may.
"""

from auberge.container.light import NamedTuple, Protocol, Sequence
from auberge.monitor.options import CONTAINER, MACHINE, Options, check_machine
from auberge.refusal import Refusal

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # as docker's exit status


class NotStarted(Refusal):
    """The program cannot be started, and what status says that: 126, or 127 if there is none."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Task(NamedTuple):
    """A process in a guest. Of a container, `pid` is the host's number; of a machine, its own."""

    pid: int
    parent: int
    user: str
    seconds: float  # of processor time
    command: str


class Usage(NamedTuple):
    """What a guest uses at one time; None is what nobody counts."""

    cpu_seconds: float | None = None
    memory: int | None = None  # bytes
    memory_limit: int | None = None  # None: none but the host's
    pids: int | None = None
    pids_limit: int | None = None
    received: int | None = None  # bytes, by its network
    sent: int | None = None
    read: int | None = None  # bytes, from block devices
    written: int | None = None


class Command(Protocol):
    """One more program that runs in a guest."""

    @property
    def pid(self) -> int:
        """As in Task."""

    @property
    def terminal(self) -> int | None:
        """The master of its terminal, if it was to have one: the caller's to close."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status, 128+N if signal N ended it; None if it still runs after `timeout`
        seconds. Can be asked again."""

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""


class Guest(Protocol):
    """One guest. Methods raise Refusal, and are for any thread."""

    @property
    def isolation(self) -> str:
        """container or machine."""

    @property
    def stop_signal(self) -> str:
        """What ends it politely, as SIGTERM: the image's choice."""

    @property
    def image(self) -> str:
        """The image as NAME:ARCH."""

    @property
    def command(self) -> tuple[str, ...]:
        """What runs in it: the image's entry point and the command."""

    def start(self, streams: Sequence[int]) -> int | None:
        """Start it. Its standard streams are these three descriptors, which stay the caller's; if
        it has a terminal they are not used, and the answer is the terminal's master, the caller's
        to close. Raises NotStarted for what docker has its own status for. What fails leaves
        nothing running, and is to be removed."""

    @property
    def pid(self) -> int:
        """Of its first process on the host (a machine's is its supervisor's own); 0 before."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The forwarded ports, as `-p` says them, with those that were chosen for 0."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status, 128+N if signal N ended it; None if it still runs after `timeout`
        seconds. Can be asked again, and from several threads."""

    @property
    def oom_killed(self) -> bool:
        """Whether something in it was killed for lack of memory; asked before `remove`."""

    def signal(self, number: int, everyone: bool = False) -> None:
        """Send a signal to its first process, or to all; raises Refusal if it has ended."""

    def pause(self) -> None:
        """Stop everything in it until `resume`."""

    def resume(self) -> None:
        """Have everything go on."""

    @property
    def paused(self) -> bool:
        """Whether it is paused."""

    def processes(self) -> list[Task]:
        """What runs in it."""

    def stats(self) -> Usage:
        """What it uses now."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""

    def execute(
        self,
        command: Sequence[str],
        streams: Sequence[int],
        env: Sequence[str] = (),
        cwd: str = "",
        user: str = "",
        terminal: bool = False,
    ) -> Command:
        """Run one more program in it, whose environment is the guest's and `env`. Streams and
        errors are as with `start`."""

    def commit(self, name: str, comment: str = "") -> str:
        """Save what it changed as an image, whose NAME:ARCH is the answer; paused or ended is
        best."""

    def remove(self) -> None:
        """End it if it runs, and take away all that it has on the host: processes, cgroups,
        network, mounts, files. For any process, however far a killed one got; can be repeated."""


class Choice(NamedTuple):
    """Options with their isolation, and what a user should be told about that, if anything."""

    options: Options
    why: str


def choose(options: Options) -> Choice:
    """Settle which walls: those asked for, else a container's where the host executes the image's
    programs, else a machine's. Raises Refusal if there is no such image."""
    from auberge.image.oci.names import host_architecture
    from auberge.image.store import parse_reference
    from auberge.monitor.container_image import find

    if options.isolation:
        if options.isolation == MACHINE:
            check_machine(options)
        return Choice(options, "")
    ours = host_architecture()
    name, arch = parse_reference(options.image, ours)
    if arch == ours:
        find(options.image)
        return Choice(options._replace(isolation=CONTAINER), "")
    check_machine(options)
    why = f"{name}:{arch}: another architecture than this host's {ours}; it runs in a machine"
    return Choice(options._replace(isolation=MACHINE), why)


def make(options: Options, folder: str) -> Guest:
    """The guest of checked options whose isolation is chosen, that keeps its files in `folder`.
    Raises Refusal if its image cannot be used."""
    if options.isolation == CONTAINER:
        from auberge.monitor.container_guest import ContainerGuest

        return ContainerGuest(options, folder)
    from auberge.monitor.machine_guest import MachineGuest

    return MachineGuest(options, folder)
