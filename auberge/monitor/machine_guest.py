"""A guest in a machine: its image as a disk, a kernel of its own, and the agent that runs programs.

The machine belongs to the process that started it, and nothing of it outlives that process: what it
has on the host are descriptors and memory.
"""

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from auberge.container.processes import SIGKILL
from auberge.engine.choose import choose
from auberge.image import build, cell, store
from auberge.image.cell_agent import FIRST, INSIDE, JOIN, TERMINAL, Program
from auberge.image.oci.identity import Identity
from auberge.machine.disk import Disk, open_disk
from auberge.machine.machine import Configuration, Machine, Outside
from auberge.machine.net.choose import Network, make_network
from auberge.machine.outcome import Paused, PoweredOff
from auberge.machine.share.shares import Shares
from auberge.machine.share.volume import parse_volumes
from auberge.machine.virt import MOST_DISKS, MOST_HARTS
from auberge.machine.virtio.block import Block
from auberge.machine.virtio.block import Counts as BlockCounts
from auberge.machine.virtio.device import VirtioDevice
from auberge.machine.virtio.net import Counts, Net
from auberge.monitor import machine_root, machine_tasks
from auberge.monitor.guest import Task, Usage
from auberge.monitor.machine_jobs import Job, Jobs
from auberge.monitor.machine_streams import Streams
from auberge.monitor.options import MACHINE, PERIOD, Options, cpu_quota
from auberge.refusal import Refusal

MEMORY = 512 << 20
LEAST_MEMORY = 96 << 20
"""Bytes; with less the kernel has no room for its own files."""

MAC = b"\x52\x54\x00\x12\x34\x56"
STARTS_IN = 300.0
"""Seconds; a host that is very busy may take a while for the second that it is."""
ANSWERS_IN = 30.0
SHOWN = 2000
"""Bytes of the console that are kept, to be looked at when a machine ends by itself."""

QUIET = "quiet loglevel=1 panic=-1"


class MachineGuest:
    """See guest.py."""

    def __init__(self, options: Options, folder: str) -> None:
        self._options = options
        self._known: machine_root.Root | None = None
        self._life: Life | None = None
        self._first: Job | None = None

    @property
    def isolation(self) -> str:
        """Which walls."""
        return MACHINE

    @property
    def _root(self) -> machine_root.Root:
        if self._known is None:
            self._known = machine_root.find(self._options)
        return self._known

    @property
    def image(self) -> str:
        """NAME:ARCH."""
        return self._root.reference

    @property
    def command(self) -> tuple[str, ...]:
        """What runs in it."""
        return self._root.defaults.args

    @property
    def stop_signal(self) -> str:
        """What ends it politely."""
        return self._options.stop_signal or self._root.defaults.stop_signal

    @property
    def pid(self) -> int:
        """The process that the machine is in."""
        return os.getpid() if self._first is not None else 0

    @property
    def ports(self) -> tuple[str, ...]:
        """What is forwarded."""
        life = self._life
        return self._options.ports if life is None else life.ports()

    # -- its start ------------------------------------------------------------------------------

    def start(self, streams: Sequence[int]) -> int | None:
        """Start it; the answer is the other end of its terminal, if it has one."""
        self.remove()
        life = self._life = Life(self._options, self._root)
        try:
            life.begin()
            life.set_up(self._options, self._root)
            program = self._program(self._options.terminal, FIRST | INSIDE)
            self._first, terminal = life.start(program, streams)
        except BaseException:
            self.remove()
            raise
        return terminal

    def _program(self, terminal: bool, flags: int) -> Program:
        """What the options say is to be run."""
        known = self._root.defaults
        variables = {text.partition("=")[0]: text for text in known.env}
        variables.setdefault("HOSTNAME", f"HOSTNAME={host_name(self._options)}")
        if terminal:
            variables.setdefault("TERM", "TERM=xterm")
            flags |= TERMINAL
        return program(
            known.args, variables, known.cwd, known.user, capabilities(self._options), flags
        )

    # -- its life -------------------------------------------------------------------------------

    def _running(self) -> "Life":
        if self._life is None or self._first is None or self._first.status is not None:
            name = self._options.name or self._options.id[:12]
            raise Refusal(f"{name}: it does not run; see `auberge ps --all`")
        return self._life

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; None if it still runs."""
        if self._first is None or self._life is None:
            self._running()
        assert self._first is not None and self._life is not None
        status = self._first.wait(timeout)
        if status is not None:
            self._life.end(bool(self._options.volumes))
        return status

    @property
    def oom_killed(self) -> bool:
        """Whether something in it was killed for lack of memory."""
        return self._life is not None and self._life.oom_killed

    def signal(self, number: int, everyone: bool = False) -> None:
        """Send a signal to its first process, or to all."""
        life = self._running()
        assert self._first is not None
        if number == SIGKILL:
            life.kill()
            return
        if everyone:
            life.ask(["kill", f"-{number}", "-1"], JOIN)
        self._first.signal(number)

    def pause(self) -> None:
        """Stop the machine."""
        self._running().pause()

    def resume(self) -> None:
        """Have it go on."""
        self._running().resume()

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self._life is not None and self._life.paused

    def processes(self) -> list[Task]:
        """What runs in it."""
        return machine_tasks.tasks(self._running().ask(["sh", "/tasks"]))

    def stats(self) -> Usage:
        """What it uses now."""
        found = machine_tasks.usage(self._running().ask(["sh", "/usage"]))
        limit = self._options.memory or MEMORY
        return found._replace(memory_limit=limit, pids_limit=self._options.pids or None)

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""
        if self._first is not None:
            self._first.resize(rows, columns)

    def execute(
        self,
        command: Sequence[str],
        streams: Sequence[int],
        env: Sequence[str] = (),
        cwd: str = "",
        user: str = "",
        terminal: bool = False,
    ) -> "Inside":
        """Run one more program in it."""
        life = self._running()
        if life.paused:
            raise Refusal(f"{self.image}: it is paused; resume it first")
        if not command:
            raise Refusal(f"{self.image}: exec needs a command to run; give one")
        first = self._program(terminal, JOIN | INSIDE)
        variables = {os.fsdecode(each).partition("=")[0]: os.fsdecode(each) for each in first.env}
        variables |= {text.partition("=")[0]: text for text in env}
        who = Identity(first.uid, first.gid, tuple(first.groups), "")
        if user:
            who = life.identify(user, self._root)
            variables["HOME"] = f"HOME={who.home}"
        place = cwd or os.fsdecode(first.cwd)
        wanted = program(command, variables, place, who, first.capabilities, first.flags)
        job, screen = life.start(wanted, streams)
        return Inside(job, screen)

    # -- its end --------------------------------------------------------------------------------

    def commit(self, name: str, comment: str = "") -> str:
        """A machine's changes are in its memory and on a disk that nobody else can read."""
        raise Refusal(
            f"{self.image}: what changes in a machine cannot be saved; use --isolation container"
        )

    def remove(self) -> None:
        """End it if it runs; what it had goes with it."""
        life, self._life = self._life, None
        if life is not None:
            life.close()


