"""`auberge.Machine`: a whole computer, to be booted, watched and typed to."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from auberge.api.disks import Disks
from auberge.api.hart import Hart, Memory
from auberge.api.standard_input import StandardInput
from auberge.engine.choose import choose
from auberge.machine import console as wire
from auberge.machine import machine as inner
from auberge.machine.device import Device, Line
from auberge.machine.net.choose import Network, make_network
from auberge.machine.net.forward import Forward
from auberge.machine.net.wall import GUEST_MAC
from auberge.machine.outcome import Broke, Ending, Printed, Reached, Reset, TimedOut
from auberge.machine.statistics import Statistics
from auberge.machine.until import Expected, Literal, Matching
from auberge.machine.vcpu import Vcpu
from auberge.machine.virt import LEAST_MEMORY, MOST_DISKS, MOST_HARTS, MOST_MEMORY
from auberge.machine.virtio.device import VirtioDevice
from auberge.machine.virtio.net import Counts, Net
from auberge.memory.ram import PAGE
from auberge.refusal import Refusal

if TYPE_CHECKING:
    import re

    from auberge.machine.debug.server import Server
    from auberge.machine.share.shares import Shares
    from auberge.monitor.control import Control

Path = str | os.PathLike[str]
Text: TypeAlias = "str | bytes | re.Pattern[str] | re.Pattern[bytes]"

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

LONGEST_APPEND = 1023
"""Bytes of command line that Linux reads on RISC-V (COMMAND_LINE_SIZE, its NUL left out)."""

SHOWN = 200
"""Characters of output that an error about missing output shows."""


class Console:
    """What a machine prints, and how to type to it. Bytes that are not UTF-8 read as U+FFFD."""

    def __init__(self, machine: "Machine", console: wire.Console) -> None:
        self._machine = machine
        self._console = console

    @property
    def output(self) -> str:
        """What was printed so far: the last megabyte or two of it."""
        return self._console.since(0).decode(errors="replace")

    def send(self, keys: str | bytes) -> None:
        """Type `keys`; the guest reads them when it runs. For any thread."""
        self._console.feed(keys.encode() if isinstance(keys, str) else keys)

    def feed(self, keys: bytes) -> None:
        """Type bytes, as `send` does."""
        self._console.feed(keys)

    @property
    def untaken(self) -> int:
        """How many bytes were typed that the guest's hardware has not taken yet."""
        return self._console.untaken

    def expect(self, text: "Text", timeout: float | None = None) -> str:
        """Run the machine until it prints `text`, which may be a regular expression, as in `run`.

        Returns what was printed since the last match. Raises TimeoutError after `timeout` seconds,
        and EOFError if the guest ends before.
        """
        begin = self._machine._matched
        outcome = self._machine.run(until=text, timeout=timeout)
        if isinstance(outcome, Printed):
            printed = self._console.since(begin)[: self._machine._matched - begin]
            return printed.decode(errors="replace")
        shown = self.output[-SHOWN:]
        if isinstance(outcome, TimedOut):
            raise TimeoutError(
                f"{text!r} was not printed in {timeout} s; the output ends {shown!r}"
            )
        raise EOFError(f"{text!r} was not printed before {outcome}; the output ends {shown!r}")


class Hook:
    """A function that is called when a hart comes to an address, until `remove`."""

    def __init__(
        self, machine: inner.Machine, address: int, function: Callable[[Hart], object]
    ) -> None:
        self._machine, self._function = machine, function
        self.address = address
        self.calls = 0
        """How often it was called."""
        machine.hook(address, self._call)

    def _call(self, vcpu: Vcpu) -> None:
        self.calls += 1
        self._function(Hart(self._machine, vcpu.hartid))

    def remove(self) -> None:
        """Call it no longer; in a hook too."""
        self._machine.unhook(self.address, self._call)


