"""`auberge.Machine`: a whole computer, to be booted, watched and typed to."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from auberge.api.standard_input import StandardInput
from auberge.engine.choose import choose
from auberge.machine import console as wire
from auberge.machine import machine as inner
from auberge.machine.disk import Disk, Mode, open_disk
from auberge.machine.net.choose import Network, make_network
from auberge.machine.net.forward import Forward
from auberge.machine.outcome import Outcome, Printed, TimedOut
from auberge.machine.statistics import Statistics
from auberge.machine.virt import LEAST_MEMORY, MOST_DISKS, MOST_HARTS, MOST_MEMORY
from auberge.machine.virtio.block import Block
from auberge.machine.virtio.device import VirtioDevice
from auberge.machine.virtio.net import Counts, Net
from auberge.memory.ram import PAGE
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.machine.debug.server import Server
    from auberge.machine.share.shares import Shares

Path = str | os.PathLike[str]

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

MAC = b"\x52\x54\x00\x12\x34\x56"
"""As QEMU's first; each guest is alone with its network, so that all may have the same."""

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

    def expect(self, text: str, timeout: float | None = None) -> str:
        """Run the machine until it prints `text`; return what was printed since the last match.

        Raises TimeoutError after `timeout` seconds, and EOFError if the guest ends before.
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


class Machine:
    """A computer with a guest in it. Make one with `Machine.virt`; leave it by `close`, or `with`.

    Machines of one process know nothing of each other. `run` is for one thread at a time; `pause`,
    `resize` and `console.send` are for any. Instances have no public constructor.
    """

    def __init__(
        self,
        machine: inner.Machine,
        disks: Sequence[Disk],
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
        self._matched = 0  # how much output `until` has looked at and found
        self.console = Console(self, machine.console)

    @classmethod
    def virt(
        cls,
        kernel: Path,
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
    ) -> "Machine":
        """A RISC-V machine like QEMU's `virt`, ready to run; raises Refusal for what cannot be.

        `kernel` is a Linux Image (raw or gzip), an ELF kernel for S-mode, or an ELF program for
        machine mode. `memory` is bytes, or as "512M" or "2G". A disk is "FILE" (what the guest
        writes goes to FILE.overlay), "FILE,temporary" (what it writes is forgotten), "FILE,rw" or
        "FILE,ro". With `icount`, instructions are the clock: a run repeats exactly. `console` is
        given what the guest prints, in pieces; without it, the guest is on stdin and stdout.
        `measured` makes `statistics` complete. `net` is "none" (no device at all), "user" (the
        world, as a program of this user sees it, without this host) or "user,host-loopback"
        (10.0.2.2 is the host's 127.0.0.1). `ports` are "HOST:GUEST" or "ADDRESS:HOST:GUEST",
        perhaps with "/udp": ports of the host, of 127.0.0.1 unless another is named, that lead to
        the guest's. `volumes` are "HOST:GUEST" or "HOST:GUEST:ro": folders of the host that our
        images mount at GUEST; other guests find them by 9P, with GUEST or "GUEST:ro" as the tag.
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
            os.fspath(kernel),
            None if initrd is None else os.fspath(initrd),
            append,
            memory_size(memory),
            cpus,
            icount,
            measured,
        )
        outside = inner.Outside(
            _to_stdout if console is None else console,
            repeatable_entropy() if icount else os.urandom,
            time.time_ns,
        )
        kind = choose(engine)
        opened: list[Disk] = []
        network = make_network(net, ports, os.urandom)
        counts = Counts()
        shares: Shares | None = None

        def devices() -> list[VirtioDevice]:
            blocks = [Block(disk, f"disk{n}") for n, disk in enumerate(opened)]
            nics = [] if network is None else [Net(MAC, network, counts, time.perf_counter_ns)]
            return [*blocks, *nics, *([] if shares is None else shares.devices())]

        try:
            for disk in disks:
                opened.append(_open_disk(os.fspath(disk)))
            shares = _open_shares(volumes)
            machine = inner.Machine(
                configuration,
                kind,
                outside,
                devices,
                services=[] if network is None else [network],
            )
        except BaseException:
            if network is not None:
                network.close()
            if shares is not None:
                shares.close()
            for each in opened:
                each.close()
            raise
        return cls(machine, opened, console is None, network, counts, shares)

    def run(self, until: str | None = None, timeout: float | None = None) -> Outcome:
        """Run until the guest ends, prints `until`, or `timeout` seconds pass; say which.

        `until` may have been printed since it, or another, was last found. A machine that printed,
        timed out or was paused can run on; one that is off stays off. A guest's reset boots again.
        """
        if not self._keys:
            return self._run(until, timeout)
        with StandardInput(self.console.feed):
            return self._run(until, timeout)

    def _run(self, until: str | None, timeout: float | None) -> Outcome:
        run = self._machine.run if self._gdb is None else self._gdb.debugger.run
        if until is None:
            return run(None, timeout, self._matched)
        text = until.encode()
        outcome = run(text, timeout, self._matched)
        if isinstance(outcome, Printed):
            at = max(self._matched, self._machine.console.forgotten)
            found = self._machine.console.since(at).find(text)
            self._matched = at + found + len(text)
        return outcome

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
        if not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
            raise Refusal(f"gdb: {address!r} is not an address; write PORT or HOST:PORT")
        self._gdb = Server(self._machine, host.strip("[]") or "127.0.0.1", int(port))
        where, number = self._gdb.address
        return f"[{where}]:{number}" if ":" in where else f"{where}:{number}"

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest the size of the window that its console is shown in."""
        self._machine.resize(columns, rows)

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
        return self._machine.statistics()._replace(network=network, folders=folders)

    def close(self) -> None:
        """End the machine, and give back its memory and disks."""
        if self._gdb is not None:
            self._gdb.debugger.pause()
            self._gdb.close()
            self._gdb = None
        self._machine.close()
        for disk in self._disks:
            disk.close()
        self._disks = ()
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
            f"volumes: {folders} folders, {disks} disks and {'a' if network else 'no'} network;"
            f" at most {MOST_DISKS} such devices are possible, so share a folder above several"
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


def _open_disk(disk: str) -> Disk:
    path, comma, option = disk.rpartition(",")
    modes: dict[str, Mode] = {
        "ro": "ro", "rw": "rw", "overlay": "overlay", "temporary": "temporary",
    }  # fmt: skip
    if comma and option in modes:
        return open_disk(path, modes[option])
    return open_disk(disk)


def _open_shares(volumes: Sequence[str]) -> "Shares | None":
    if not volumes:
        return None
    from auberge.machine.share.shares import Shares  # not on the way of every boot

    return Shares(volumes)


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
