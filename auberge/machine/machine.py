"""A machine: harts, RAM, a board and a console; it runs until something ends that, and says it."""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from auberge.engine.choose import Engine, Kind
from auberge.engine.clock import NANOSECONDS, Clock, HostClock, InstructionClock
from auberge.engine.exits import Watch, Watchpoint
from auberge.machine import fdt
from auberge.machine.bell import Bell
from auberge.machine.boot import SLACK, Places, place
from auberge.machine.bus import Bus, Region
from auberge.machine.console import Console
from auberge.machine.device import Device, Line
from auberge.machine.hooks import Call, Hooks
from auberge.machine.kernel import Kernel, file_size, open_kernel, read_file
from auberge.machine.outcome import (
    Broke,
    Faulted,
    Outcome,
    Paused,
    PoweredOff,
    Printed,
    Reset,
    TimedOut,
)
from auberge.machine.pace import InstructionAlarm, Pace, Paces, Tohost
from auberge.machine.sbi import HANDOVER, Sbi
from auberge.machine.service import Service
from auberge.machine.statistics import Statistics
from auberge.machine.until import Expected, Literal
from auberge.machine.vcpu import STARTED, STOPPED, Measured, Vcpu
from auberge.machine.virt import RAM, ROM, Virt, Wiring
from auberge.machine.virtio.device import VirtioDevice
from auberge.machine.visits import Visits
from auberge.memory.ram import Ram
from auberge.refusal import Refusal

FLUSH_AFTER = 0.005
"""Seconds that something printed may wait for more, so that a line is one write."""

SEED_SIZE = 64
"""Bytes of rng-seed: 512 bits, twice what makes the kernel call its random numbers ready."""

ALONGSIDE = 1000
"""Instructions of other harts beside one step of a hart: who waits for another gets on."""

SWITCH_INTERVAL = 100e-6
"""Seconds after which one hart's thread yields Python to another's, whose guest waits meanwhile."""

_ENDS = PoweredOff | Faulted | Reset
"""What the machine itself does, not who watches it."""

EPOCH_NS = 1_700_000_000_000_000_000
"""What the real-time clock shows at first where instructions are the clock: always the same."""


class Configuration(NamedTuple):
    """What a machine is made of. Files are named; `memory` is in bytes.

    There is a kernel, a firmware, or both.
    """

    kernel: str | None
    initrd: str | None = None
    append: str = ""
    memory: int = 512 << 20
    cpus: int = 1
    icount: bool = False
    measured: bool = False
    firmware: str | None = None


class Outside(NamedTuple):
    """What a machine may use of the world: a place for output, entropy, the time of day in ns."""

    sink: Callable[[bytes], None]
    entropy: Callable[[int], bytes]
    wall_ns: Callable[[], int]