class Machine:
    """A computer with a guest in it. Make one with `Machine.virt`; leave it by `close`, or `with`.

    Machines of one process know nothing of each other. `run` is for one thread at a time; all
    else is for any, but harts only while the machine stands still. Instances have no public
    constructor.
    """

    def __init__(
        self,
        machine: inner.Machine,
        disks: Disks,
        keys: bool,
        network: Network | None,
        counts: Counts,
        shares: "Shares | None",
    ) -> None:
        self._machine = machine
        self._shares = shares
        self._disks = disks
        self._network = network
        self._counts = counts
        self._keys = keys
        self._gdb: Server | None = None
        self._control: Control | None = None
        self._symbols: dict[str, int] | None = None
        self._matched = 0  # how much output `until` has looked at and found
        self.console = Console(self, machine.console)

    @classmethod
    def virt(
        cls,
        kernel: Path | None = None,
        initrd: Path | None = None,
        append: str = "",
        memory: str | int = "512M",
        cpus: int = 1,
        engine: str = "auto",
        disks: Sequence[Path] = (),
        icount: bool = False,
        console: Callable[[bytes], None] | None = None,
        measured: bool = False,
        net: str = "none",
        ports: Sequence[str] = (),
        volumes: Sequence[str] = (),
        devices: Mapping[int, Callable[[Line], Device]] | None = None,
        firmware: Path | None = None,
        name: str | None = None,
    ) -> "Machine":
        """A RISC-V machine like QEMU's `virt`, ready to run; raises Refusal for what cannot be.

        `kernel` is a Linux Image (raw or gzip), an ELF kernel for S-mode, or an ELF program for
        machine mode. `memory` is bytes, or as "512M" or "2G". A disk is "FILE" (what the guest
        writes goes to FILE.overlay), "FILE,temporary" (what it writes is forgotten), "FILE,rw" or
        "FILE,ro"; its format is as its name ends (".qcow2", ".vmdk", ".vdi", ".vhdx"; else raw)
        unless ",format=..." says otherwise.

        With `icount`, instructions are the clock: a run repeats exactly. `console` is
        given what the guest prints, in pieces; without it, the guest is on stdin and stdout.
        `measured` makes `statistics` complete. `net` is "none" (no device at all), "user" (the
        world, as a program of this user sees it, without this host) or "user,host-loopback"
        (10.0.2.2 is the host's 127.0.0.1); ",passt" or ",builtin" after it says what carries
        packets to other hosts, by itself passt where it works. `ports` are "HOST:GUEST" or
        "ADDRESS:HOST:GUEST", perhaps with "/udp": ports of the host, of 127.0.0.1 unless another
        is named, that lead to the guest's. `volumes` are "HOST:GUEST" or "HOST:GUEST:ro": folders
        of the host that our images mount at GUEST; other guests find them by 9P, with GUEST or
        "GUEST:ro" as the tag.
        `devices` are one's own: what makes each, at every boot, with its interrupt line, by the
        physical address of its registers; they are in the device tree as well. By its `name`, if it
        has one, `auberge inspect` finds it.

        `firmware` is a raw binary or an ELF file that starts in machine mode where RAM begins, as
        with QEMU's `-bios`: OpenSBI, or U-Boot. The kernel, which may then be any binary that runs
        in S-mode, as U-Boot, is put behind it; without one there is the firmware alone.
        """
        if not 1 <= cpus <= MOST_HARTS:
            raise Refusal(f"cpus: {cpus} is not possible; choose 1 to {MOST_HARTS}")
        if icount and cpus > 1:
            raise Refusal(f"icount: {cpus} harts cannot be repeated exactly; use one")
        if icount and net != "none":
            raise Refusal("icount: a network cannot be repeated exactly; use net none")
        _check_append(append)
        _check_slots(len(disks), net != "none", len(volumes))
        configuration = inner.Configuration(
            None if kernel is None else os.fspath(kernel),
            None if initrd is None else os.fspath(initrd),
            append,
            memory_size(memory),
            cpus,
            icount,
            measured,
            None if firmware is None else os.fspath(firmware),
        )
        outside = inner.Outside(
            _to_stdout if console is None else console,
            repeatable_entropy() if icount else os.urandom,
            time.time_ns,
        )
        kind = choose(engine)
        opened: Disks | None = None
        network = make_network(net, ports, os.urandom)
        counts = Counts()
        shares: Shares | None = None

        def in_slots() -> list[VirtioDevice]:
            blocks = [] if opened is None else opened.devices()
            nics = (
                [] if network is None else [Net(GUEST_MAC, network, counts, time.perf_counter_ns)]
            )
            return [*blocks, *nics, *([] if shares is None else shares.devices())]

        try:
            opened = Disks([os.fspath(disk) for disk in disks])
            shares = _open_shares(volumes)
            machine = inner.Machine(
                configuration,
                kind,
                outside,
                in_slots,
                services=[] if network is None else [network],
                devices=devices,
            )
        except BaseException:
            if network is not None:
                network.close()
            if shares is not None:
                shares.close()
            if opened is not None:
                opened.close()
            raise
        made = cls(machine, opened, console is None, network, counts, shares)
        if name is not None:
            try:
                made._control = _control(name, machine)
            except BaseException:
                made.close()
                raise
        return made

    def run(
        self, until: "Text | int | type[Reset] | None" = None, timeout: float | None = None
    ) -> Ending:
        """Run until the guest ends, does what `until` says, or `timeout` seconds pass; say which.

        `until` is text that is printed, perhaps since it, or another, was last found; a regular
        expression that a line matches as far as it is printed; an address that a hart comes to; or
        `auberge.Reset`. All but a machine that is off can run on. A reset of which nobody wants to
        hear boots again.
        """
        if not self._keys:
            return self._run(until, timeout)
        with StandardInput(self.console.feed):
            return self._run(until, timeout)

    def _run(self, until: "Text | int | type[Reset] | None", timeout: float | None) -> Ending:
        run = self._machine.run if self._gdb is None else self._gdb.debugger.run
        if isinstance(until, int):
            with self._stopping_at(until):
                outcome = run(None, timeout, self._matched)
        elif until is None or isinstance(until, type):
            outcome = run(None, timeout, self._matched, through_resets=until is not Reset)
        else:
            outcome = run(_expected(until), timeout, self._matched)
            if isinstance(outcome, Printed):
                self._matched = self._machine.console.matched
        assert not isinstance(outcome, Broke), "only a debugger, which is told itself, asks for it"
        return outcome

    @contextmanager
    def _stopping_at(self, address: int) -> Iterator[None]:
        def reached(vcpu: Vcpu) -> None:
            self._machine.end(Reached(vcpu.hartid, address))

        self._machine.hook(_of_an_instruction(address), reached)
        try:
            yield
        finally:
            self._machine.unhook(address, reached)

    def pause(self) -> "Machine":
        """Have `run`, in whichever thread it is, return soon."""
        (self._machine if self._gdb is None else self._gdb.debugger).pause()
        return self

    def gdb(self, address: str) -> str:
        """Let GDB connect at "PORT" (of 127.0.0.1) or "HOST:PORT"; port 0 is any. Says where it is.

        From now on `run` waits until GDB lets the machine run, which is stopped at first. Whoever
        can connect there owns the guest. Raises Refusal if nothing can listen at that address.
        """
        from auberge.machine.debug.server import Server  # imports the description of the ISA

        if self._gdb is not None:
            raise Refusal("gdb: one debugger is served already; one is what a machine can have")
        host, _, port = address.rpartition(":")
        if not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 1 << 16):
            raise Refusal(f"gdb: {address!r} is not an address; write PORT or HOST:PORT")
        self._gdb = Server(self._machine, host.strip("[]") or "127.0.0.1", int(port))
        where, number = self._gdb.address
        return f"[{where}]:{number}" if ":" in where else f"{where}:{number}"

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest the size of the window that its console is shown in."""
        self._machine.resize(columns, rows)

    # -- looking inside -------------------------------------------------------------------------

    @property
    def harts(self) -> list[Hart]:
        """The harts, to look at while the machine does not run, or in `stopped`, or in a hook."""
        return [Hart(self._machine, hartid) for hartid in range(self._machine.configuration.cpus)]

    @property
    def memory(self) -> Memory:
        """The RAM, by physical address."""
        return Memory(self._machine)

    @contextmanager
    def stopped(self) -> Iterator["Machine"]:
        """A context in which no hart executes; a machine that runs goes on afterwards.

        For any thread but that of a hook. Guest time stands still.
        """
        with self._machine.visit():
            yield self

    @property
    def symbols(self) -> dict[str, int]:
        """The addresses of an ELF kernel's symbols, by name; others can be put in."""
        if self._symbols is None:
            from auberge.machine.symbols import read_symbols

            kernel = self._machine.configuration.kernel
            self._symbols = {} if kernel is None else read_symbols(kernel)
        return self._symbols

    def hook(self, address: int | str, function: Callable[[Hart], object]) -> "Hook":
        """Call `function` with each hart that comes to a virtual address, or a symbol's.

        That is before the instruction there is executed, in every address space. It may read and
        write the hart, also its pc, and memory; `pause()` in it ends the run. Hooks are called one
        at a time, in threads of their harts; what one raises, `run` raises.
        """
        return Hook(self._machine, _of_an_instruction(self._address(address)), function)

    def at(
        self, address: int | str
    ) -> Callable[[Callable[[Hart], object]], Callable[[Hart], object]]:
        """The decorator that makes a function a hook."""

        def hook(function: Callable[[Hart], object]) -> Callable[[Hart], object]:
            self.hook(address, function)
            return function

        return hook

    def _address(self, address: int | str) -> int:
        if isinstance(address, int):
            return address
        found = self.symbols.get(address)
        if found is None:
            raise Refusal(
                f"{address}: no symbol of the kernel; give an address, or put it into symbols"
            )
        return found

    @property
    def device_tree(self) -> bytes:
        """The device tree blob that the guest was given."""
        return self._machine.device_tree

    @property
    def ports(self) -> list[Forward]:
        """The host's ports that lead to the guest's; one given as 0 is what the host chose."""
        return [] if self._network is None else self._network.ports

    def statistics(self) -> Statistics:
        """What was counted so far."""
        network = {} if self._network is None else self._counts.as_dict()
        folders = {} if self._shares is None else self._shares.counts.as_dict()
        disks = self._disks.counts.as_dict()
        return self._machine.statistics()._replace(
            network=network, folders=folders, disks=disks if disks["requests"] else {}
        )

    def close(self) -> None:
        """End the machine, and give back its memory and disks; not in a hook."""
        self._machine.check_outside()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._gdb is not None:
            self._gdb.debugger.pause()
            self._gdb.close()
            self._gdb = None
        self._machine.close()
        self._disks.close()
        if self._network is not None:
            self._network.close()
            self._network = None
        if self._shares is not None:
            self._shares.close()

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _control(name: str, machine: inner.Machine) -> "Control":
    from auberge.monitor.control import Control, Question

    def inspect(question: Question) -> object:
        from auberge.monitor.inspection import inspect  # imports the description of the ISA

        return inspect(machine, question)

    return Control(name, {"inspect": inspect})