class Inside:
    """A Command (guest.py) in a machine."""

    def __init__(self, job: Job, terminal: int | None) -> None:
        self._job = job
        self.pid = job.pid
        self.terminal = terminal

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; None if it still runs."""
        return self._job.wait(timeout)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._job.signal(number)

    def resize(self, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""
        self._job.resize(rows, columns)


class Life:
    """A machine from its start to its end, and the thread that runs it."""

    def __init__(self, options: Options, root: machine_root.Root) -> None:
        self._options = options
        self._root = root
        self._streams = Streams()
        self._console = b""
        self._change = threading.Condition()
        self._wants_pause = self._is_paused = self._wants_end = self._is_over = False
        self._ended_how = ""
        self.oom_killed = False
        self._thread: threading.Thread | None = None
        self._network: Network | None = None
        self._shares: Shares | None = None
        self._closed = False
        self._disk: Disk | None = None
        self.counts = Counts()
        try:
            self._make()
        except BaseException:
            self._release()
            raise

    def _make(self) -> None:
        options = self._options
        image = _cell()
        self._network = make_network(_network(options), options.ports, os.urandom)
        tags = len(options.volumes) + 2 + (self._network is not None)
        if tags > MOST_DISKS:
            most = MOST_DISKS - 2 - (self._network is not None)
            raise Refusal(f"-v: a machine has room for {most} volumes; share a folder above them")
        if options.volumes:
            _allow_descriptors()
            self._shares = Shares(options.volumes)
        self._disk = open_disk(self._root.disk, "temporary", "raw")
        block = Block(self._disk, "root", BlockCounts(), time.perf_counter_ns, lambda error: None)
        devices: list[VirtioDevice] = [block]
        drivers = ["virtio_blk", "crc32c_generic", "ext4"]
        if self._network is not None:
            devices.append(Net(MAC, self._network, self.counts, time.perf_counter_ns))
            drivers.append("virtio_net")
        if self._shares is not None:
            devices += self._shares.devices()
            drivers += ["9pnet_virtio", "9p"]
        devices.append(self._streams.ports)
        memory = options.memory or MEMORY
        if memory < LEAST_MEMORY:
            raise Refusal(f"--memory: a machine takes {LEAST_MEMORY >> 20}M at least; give it more")
        configuration = Configuration(
            image.kernel,
            image.initrd,
            f"{QUIET} auberge.drivers={','.join(drivers)}",
            memory >> 12 << 12,
            harts(options),
        )
        self._machine = Machine(
            configuration,
            choose("auto"),
            Outside(self._print, os.urandom, time.time_ns),
            lambda: devices,
            services=[self._streams, *([] if self._network is None else [self._network])],
        )
        self.jobs = Jobs(self._streams, self._machine.lock)

    def _print(self, data: bytes) -> None:
        self._console = (self._console + data)[-SHOWN:]

    def ports(self) -> tuple[str, ...]:
        """The forwards, with the ports that were chosen."""
        if self._network is None or not self._options.ports:
            return ()
        return tuple(map(str, self._network.ports))

    # -- the thread -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Let the machine run, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="machine", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._wants_end:
                outcome = self._machine.run(through_resets=False)
                if not isinstance(outcome, Paused):
                    ours = isinstance(outcome, PoweredOff)
                    self._ended_how = "" if ours else str(outcome)
                    break
                self._stand_still()
        except Exception as error:  # the host's; whoever waits hears of it
            self._ended_how = f"{error}"
        finally:
            with self._change:
                self._is_over = True
                self._change.notify_all()
            self.jobs.end()
            self._streams.close()

    def _stand_still(self) -> None:
        with self._change:
            while self._wants_pause and not self._wants_end:
                self._is_paused = True
                self._change.notify_all()
                self._change.wait()
            self._is_paused = False
            self._change.notify_all()

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self._is_paused

    def pause(self) -> None:
        """Stand still."""
        with self._change:
            self._wants_pause = True
        self._until(lambda: self._is_paused)

    def _until(self, condition: Callable[[], bool]) -> None:
        """Have the run come back until the condition holds: it may be about to begin."""
        while True:
            self._machine.pause()
            with self._change:
                if self._change.wait_for(lambda: condition() or self._is_over, 0.05):
                    return

    def resume(self) -> None:
        """Go on."""
        with self._change:
            self._wants_pause = False
            self._change.notify_all()
            self._change.wait_for(lambda: not self._is_paused or self._is_over)

    def kill(self) -> None:
        """End at once, as when its power fails."""
        with self._change:
            self._wants_end = True
            self._change.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._until(lambda: self._is_over)

    def end(self, has_folders: bool) -> None:
        """The first program has ended: write what is to be written, and switch off."""
        if self._is_over:
            return
        with suppress(Refusal):
            if has_folders:
                self.ask(["sync"])
            said = machine_tasks.numbers(self.ask(["sh", "/usage"]))
            self.oom_killed = said.get("oom", 0) > 0
        self.kill()

    def close(self) -> None:
        """End, and give back all of the host."""
        self.kill()
        if self._thread is not None:
            self._thread.join()
        else:
            self._streams.close()
        self._machine.close()
        self._release()

    def _release(self) -> None:
        if self._closed:
            return
        self._closed = True
        for each in (self._disk, self._network, self._shares):
            if each is not None:
                each.close()

    # -- programs -------------------------------------------------------------------------------

    def set_up(self, options: Options, root: machine_root.Root) -> None:
        """Make the guest's root file system, its network and limits."""
        variables = {
            "PATH": "/bin",
            "NAME": host_name(options),
            "READ_ONLY": "1" if options.read_only else "",
            "FOLDERS": "\n".join(os.fsdecode(v.tag) for v in parse_volumes(options.volumes)),
            "DIRECTORY": root.defaults.cwd,
            "PIDS": str(options.pids or "max"),
            "CPU": _quota(options),
        }
        if self._network is not None:
            variables |= {"ADDRESS": "10.0.2.15/24", "ROUTER": "10.0.2.2", "RESOLVERS": "10.0.2.3"}
        said = bytearray()
        env = [os.fsencode(f"{key}={value}") for key, value in variables.items()]
        setup = Program([b"/bin/sh"], [b"sh", b"/setup"], env)
        status = self._run_to_end(setup, said, STARTS_IN)
        if status:
            last = said.decode(errors="replace").strip().split("\n")[-1][-200:]
            raise Refusal(f"{root.reference}: the machine cannot be set up: {last or status}")

    def _run_to_end(self, wanted: Program, said: bytearray, timeout: float) -> int:
        def hear(data: bytes) -> bool:
            said.extend(data[: max(0, machine_tasks.LONGEST - len(said))])
            return True

        try:
            status = self.jobs.run(wanted, (), hear, timeout).wait(timeout)
        except Refusal as refusal:
            raise self._why(refusal) from None
        if status is None or self._is_over:
            raise self._why(Refusal(f"{self._root.reference}: the machine does not answer"))
        return status

    def _why(self, refusal: Refusal) -> Refusal:
        """What the machine itself said before it ended, if it did."""
        if not self._is_over or self._wants_end:
            return refusal
        last = self._console.decode(errors="replace").strip().split("\n")[-1][-200:]
        why = self._ended_how or last or "it switched itself off"
        return Refusal(f"{self._root.reference}: the machine ended: {why}; see `auberge doctor`")

    def ask(self, command: Sequence[str], flags: int = 0) -> str:
        """What a command of the setup's busybox prints."""
        if self.paused:
            raise Refusal(f"{self._root.reference}: it is paused; resume it first")
        said = bytearray()
        args = [os.fsencode(word) for word in command]
        wanted = Program([b"/bin/" + args[0]], args, [b"PATH=/bin"], flags=flags)
        self._run_to_end(wanted, said, ANSWERS_IN)
        return said.decode(errors="replace")

    def start(self, wanted: Program, streams: Sequence[int]) -> tuple[Job, int | None]:
        """Start a program; and the other end of its terminal, if it is on one."""
        if not wanted.flags & TERMINAL:
            return self.jobs.run(wanted, streams), None
        theirs, ours = socket.socketpair()
        with ours:
            try:
                return self.jobs.run(wanted, (ours.fileno(),)), theirs.detach()
            except BaseException:
                theirs.close()
                raise

    def identify(self, user: str, root: machine_root.Root) -> Identity:
        """A user of the guest's own files; raises Refusal."""
        passwd = self.ask(["cat", "/newroot/etc/passwd"])
        group = self.ask(["cat", "/newroot/etc/group"])
        return machine_tasks.identify(user, passwd, group, root.reference)


