"""`auberge.Container`: one command in an image of the store, run as often as a program likes."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from auberge.api.conversation import Conversation, Late, Said
from auberge.container.processes import SIGKILL
from auberge.monitor import programs
from auberge.monitor.guest import Command, Guest, Task, Usage, choose, make
from auberge.monitor.options import Options, bytes_of, check, millicpus_of
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from subprocess import CompletedProcess

Words = str | Sequence[str]
Variables = Mapping[str, str] | Sequence[str]
MAX_OUTPUT = 64 << 20
"""Bytes of each stream that `run` and `exec` hear, unless they are told otherwise."""


class Container:
    """A guest of this program's own, from an image. Leave it by `close`, or `with`.

    It is for any thread. What it changes in its files is there as long as it is, also for the
    next `run`; `commit` makes an image of it. Statuses are the command line's: 128+N if signal N
    has ended a program. Other processes of the user do not see it (`auberge ps`); if this
    process is killed, the next program that makes a container ends and removes it.
    """

    def __init__(
        self,
        image: str,
        command: Words = (),
        *,
        memory: str | int = 0,
        cpus: float = 0,
        pids: int = 0,
        net: str = "none",
        ports: Sequence[str] = (),
        volumes: Sequence[str] = (),
        env: Variables = (),
        cwd: str = "",
        user: str | int = "",
        hostname: str = "",
        read_only: bool = False,
        cap_add: Sequence[str] = (),
        cap_drop: Sequence[str] = (),
        entrypoint: Words | None = None,
        tmpfs: Sequence[str] = (),
        ulimits: Sequence[str] = (),
        add_host: Sequence[str] = (),
        dns: Sequence[str] = (),
        isolation: str = "",
    ) -> None:
        """Raises Refusal for what cannot be; nothing runs yet.

        `command` is instead of the image's own. `memory` is bytes, or as "256M"; `cpus` may be 0.5;
        0 is no limit. `net` is "none", "host", or "user": the world but not this host, through a
        bridge as root and through passt or slirp4netns otherwise. `ports` are "HOST:GUEST" or
        "ADDRESS:HOST:GUEST", perhaps with "/udp"; `volumes` "HOST:GUEST" or "HOST:GUEST:ro";
        `user` "USER[:GROUP]", names or numbers. `entrypoint` is instead of the image's and of its
        command; empty is none. `tmpfs` is "PATH" or "PATH:OPTIONS", as "/tmp:size=64m"; `ulimits`
        "NAME=SOFT:HARD", as "nofile=1024:2048"; `add_host` "NAME:ADDRESS"; `dns` addresses: these
        four are a container's alone. `isolation` is "container" or "machine"; by itself
        that is decided by the image's architecture.
        """
        options = Options(
            os.urandom(32).hex(),
            image,
            _words(command),
            isolation=isolation,
            env=_variables(env),
            cwd=cwd,
            user=str(user),
            volumes=tuple(map(_absolute, volumes)),
            memory=bytes_of(memory, "memory") if memory else 0,
            millicpus=millicpus_of(cpus, "cpus") if cpus else 0,
            pids=pids,
            net=net,
            ports=tuple(ports),
            hostname=hostname,
            read_only=read_only,
            cap_add=tuple(cap_add),
            cap_drop=tuple(cap_drop),
            remove=True,
            sparing=True,
            entrypoint=() if entrypoint is None else _words(entrypoint) or ("",),
            tmpfs=tuple(tmpfs),
            ulimits=tuple(ulimits),
            hosts=tuple(add_host),
            dns=tuple(dns),
        )
        options, _ = choose(check(options))
        self._process = os.getpid()
        self._folder = programs.folder(options.id)
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._closed = False
        try:
            self._guest = make(options, self._folder)
            self.command: tuple[str, ...] = self._guest.command
            """What runs in it: the image's entry point, and the command."""
            self.image: str = self._guest.image
            """NAME:ARCH."""
        except BaseException:
            os.rmdir(self._folder)
            raise
        self.id: str = options.id
        """64 hexadecimal digits."""
        self.isolation: str = options.isolation
        """container or machine."""

    # -- to its end in one call -----------------------------------------------------------------

    def run(
        self,
        input: str | bytes = b"",
        timeout: float | None = None,
        check: bool = False,
        max_output: int = MAX_OUTPUT,
    ) -> "CompletedProcess[str]":
        """Start it, give it `input` and wait for its end; what it wrote is text, in which bytes
        that are no UTF-8 are U+FFFD.

        Raises subprocess.TimeoutExpired after `timeout` seconds, and Refusal if it writes more than
        `max_output` bytes to a stream: it is killed then. With `check`, a status other than 0
        raises subprocess.CalledProcessError. NotStarted, which is a Refusal, has the status that a
        shell gives to a program that is not there (127), or is none (126).
        """
        with self._beginning() as guest:
            talk = Conversation()
            try:
                guest.start(talk.streams)
                talk.begun()
                heard = Heard(self.command, timeout, max_output)
                return _completed(heard, talk, input, guest, check)
            finally:
                talk.close()

    def exec(
        self,
        command: Words,
        input: str | bytes = b"",
        timeout: float | None = None,
        check: bool = False,
        env: Variables = (),
        cwd: str = "",
        user: str | int = "",
        max_output: int = MAX_OUTPUT,
    ) -> "CompletedProcess[str]":
        """Run one more program in it, which must run, to its end; as `run` otherwise."""
        words = _words(command)
        talk = Conversation()
        try:
            variables = _variables(env)
            more = self._there().execute(words, talk.streams, variables, cwd, str(user))
            talk.begun()
            return _completed(Heard(words, timeout, max_output), talk, input, more, check)
        finally:
            talk.close()

    # -- step by step ---------------------------------------------------------------------------

    def start(
        self, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None
    ) -> None:
        """Start it with these descriptors, which stay the caller's, as its streams; None is
        /dev/null for its input, and this program's own for what it writes."""
        with self._beginning() as guest:
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            try:
                given = (null if stdin is None else stdin, 1 if stdout is None else stdout)
                guest.start((*given, 2 if stderr is None else stderr))
            finally:
                os.close(null)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give its status; raises subprocess.TimeoutExpired."""
        status = self._there().wait(timeout)
        if status is None:
            from subprocess import TimeoutExpired

            assert timeout is not None
            raise TimeoutExpired(self.command, timeout)
        return status

    def kill(self, signal: int = SIGKILL) -> None:
        """Send its first process a signal; raises Refusal if it does not run."""
        self._there().signal(signal)

    def pause(self) -> None:
        """Stop everything in it until `resume`."""
        self._there().pause()

    def resume(self) -> None:
        """Have everything go on."""
        self._there().resume()

    @property
    def pid(self) -> int:
        """Of its first process on this host; 0 before its first start."""
        return self._there().pid

    @property
    def ports(self) -> tuple[str, ...]:
        """The forwarded ports, with those that were chosen for 0 once it has started."""
        return self._there().ports

    @property
    def oom_killed(self) -> bool:
        """Whether something in it was killed for lack of memory."""
        return self._there().oom_killed

    def stats(self) -> Usage:
        """What it uses now; None is what nobody counts. It must run. A number that it has no limit
        of is counted only where that costs nothing, which is not with cgroups of v1."""
        return self._there().stats()

    def processes(self) -> list[Task]:
        """What runs in it now."""
        return self._there().processes()

    def commit(self, name: str, comment: str = "") -> str:
        """Save what it has changed as one more layer of a new image; its NAME:ARCH."""
        return self._there().commit(name, comment)

    # -- its end --------------------------------------------------------------------------------

    def close(self) -> None:
        """End it if it runs, and remove all of it; can be said twice. A fork's copy does nothing:
        the container is its parent's."""
        with self._lock:
            if self._closed or os.getpid() != self._process:
                return
            self._guest.remove()
            os.rmdir(self._folder)
            self._closed = True

    def __enter__(self) -> "Container":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<auberge.Container {self.id[:12]} {self.image} {' '.join(self.command)}>"

    def _there(self) -> Guest:
        if self._closed:
            raise Refusal(f"container {self.id[:12]}: it is closed; make another one")
        return self._guest

    @contextmanager
    def _beginning(self) -> Iterator[Guest]:
        """A context to start it in, for one thread at a time."""
        if not self._starting.acquire(blocking=False):
            raise RuntimeError("this container runs in another thread; make one for each")
        try:
            guest = self._there()
            if guest.pid and guest.wait(0) is None:
                raise RuntimeError("this container runs already; wait for it, or make another")
            yield guest
        finally:
            self._starting.release()