def _expected(until: "Text") -> Expected:
    if isinstance(until, str):
        return Literal(until.encode())
    if isinstance(until, bytes):
        return Literal(until)
    import re  # slow to import, and here already: somebody compiled this

    text = until.pattern
    if isinstance(text, str):
        return Matching(re.compile(text.encode(), until.flags & ~re.UNICODE))
    return Matching(re.compile(text, until.flags))


def _of_an_instruction(address: int) -> int:
    if not 0 <= address < 1 << 64 or address & 1:
        raise ValueError(f"{address:#x}: no instruction can be there; it is even, of 64 bits")
    return address


def memory_size(memory: str | int) -> int:
    """Bytes, from a number or as in "512M" (units of 1024); raises Refusal."""
    text = str(memory).strip().upper().removesuffix("B").removesuffix("I")
    digits = text.rstrip("KMGT")
    unit = text[len(digits) :]
    if unit not in UNITS or not (digits.isascii() and digits.isdecimal()) or len(digits) > 20:
        raise Refusal(f"memory: {memory!r} is not a size; write it as 512M or 2G")
    size = int(digits) << UNITS[unit]
    if not LEAST_MEMORY <= size <= MOST_MEMORY:
        raise Refusal(
            f"memory: {memory} is not possible;"
            f" choose {LEAST_MEMORY >> 20}M to {MOST_MEMORY >> 30}G"
        )
    if size % PAGE:
        raise Refusal(f"memory: {memory} is not a whole number of pages; choose a multiple of 4K")
    return size