class Machine:
    """A board with a kernel in its RAM.

    `run` belongs to one thread at a time; `pause`, `console.feed` and `resize` are for any. Each
    hart runs on a host thread of its own while `run` lasts, and `run` itself only waits and keeps
    house, so that Python's signal handlers, which belong to the main thread, run when signals come.
    Locks are taken in one order (docs/design.md, "Harts").
    """

    def __init__(
        self,
        configuration: Configuration,
        engines: Kind,
        outside: Outside,
        disks: Callable[[], Sequence[VirtioDevice]] = lambda: (),
        board: type[Virt] = Virt,
        services: Sequence[Service] = (),
        devices: Mapping[int, Callable[[Line], Device]] | None = None,
    ) -> None:
        self.configuration = configuration
        self._engines = engines
        self._outside = outside
        self._disks = disks
        self._make_board = board
        self._services = services
        self._devices = devices or {}
        self._bell = Bell()
        self.lock = threading.Lock()  # of devices and hart states: see `_build`
        self._ending = threading.Lock()
        self._running = threading.Lock()
        self._outcome: Outcome | Reset | None = None
        self._next: Outcome | Reset | None = None  # after that: see `end`
        self._off: PoweredOff | Faulted | None = None
        self._going = False  # whether a pause has something to pause
        self._threads: list[tuple[threading.Thread, Callable[[], None]]] = []  # and what ends each
        self._halts = 0
        self._failure: BaseException | None = None
        self._window: tuple[int, int] | None = None
        self._accesses: dict[str, int] = {}
        self._past = Statistics()  # of boots before this one
        self._closed = False
        self._debugged: tuple[Collection[int], Sequence[Watch]] = (), ()
        self._hooks = Hooks()
        self._visits = Visits(self._stop_harts)
        self.stopping = False
        self.console = Console(outside.sink, self._bell.ring)
        self.ram = _make_ram(configuration.memory)
        self._build()

    # -- construction, and again at each reset --------------------------------------------------

    def _build(self) -> None:
        configuration = self.configuration
        ram = self.ram
        # Files first: whatever is wrong with them is said before anything else is made.
        programs, rom = self._open_programs()
        initrd_size = 0
        if configuration.initrd is not None:
            initrd_size = file_size(configuration.initrd)
            if not initrd_size:
                raise Refusal(f"{configuration.initrd}: empty; give an initramfs")
        self._clock: Clock = InstructionClock() if configuration.icount else HostClock()
        self._paused_at: int | None = 0  # guest time, while it stands still as nothing runs
        self._make_harts(programs[0])
        self._hooks.forget_harts()
        if any(self._debugged) or self._hooks.addresses:
            self._stop_at_addresses()
        wiring = Wiring(
            self.console.put,
            self._bell.ring,
            self._bell.ring,
            self._now_ns,
            self._outside.entropy,
            lambda code: self.end(PoweredOff(code)),
            lambda: self.end(Reset()),
        )
        self.board = self._make_board(self.vcpus, ram, self._clock, wiring, self._disks())
        self.board.add(self._devices)
        regions = [*self.board.regions(), *rom]
        if configuration.measured:
            regions = [region.counted(self._accesses) for region in regions]
        self.bus = Bus(regions)
        self._sbi = Sbi(self.vcpus, ram, self.lock, self.console.put, self.board.typed, self.end)
        self._set_paces(programs[0])
        self._load(programs, initrd_size)

    def _open_programs(self) -> tuple[list[Kernel], list[Region]]:
        """What is in RAM at first: where harts begin, then what that starts; and a ROM about it."""
        firmware, kernel = self.configuration.firmware, self.configuration.kernel
        base, size = self.ram.base, self.ram.size
        if firmware is not None:
            from auberge.machine.firmware import boot_rom, open_firmware  # for those who have one

            programs = open_firmware(firmware, kernel, base, size)
            return programs, [boot_rom(ROM, programs)]
        if kernel is None:
            raise Refusal("boot: neither a kernel nor a firmware; give one of them, or both")
        return [open_kernel(kernel, base, size)], []

    def _build_again(self) -> None:
        """Reset. A machine that cannot be built again is off: half of it must not run."""
        self._past = self.statistics()
        try:
            self._build()
        except BaseException as failure:
            self._off = Faulted(f"reset: {failure}")
            raise

    def _make_harts(self, kernel: Kernel) -> None:
        configuration = self.configuration
        hosted = not kernel.machine_mode
        self.vcpus: list[Vcpu] = []
        for hartid in range(configuration.cpus):
            hart = self._engines.hart(hartid)
            if hosted:
                for cell, value in HANDOVER.items():
                    hart[cell] = value
            engine: Engine = self._engines.engine(hart, self.ram, self._clock)
            if configuration.measured:
                engine = Measured(engine, time.perf_counter_ns)
            # The kernel starts the others by SBI; in machine mode all come out of reset at once.
            status = STOPPED if hosted and hartid else STARTED
            self.vcpus.append(Vcpu(hartid, engine, self._clock, status))
        if len(self.vcpus) > len(os.sched_getaffinity(0)):
            # Not os.sched_yield, which keeps Python to itself meanwhile
            give_way = ctypes.CDLL(None).sched_yield
            for vcpu in self.vcpus:
                vcpu.give_way = give_way

    def _set_paces(self, kernel: Kernel) -> None:
        paces: list[Pace] = []
        if isinstance(self._clock, InstructionClock):
            rtc = self.board.rtc
            paces.append(InstructionAlarm(self._clock, self._now_ns, rtc, self.lock))
        if kernel.tohost is not None:
            paces.append(Tohost(self.ram, kernel.tohost, self.end))
        if paces:
            for vcpu in self.vcpus:
                vcpu.pace = paces[0] if len(paces) == 1 else Paces(paces)

    def _load(self, programs: Sequence[Kernel], initrd_size: int) -> None:
        configuration, ram = self.configuration, self.ram
        seed = self._outside.entropy(SEED_SIZE)
        # Its size does not depend on where things are: addresses are of fixed size.
        size = len(self._tree(Places(0, 0, initrd_size), seed)) + SLACK
        places = place(programs[-1], initrd_size, size, ram.base, ram.size)
        self.device_tree = self._tree(places, seed)
        for program in programs:
            program.load(ram)
        if configuration.initrd:
            read_file(configuration.initrd, ram, places.initrd, initrd_size)
        ram.write(places.device_tree, fdt.with_room(self.device_tree, SLACK))
        for vcpu in self.vcpus:
            vcpu.hart["pc"] = programs[0].entry
            # boot.rst, "Register state": hartid and the device tree's address
            vcpu.hart.x[10], vcpu.hart.x[11] = vcpu.hartid, places.device_tree
            if configuration.firmware is not None:
                vcpu.hart.x[12] = ROM  # fw_dynamic.md: "passed via a2 register"

    def _tree(self, places: Places, seed: bytes) -> bytes:
        initrd = None
        if places.initrd_size:
            initrd = places.initrd, places.initrd + places.initrd_size
        isa = self._engines.isa_string
        return fdt.encode(self.board.device_tree(isa, self.configuration.append, initrd, seed))

    def _now_ns(self) -> int:
        if isinstance(self._clock, InstructionClock):
            return EPOCH_NS + self._clock.ticks() * NANOSECONDS
        return self._outside.wall_ns()

    # -- running --------------------------------------------------------------------------------

    def run(
        self,
        until: bytes | Expected | None = None,
        timeout: float | None = None,
        position: int | None = None,
        through_resets: bool = True,
    ) -> Outcome:
        """Run until the guest ends, `until` is printed, `timeout` seconds pass, or `pause` says so.

        `until` is looked for from `position` of the output on, by default from its present end.
        A machine that is off stays off: its outcome is returned again. A reset boots it again, or
        ends the run too, if it does not go `through_resets`.
        """
        if not self._running.acquire(blocking=False):
            if self._off is not None:  # it is being closed
                return self._off
            raise RuntimeError("the machine is running already, in another thread")
        try:
            deadline = None if timeout is None else time.monotonic() + timeout
            if self._off is not None:
                return self._off
            self._going = True
            self._forget_outcome()
            if until is not None:
                self._watch(until, self.console.position if position is None else position)
            while True:
                self._visits.begin()
                with self._visits.awaited():
                    outcome = self._run_once(deadline)
                if isinstance(outcome, Reset):
                    self._build_again()
                    if not through_resets:
                        break
                elif outcome is not None:
                    break
                self._visits.end()
            if isinstance(outcome, PoweredOff | Faulted):
                self._off = outcome
            return outcome
        finally:
            self._going = False
            self._visits.end()
            self.console.unwatch()
            self._running.release()

    def pause(self) -> None:
        """Have `run` return soon with `Paused`, if it is running."""
        with self._ending:
            if not self._going:
                return
            self._note(Paused())
        self._stop_harts()

    def end(self, outcome: Outcome | Reset) -> None:
        """Have the run end with `outcome`, if nothing has ended it yet; from any thread.

        Else, of the machine's end and someone's wish to leave, one does not make the other undone:
        a guest does not switch off twice, and a reset does not end a run.
        """
        with self._ending:
            self._note(outcome)
        self._stop_harts()

    def _forget_outcome(self) -> None:
        """Begin without an outcome; what the machine itself did in a run that failed comes next."""
        with self._ending:
            if isinstance(self._outcome, _ENDS):
                self._next = self._outcome
            self._outcome = None

    def _note(self, outcome: Outcome | Reset) -> None:
        if self._outcome is None:
            self._outcome = outcome
        elif isinstance(self._outcome, _ENDS) != isinstance(outcome, _ENDS) and not isinstance(
            self._outcome, PoweredOff | Faulted
        ):
            self._next = self._next or outcome

    # -- for a debugger, while nothing runs ----------------------------------------------------

    def debug(self, breakpoints: Collection[int], watches: Sequence[Watch]) -> None:
        """Have `run` return `Broke` at these addresses and accesses, from now on and after resets.

        This replaces what was said before. At most `WATCHES` ranges can be watched.
        """
        self._debugged = breakpoints, watches
        self._stop_at_addresses()

    def _stop_at_addresses(self) -> None:
        """Have all engines come back where a debugger or a hook wants it; no hart may execute."""
        self._hooks.stale = False
        for vcpu in self.vcpus:
            self._stop_hart_at_addresses(vcpu)

    def _stop_hart_at_addresses(self, vcpu: Vcpu) -> None:
        breakpoints, watches = self._debugged
        vcpu.engine.debug({*breakpoints, *self._hooks.addresses}, watches)

    @contextmanager
    def time_going_on(self) -> Iterator[None]:
        """A context in which guest time, which otherwise stands still, goes on."""
        with self._visits.visit(), self._time_going_on():
            yield

    @contextmanager
    def _time_going_on(self) -> Iterator[None]:
        if not self._running.acquire(blocking=False):
            raise RuntimeError("the machine is running already, in another thread")
        try:
            self._halt()
            self._let_time_go_on()
            yield
        finally:
            self._paused_at = self._clock.ticks()
            self._running.release()

    def _let_time_go_on(self) -> None:
        if self._paused_at is not None:  # else a run was interrupted as it ended
            self._clock.base += self._paused_at - self._clock.ticks()
            self._paused_at = None

    def step(self, hartid: int, others: Collection[int] = ()) -> Outcome | None:
        """Have one hart execute one instruction in this thread; say so if that ends the machine.

        Breakpoints do not stop it. The `others` go on for a little, or up to theirs.
        """
        with self.time_going_on():
            if self._off is not None:
                return self._off
            self._forget_outcome()
            self.stopping = False
            vcpu = self.vcpus[hartid]
            if vcpu.status == STARTED:
                self._hooks.call(vcpu)
                vcpu.engine.debug((), ())
                vcpu.execute_one(self)
                self._stop_hart_at_addresses(vcpu)
            for each in self.vcpus:
                if each.hartid in others and each.status == STARTED and not self.stopping:
                    each.execute(self, ALONGSIDE)
                    while each.hart["answered"] and not self.stopping:  # by a device: not left half
                        each.execute(self, 1)
            outcome, self._outcome = self._outcome, None
            self.console.flush()
            if isinstance(outcome, Reset):
                self._build_again()
            elif isinstance(outcome, PoweredOff | Faulted):
                self._off = outcome
            return self._off

    # -- hooks, and looking in ------------------------------------------------------------------

    def hook(self, address: int, call: Call) -> None:
        """Call `call` before each hart executes the instruction at a virtual address; any thread.

        What it raises ends the run. Within another hook it holds at once for that hart, and a
        moment later for the others.
        """
        self._change_hooks(partial(self._hooks.add, address, call))

    def unhook(self, address: int, call: Call) -> None:
        """No longer; it need not be there."""
        self._change_hooks(partial(self._hooks.remove, address, call))

    def _change_hooks(self, change: Callable[[], None]) -> None:
        vcpu = self._hooks.inside
        if vcpu is None:
            with self._visits.visit():
                change()
                self._hooks.stale = True  # the TLB stays as it is, for who looks
            return
        change()
        self._hooks.stale = True
        self._stop_hart_at_addresses(vcpu)
        self._stop_harts()

    @contextmanager
    def visit(self) -> Iterator[None]:
        """A context in which no hart executes; a machine that runs goes on afterwards.

        For any thread but that of a hook. No access to a device is left half done.
        """
        self.check_outside()
        with self._visits.visit():
            self.check_open()
            for vcpu in self.vcpus:
                while vcpu.hart["answered"]:
                    vcpu.execute(self, 1)
            yield

    def check_outside(self) -> None:
        """Raise RuntimeError in a hook, where who waits for all harts would wait for ever."""
        if self._hooks.inside is not None:
            raise RuntimeError("not in a hook, whose hart it would wait for; call pause() there")

    def check_open(self) -> None:
        """Raise RuntimeError if there is no memory any more."""
        if self._closed:
            raise RuntimeError("the machine is closed")

    @property
    def visited(self) -> bool:
        """Whether the calling thread is inside `visit`."""
        return self._visits.here

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._running.locked()

    @property
    def hooked(self) -> Vcpu | None:
        """The hart for which the calling thread is inside a hook."""
        return self._hooks.inside

    @property
    def off(self) -> Outcome | None:
        """How the machine went off, if it did."""
        return self._off

    @property
    def ended(self) -> Outcome | Reset | None:
        """What has ended the present run, if anything has."""
        return self._outcome

    def resize(self, columns: int, rows: int) -> None:
        """The window in which the guest's console is shown has this size now.

        The guest is told a little later: whoever holds the lock may wait for our caller, as one
        that prints more than is read does.
        """
        self._window = columns, rows
        self._bell.ring()

    def close(self) -> None:
        """Switch the machine off, if it is not, and give its memory back; what it counted stays."""
        self._off = self._off or PoweredOff(0)  # no other run begins
        self.pause()
        with self._running, self._visits.visit():
            self._halt()
            if not self._closed:
                self._closed = True
                self.ram.close()

    def _watch(self, until: bytes | Expected, position: int) -> None:
        def found(text: bytes) -> None:
            self.end(Printed(text.decode(errors="replace")))

        with self.lock:
            expected = Literal(until) if isinstance(until, bytes) else until
            self.console.watch(expected, position, found)

    def _run_once(self, deadline: float | None) -> Outcome | None:
        """A stretch of one boot: until there is an outcome, or, None, someone wants to look."""
        self._halt()
        if self._hooks.stale:
            self._stop_at_addresses()
        several = len(self.vcpus) + len(self._services) > 1
        if several and sys.getswitchinterval() > SWITCH_INTERVAL:
            sys.setswitchinterval(SWITCH_INTERVAL)
        with self._ending:
            if self._outcome is None:
                self._outcome, self._next = self._next, None
        self.stopping = self._outcome is not None
        self._let_time_go_on()
        try:
            with self.lock:
                self._fit()
            for vcpu in self.vcpus:
                self._start(f"hart {vcpu.hartid}", partial(vcpu.run, self), vcpu.stop_soon)
            for service in self._services:
                self._start("service", partial(service.serve, self.lock), service.stop)
            self._keep_house(deadline)
        except BaseException as failure:
            self._fail(failure)
        finally:
            self._halt()
            self._paused_at = self._clock.ticks()
        try:
            self.console.flush()
        except BaseException as failure:
            self._fail(failure)
        with self._ending:
            failed, self._failure = self._failure, None
            if failed is not None:
                raise failed
            outcome, self._outcome = self._outcome, None
        return outcome

    def _start(self, name: str, work: Callable[[], None], stop: Callable[[], None]) -> None:
        """Do `work` in a thread of the present run; `stop`, from any thread, has it end soon."""
        halts = self._halts

        def guarded() -> None:
            try:
                if halts == self._halts:  # see `_halt`
                    with self._visits.awaited():
                        work()
            except BaseException as failure:  # to be raised by `run`, in the thread that called it
                self._fail(failure)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append((thread, stop))
        try:
            thread.start()
        except RuntimeError:  # "can't start new thread"
            raise Refusal(
                f"{name}: the host has no thread to give (ulimit -u, pids.max of the cgroup);"
                " end something, or give the guest fewer --cpus"
            ) from None

    def _fail(self, failure: BaseException) -> None:
        """Have `run` raise `failure`, of whichever thread; the first, if there are several."""
        with self._ending:
            if self._failure is None:
                self._failure = failure
            elif self._failure is not failure:
                name = threading.current_thread().name
                self._failure.add_note(f"and then, in {name}: {failure!r}")
        self.end(Paused())

    def _halt(self) -> None:
        """Return when no thread of a run is left, be it one that was interrupted as it ended.

        A thread that is not alive here has ended, or never began: or `start` was interrupted
        (KeyboardInterrupt) and it is yet to begin, and will find that there was a halt.
        """
        self._halts += 1
        self.stopping = True
        for thread, stop in self._threads:
            if thread.is_alive():
                stop()
        for thread, _ in self._threads:
            if thread.is_alive():
                thread.join()
        self._threads = []

    def _stop_harts(self) -> None:
        self.stopping = True
        for vcpu in self.vcpus:
            vcpu.stop_soon()
        self._bell.ring()

    def _keep_house(self, deadline: float | None) -> None:
        """What is done beside the harts: typed input, the window's size, the alarm, old output."""
        rtc, console = self.board.rtc, self.console
        by_instructions = isinstance(self._clock, InstructionClock)
        printed_at: float | None = None
        while self._outcome is None and not (self._visits.wanted or self._hooks.stale):
            now = time.monotonic()
            waits = [] if deadline is None else [deadline - now]
            if deadline is not None and now >= deadline:
                self.end(TimedOut())
            with self.lock:
                self._fit()
                console.deliver(self.board.receive)
                if not by_instructions:  # else its hart does this, at the very instruction
                    rtc.tick()
                    alarm = rtc.deadline()
                    if alarm is not None:
                        # At least a while: it may be due and silent (`InstructionAlarm`).
                        waits.append(max((alarm - self._now_ns()) / 1e9, FLUSH_AFTER))
            if not console.waiting:
                printed_at = None
            elif printed_at is None:
                printed_at = now
                waits.append(FLUSH_AFTER)
            elif now - printed_at >= FLUSH_AFTER:
                console.flush()
                printed_at = None
            else:
                waits.append(printed_at + FLUSH_AFTER - now)
            self._bell.wait(min(waits) if waits else None)

    def _fit(self) -> None:
        """Tell the guest's console the size of the window, under the lock."""
        if self._window is not None:
            self.board.console.resize(*self._window)

    # -- what harts need (`Home`) ---------------------------------------------------------------

    def hypercall(self, vcpu: Vcpu) -> None:
        """A trap to machine mode."""
        self._sbi.call(vcpu)

    def broke(self, vcpu: Vcpu, watch: Watchpoint | None) -> None:
        """A hart is where a debugger wants it, or a hook is to be called."""
        pc = vcpu.hart["pc"]
        if watch is None:
            self._hooks.call(vcpu)
            if vcpu.hart["pc"] != pc:
                return
            if pc not in self._debugged[0]:
                vcpu.hart.pass_breakpoint()
                return
        self.end(Broke(vcpu.hartid, watch))

    def fault(self, message: str) -> None:
        """The guest cannot go on."""
        self.end(Faulted(message))

    # -- numbers --------------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """What was counted so far; times, exits and accesses only if the machine is measured."""
        total = self._past
        for vcpu in self.vcpus:
            total = total.plus(vcpu.engine.statistics())
            if isinstance(vcpu.engine, Measured):
                total = total.plus_exits(vcpu.engine)
        return total._replace(accesses=dict(self._accesses))


def _make_ram(size: int) -> Ram:
    try:
        return Ram(RAM, size)
    except OSError as error:
        raise Refusal(
            f"memory: the host has no {size >> 20} MiB to give ({os.strerror(error.errno or 0)});"
            " ask for less"
        ) from None
