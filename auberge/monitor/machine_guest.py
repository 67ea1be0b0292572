"""A guest in a machine: its image as a disk, a kernel of its own, and the agent that runs programs.

The machine belongs to the process that started it, and nothing of it outlives that process: what it
has on the host are descriptors and memory.
"""

import os
from collections.abc import Sequence

from auberge.container.processes import SIGKILL
from auberge.image.cell_agent import FIRST, INSIDE, JOIN, TERMINAL, Program
from auberge.image.oci.identity import Identity
from auberge.monitor import machine_root, machine_tasks
from auberge.monitor.guest import Task, Usage
from auberge.monitor.machine_jobs import Job
from auberge.monitor.machine_life import MEMORY, Life, host_name
from auberge.monitor.options import MACHINE, Options
from auberge.refusal import Refusal


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
            life.set_up()
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

    def _running(self) -> Life:
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
            self._life.end()
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
            who = life.identify(user)
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