def program(
    command: Sequence[str],
    variables: dict[str, str],
    cwd: str,
    who: Identity,
    allowed: int,
    flags: int,
) -> Program:
    """A program as the agent is told; a name without a slash is looked for in PATH (execvp(3))."""
    name = command[0]
    folders = variables.get("PATH", "PATH=").partition("=")[2].split(":")
    searched = name and "/" not in name
    paths = [os.path.join(folder or ".", name) for folder in folders] if searched else [name]
    return Program(
        [os.fsencode(path) for path in paths],
        [os.fsencode(word) for word in command],
        [os.fsencode(text) for text in variables.values()],
        os.fsencode(cwd),
        who.uid,
        who.gid,
        who.groups,
        allowed,
        flags,
    )


def capabilities(options: Options) -> int:
    """A bit for each capability that programs of the guest may have (capabilities(7))."""
    from auberge.container.clauses import CAPABILITIES as EVERY
    from auberge.monitor.container_config import CAPABILITIES

    kept = set() if "ALL" in options.cap_drop else {*CAPABILITIES}
    kept |= {f"CAP_{name}" for name in EVERY} if "ALL" in options.cap_add else set()
    kept = (kept - {*options.cap_drop}) | ({*options.cap_add} - {"ALL"})
    return sum(1 << number for number, name in enumerate(EVERY) if f"CAP_{name}" in kept)


def host_name(options: Options) -> str:
    """What the guest calls itself."""
    return options.hostname or options.id[:12]


def harts(options: Options) -> int:
    """So many that the limit can be used."""
    return min(max(1, math.ceil(options.millicpus / 1000)), MOST_HARTS)


def _quota(options: Options) -> str:
    """cpu.max: nothing where whole harts are the limit."""
    if options.millicpus % 1000 == 0:
        return "max"
    return f"{cpu_quota(options.millicpus)} {PERIOD}"


def _network(options: Options) -> str:
    if options.net == "host":
        raise Refusal("--net: a machine has no part in the host's network; use --net user")
    return "none" if options.net == "none" else "user"


def _cell() -> store.Image:
    """The image that machines boot, built if it is not there as this version makes it."""
    try:
        found = store.find(cell.NAME, machine_root.ARCH)
        if found is not None and store.read_manifest(found)["recipe"] == cell.Cell().digest():
            return found
    except Refusal:
        pass  # damaged: it is made again
    return build(cell.NAME, machine_root.ARCH)


def _allow_descriptors() -> None:
    """Let this process have as many files open as it may: a guest's are ours too."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