class Heard(NamedTuple):
    """What is being listened to, and for how long."""

    command: tuple[str, ...]
    timeout: float | None
    most: int


def _completed(
    heard: Heard, talk: Conversation, input: str | bytes, program: Guest | Command, check: bool
) -> "CompletedProcess[str]":
    """Talk to a program until it has ended; however this ends, it does not run any more."""
    from subprocess import CompletedProcess, TimeoutExpired

    deadline = None if heard.timeout is None else time.monotonic() + heard.timeout
    said = Said(b"", b"")
    status = None
    try:
        said = talk.hold(input.encode() if isinstance(input, str) else input, heard.most, deadline)
        rest = None if deadline is None else max(0.0, deadline - time.monotonic())
        status = program.wait(rest)
        if status is None:  # it has closed its streams, and goes on
            raise Late(said)
    except Late as late:
        assert heard.timeout is not None
        raise TimeoutExpired(
            heard.command, heard.timeout, late.said.stdout, late.said.stderr
        ) from None
    finally:
        if status is None:
            with suppress(Refusal):  # it has just ended
                program.signal(SIGKILL)
            program.wait()
    done = CompletedProcess(
        heard.command, status, said.stdout.decode(errors="replace"),
        said.stderr.decode(errors="replace"),
    )  # fmt: skip
    if check:
        done.check_returncode()
    return done


def _words(command: Words) -> tuple[str, ...]:
    return (command,) if isinstance(command, str) else tuple(command)


def _variables(env: Variables) -> tuple[str, ...]:
    if isinstance(env, Mapping):
        return tuple(f"{name}={value}" for name, value in env.items())
    return tuple(env)


def _absolute(volume: str) -> str:
    """A volume whose folder of the host is there wherever this process goes."""
    return volume if volume.startswith("/") else os.path.join(os.getcwd(), volume)
