"""A hart as a program sees it: registers and memory, while the machine stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auberge.machine import machine as inner
from auberge.machine.debug.causes import MODES
from auberge.machine.vcpu import STARTED, STOPPED, Vcpu
from auberge.memory.ram import PAGE, OutOfRange

if TYPE_CHECKING:
    from auberge.machine.debug.walk import Translation

ADDRESSES = 1 << 64
PRIVILEGES = {letter: mode for mode, letter in MODES.items()}


class Unmapped(LookupError):
    """Memory that is asked for is not there, or is no RAM: to look at a device would change it."""

    def __init__(self, address: int) -> None:
        super().__init__(f"{address:#x}: no RAM is there")
        self.address = address


class Memory:
    """The machine's RAM by physical address; for any thread, also while the machine runs."""

    def __init__(self, machine: inner.Machine) -> None:
        self._machine = machine

    def read(self, gpa: int, size: int) -> bytes:
        """Bytes from physical `gpa` on; raises Unmapped if they are not all RAM."""
        self._machine.check_open()
        try:
            return self._machine.ram.read(gpa, size)
        except OutOfRange:
            raise Unmapped(gpa) from None

    def write(self, gpa: int, data: bytes) -> None:
        """Write bytes, all or, raising Unmapped, none; also where code is."""
        self._machine.check_open()
        try:
            self._machine.ram.write(gpa, data)
        except OutOfRange:
            raise Unmapped(gpa) from None
        for vcpu in self._machine.vcpus:
            vcpu.flush("fence_i")
            vcpu.flush("sfence")


class Integers:
    """The integer registers of a hart by number; x0 is 0 and stays it."""

    def __init__(self, hart: Hart) -> None:
        self._hart = hart

    def __getitem__(self, number: int) -> int:
        with self._hart._still() as vcpu:
            return vcpu.hart.x[number]

    def __setitem__(self, number: int, value: int) -> None:
        with self._hart._still() as vcpu:
            vcpu.hart.x[number] = value


class Hart:
    """One hart of a machine that stands still, or that has called the hook which asks.

    Otherwise, all but `hartid` raises RuntimeError. Values are unsigned and of 64 bits; what is
    written is cut to that.
    """

    def __init__(self, machine: inner.Machine, hartid: int) -> None:
        self._machine = machine
        self.hartid = hartid
        self.x = Integers(self)

    @contextmanager
    def _still(self) -> Iterator[Vcpu]:
        machine = self._machine
        hooked = machine.hooked
        if hooked is not None:
            if hooked.hartid != self.hartid:
                raise RuntimeError(
                    f"hart {self.hartid} executes while hart {hooked.hartid} is in a hook,"
                    " which sees that one only"
                )
            yield hooked
            return
        if machine.running and not machine.visited:
            raise RuntimeError("the machine runs; look at it in `with machine.stopped():`")
        with machine.visit():
            yield machine.vcpus[self.hartid]

    @property
    def pc(self) -> int:
        """The address of the next instruction; what is written loses bit 0."""
        with self._still() as vcpu:
            return vcpu.hart["pc"]

    @pc.setter
    def pc(self, value: int) -> None:
        with self._still() as vcpu:
            vcpu.hart["pc"] = value & ~1

    @property
    def privilege(self) -> str:
        """The mode: "M", "S" or "U"."""
        with self._still() as vcpu:
            return MODES[vcpu.hart["priv"]]

    @privilege.setter
    def privilege(self, letter: str) -> None:
        if letter not in PRIVILEGES:
            raise ValueError(f"{letter!r} is no privilege mode; it is one of M, S, U")
        self["priv"] = PRIVILEGES[letter]

    @property
    def state(self) -> str:
        """What the firmware interface says of it: "started", "stopped" or "suspended"."""
        with self._still() as vcpu:
            return {STARTED: "started", STOPPED: "stopped"}.get(vcpu.status, "suspended")

    def __getitem__(self, name: str) -> int:
        """A register by name: "a0", "ft0", "pc" or any CSR, whatever the mode; else KeyError."""
        from auberge.machine.debug import registers  # imports the description of the ISA

        with self._still() as vcpu:
            return registers.read(vcpu, self._machine.ram, name)

    def __setitem__(self, name: str, value: int) -> None:
        """Write a register by name, a CSR as machine mode does; what is read-only: ValueError."""
        from auberge.machine.debug import registers

        with self._still() as vcpu:
            try:
                registers.write(vcpu, self._machine.ram, name, value % ADDRESSES)
            except registers.ReadOnly:
                raise ValueError(f"{name} cannot be written with {value:#x}") from None

    # -- virtual memory -------------------------------------------------------------------------

    def translate(self, gva: int) -> Translation:
        """Where virtual `gva` leads: the page walk with its entries, permissions, TLB state."""
        from auberge.machine.debug.walk import translate

        if not 0 <= gva < ADDRESSES:
            raise ValueError(f"{gva:#x} is not a 64-bit address")
        with self._still() as vcpu:
            return translate(vcpu.hart, self._machine.ram, vcpu.clock, gva)

    def read(self, gva: int, size: int) -> bytes:
        """Bytes from virtual `gva` on, whoever may read them; raises Unmapped."""
        with self._still() as vcpu:
            ram = self._machine.ram
            parts = self._places(vcpu, gva, size)
            return b"".join(ram.read(gpa, length) for gpa, length in parts)

    def write(self, gva: int, data: bytes) -> None:
        """Write bytes from virtual `gva` on, all or, raising Unmapped, none; also to code."""
        with self._still() as vcpu:
            done = 0
            for gpa, length in self._places(vcpu, gva, len(data)):
                self._machine.ram.write(gpa, data[done : done + length])
                done += length
            for each in self._machine.vcpus:
                each.flush("fence_i")
                each.flush("sfence")

    def string(self, gva: int, most: int = 4096) -> bytes:
        """The bytes from virtual `gva` up to a NUL, or `most`; raises Unmapped."""
        found = bytearray()
        while len(found) < most:
            at = gva + len(found)
            data = self.read(at, min(most - len(found), PAGE - at % PAGE))
            text, nul, _ = data.partition(b"\0")
            found += text
            if nul:
                break
        return bytes(found)

    def _places(self, vcpu: Vcpu, gva: int, size: int) -> list[tuple[int, int]]:
        """The parts of RAM that a virtual range is: (physical address, bytes)."""
        from auberge.machine.debug.translation import physical

        ram, hart, places = self._machine.ram, vcpu.hart, []
        satp = 0 if hart["priv"] == PRIVILEGES["M"] else hart["satp"]
        at, end = gva, gva + size
        if not 0 <= at <= end <= ADDRESSES:
            raise Unmapped(gva)
        while at < end:
            length = min(end, (at // PAGE + 1) * PAGE) - at
            gpa = physical(ram, satp, at)
            if gpa is None or not 0 <= gpa - ram.base <= ram.size - length:
                raise Unmapped(at)
            places.append((gpa, length))
            at += length
        return places
