"""The machine of a guest, from its start to its end, and the thread that runs it."""

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from auberge.engine.choose import choose
from auberge.image import build, cell, store
from auberge.image.cell_agent import TERMINAL, Program
from auberge.image.oci.identity import Identity
from auberge.machine.disk import Disk, open_disk
from auberge.machine.machine import Configuration, Machine, Outside
from auberge.machine.net.choose import Network, make_network
from auberge.machine.net.wall import GATEWAY, GUEST, GUEST_MAC, RESOLVER
from auberge.machine.outcome import Paused, PoweredOff
from auberge.machine.share.shares import Shares, allow_descriptors
from auberge.machine.share.volume import parse_volumes
from auberge.machine.virt import MOST_DISKS, MOST_HARTS
from auberge.machine.virtio.block import Block
from auberge.machine.virtio.block import Counts as BlockCounts
from auberge.machine.virtio.device import VirtioDevice
from auberge.machine.virtio.net import Counts, Net
from auberge.monitor import machine_root, machine_tasks
from auberge.monitor.machine_jobs import Job, Jobs
from auberge.monitor.machine_streams import Streams
from auberge.monitor.options import PERIOD, Options, cpu_quota
from auberge.refusal import Refusal

MEMORY = 512 << 20
LEAST_MEMORY = 96 << 20
"""Bytes; with less the kernel has no room for its own files."""

STARTS_IN = 300.0
"""Seconds; a host that is very busy may take a while for the second that it is."""
ANSWERS_IN = 30.0
"""Seconds in which a command of the setup's busybox ends."""
AGAIN = 0.05
"""Seconds after which a run that was told to come back, and had not begun, is told again."""
SHOWN = 2000
"""Bytes of the console that are kept, to be looked at when a machine ends by itself."""

QUIET = "quiet loglevel=1 panic=-1"


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
            allow_descriptors()
            self._shares = Shares(options.volumes)
        self._disk = open_disk(self._root.disk, "temporary", "raw")
        block = Block(self._disk, "root", BlockCounts(), time.perf_counter_ns, lambda error: None)
        devices: list[VirtioDevice] = [block]
        drivers = ["virtio_blk", "crc32c_generic", "ext4"]
        if self._network is not None:
            devices.append(Net(GUEST_MAC, self._network, self.counts, time.perf_counter_ns))
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
                if self._change.wait_for(lambda: condition() or self._is_over, AGAIN):
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

    def end(self) -> None:
        """The first program has ended: write what is to be written, and switch off."""
        if self._is_over:
            return
        with suppress(Refusal):
            if self._options.volumes:
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

    def set_up(self) -> None:
        """Make the guest's root file system, its network and limits."""
        options = self._options
        variables = {
            "PATH": "/bin",
            "NAME": host_name(options),
            "READ_ONLY": "1" if options.read_only else "",
            "FOLDERS": "\n".join(os.fsdecode(v.tag) for v in parse_volumes(options.volumes)),
            "DIRECTORY": self._root.defaults.cwd,
            "PIDS": str(options.pids or "max"),
            "CPU": _quota(options),
        }
        if self._network is not None:
            variables |= {
                "ADDRESS": f"{socket.inet_ntoa(GUEST)}/24",
                "ROUTER": socket.inet_ntoa(GATEWAY),
                "RESOLVERS": socket.inet_ntoa(RESOLVER),
            }
        said = bytearray()
        env = [os.fsencode(f"{key}={value}") for key, value in variables.items()]
        setup = Program([b"/bin/sh"], [b"sh", b"/setup"], env)
        status = self._run_to_end(setup, said, STARTS_IN)
        if status:
            why = _last_words(said) or status
            raise Refusal(f"{self._root.reference}: the machine cannot be set up: {why}")

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
        why = self._ended_how or _last_words(self._console) or "it switched itself off"
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

    def identify(self, user: str) -> Identity:
        """A user of the guest's own files; raises Refusal."""
        passwd = self.ask(["cat", "/newroot/etc/passwd"])
        group = self.ask(["cat", "/newroot/etc/group"])
        return machine_tasks.identify(user, passwd, group, self._root.reference)


def _last_words(said: bytes | bytearray) -> str:
    """The end of the last line that a guest has written, which may be anything."""
    return said.decode(errors="replace").strip().split("\n")[-1][-200:]


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