def repeatable_entropy() -> Callable[[int], bytes]:
    """Bytes that look random, and are the same in every process."""
    from hashlib import shake_256

    calls = 0

    def entropy(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return shake_256(b"auberge --icount %d" % calls).digest(size)

    return entropy


def _check_slots(disks: int, network: bool, folders: int) -> None:
    if disks + network + folders <= MOST_DISKS:
        return
    if folders:
        raise Refusal(
            f"volumes: {folders}, beside disks ({disks}) and networks ({int(network)});"
            f" at most {MOST_DISKS} in all are possible, so share a folder above several"
        )
    raise Refusal(f"disks: there are {disks}; at most {MOST_DISKS - network} are possible")


def _check_append(append: str) -> None:
    try:
        size = len(append.encode())
    except UnicodeEncodeError:
        raise Refusal("append: not text in UTF-8; leave the other bytes out") from None
    if "\0" in append:
        raise Refusal("append: a NUL character; leave it out")
    if size > LONGEST_APPEND:
        raise Refusal(f"append: {size} bytes; the kernel reads no more than {LONGEST_APPEND}")


def _open_shares(volumes: Sequence[str]) -> "Shares | None":
    if not volumes:
        return None
    from auberge.machine.share.shares import Shares  # not on the way of every boot

    return Shares(volumes)


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
