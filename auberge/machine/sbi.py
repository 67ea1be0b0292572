"""The supervisor binary interface, served from here to kernels that run in S-mode.

Source: RISC-V Supervisor Binary Interface Specification 2.0 (chapter numbers below are its).
Functions that it lets an implementation leave out answer SBI_ERR_NOT_SUPPORTED.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from auberge.machine.outcome import Faulted, PoweredOff, Reset
from auberge.machine.vcpu import STOPPED, Vcpu
from auberge.memory.ram import Ram

SPECIFICATION = 2 << 24  # 4.1: major 2, minor 0
IMPLEMENTATION = 0x41554252  # 4.2: none is registered for us
VERSION = 1

# Chapter 3, table 1
SUCCESS = 0
ERR_FAILED = -1
ERR_NOT_SUPPORTED = -2
ERR_INVALID_PARAM = -3
ERR_DENIED = -4
ERR_INVALID_ADDRESS = -5
ERR_ALREADY_AVAILABLE = -6

BASE, TIME, IPI, RFENCE = 0x10, 0x54494D45, 0x735049, 0x52464E43
HSM, SRST, DBCN = 0x48534D, 0x53525354, 0x4442434E
LEGACY_SET_TIMER, LEGACY_PUTCHAR, LEGACY_GETCHAR, LEGACY_CLEAR_IPI, LEGACY_SHUTDOWN = 0, 1, 2, 3, 8
LEGACY = range(0x10)

ECALL_FROM_S = 9  # Volume II, table 4.2
WORD = (1 << 64) - 1
WORD32 = (1 << 32) - 1
LONGEST_WRITE = 1 << 16
"""Bytes that one DBCN call takes; 12.1 allows fewer than asked for, and the caller goes on."""

QUICK_LOOKS, A_MOMENT = 20, 20e-6
"""Looks at whether another hart has flushed, before the seconds to sleep between further looks."""

A0, A6, A7 = 10, 16, 17

HANDOVER = {
    "hosted": 1,
    "priv": 1,
    "medeleg": 0xB1FF,  # all but calls from S and M
    "mideleg": 0x222,  # SSI, STI, SEI
    # STCE, PBMTE, ADUE, CBZE, CBCFE, CBIE: Sstc, Svpbmt, Svadu, Zicboz and Zicbom are on
    "menvcfg": 7 << 61 | 0xF0,
    "mcounteren": 7,
    "scounteren": 7,
    "pmpcfg0": 0x1F,  # one entry: all memory may be read, written and executed
    "pmpaddr0": (1 << 54) - 1,
}
"""The cells of a hart that a machine mode has set when it hands over to a supervisor."""


class Answer(NamedTuple):
    """struct sbiret: goes to a0 and a1."""

    error: int
    value: int = 0


NOT_SUPPORTED = Answer(ERR_NOT_SUPPORTED)
INVALID_PARAM = Answer(ERR_INVALID_PARAM)
DONE = Answer(SUCCESS)

Function = Callable[[Vcpu, list[int]], Answer | None]
"""Given a0 to a5. None: the hart's registers are no longer the caller's to write."""


class Sbi:
    """The interface for the harts `vcpus`.

    `put` prints, `get` says what was typed, at most so many bytes, and never waits; both are called
    under `lock`, as all changes of a hart's state are. `end` ends the machine.
    """

    def __init__(
        self,
        vcpus: Sequence[Vcpu],
        ram: Ram,
        lock: AbstractContextManager[object],
        put: Callable[[bytes], None],
        get: Callable[[int], bytes],
        end: Callable[[PoweredOff | Reset | Faulted], None],
    ) -> None:
        self._vcpus = vcpus
        self._ram = ram
        self._lock = lock
        self._put = put
        self._get = get
        self._end = end
        self.extensions: dict[int, tuple[Function, ...]] = {
            BASE: (
                lambda vcpu, a: Answer(SUCCESS, SPECIFICATION),
                lambda vcpu, a: Answer(SUCCESS, IMPLEMENTATION),
                lambda vcpu, a: Answer(SUCCESS, VERSION),
                self._probe_extension,
                lambda vcpu, a: Answer(SUCCESS, 0),  # mvendorid, marchid and mimpid are not ours
                lambda vcpu, a: Answer(SUCCESS, 0),
                lambda vcpu, a: Answer(SUCCESS, 0),
            ),
            TIME: (self._set_timer,),
            IPI: (self._send_ipi,),
            RFENCE: (self._remote_fence_i, self._remote_sfence_vma, self._remote_sfence_vma),
            HSM: (self._hart_start, self._hart_stop, self._hart_get_status, self._hart_suspend),
            SRST: (self._system_reset,),
            DBCN: (self._console_write, self._console_read, self._console_write_byte),
        }
        self.legacy: dict[int, Callable[[Vcpu, int], int]] = {
            LEGACY_SET_TIMER: self._legacy_set_timer,
            LEGACY_PUTCHAR: self._legacy_putchar,
            LEGACY_GETCHAR: self._legacy_getchar,
            LEGACY_CLEAR_IPI: self._legacy_clear_ipi,
            LEGACY_SHUTDOWN: self._legacy_shutdown,
        }

    def call(self, vcpu: Vcpu) -> None:
        """Serve the trap that brought this hart to machine mode: a call, or the machine's end."""
        hart = vcpu.hart
        if hart["cause"] != ECALL_FROM_S:
            self._end(
                Faulted(
                    f"hart {vcpu.hartid}: at {hart['pc']:#x} a trap of cause {hart['cause']:#x}"
                    " for machine mode, which a guest in S-mode does not have"
                )
            )
            return
        x = hart.x
        extension, function = x[A7], x[A6]
        hart["pc"] = hart["pc"] + 4 & WORD
        if extension in LEGACY:
            # Chapter 5: "the a0 register will be the only one changed", there is no function id
            legacy = self.legacy.get(extension)
            x[A0] = legacy(vcpu, x[A0]) & WORD if legacy else ERR_NOT_SUPPORTED & WORD
            return
        functions = self.extensions.get(extension, ())
        if function >= len(functions):
            answer = NOT_SUPPORTED
        else:
            called = functions[function](vcpu, [x[A0 + n] for n in range(6)])
            if called is None:
                return
            answer = called
        x[A0], x[A0 + 1] = answer.error & WORD, answer.value & WORD

    # -- 4: base --------------------------------------------------------------------------------

    def _probe_extension(self, vcpu: Vcpu, a: list[int]) -> Answer:
        return Answer(SUCCESS, int(a[0] in self.extensions or a[0] in self.legacy))

    # -- 6: timer -------------------------------------------------------------------------------

    def _set_timer(self, vcpu: Vcpu, a: list[int]) -> Answer:
        # With Sstc, STIP follows stimecmp by itself: it is clear again if the new time is to come.
        vcpu.hart["stimecmp"] = a[0]
        vcpu.hart["attention"] = 1
        return DONE

    # -- 7: inter-processor interrupts ----------------------------------------------------------

    def _send_ipi(self, vcpu: Vcpu, a: list[int]) -> Answer:
        targets = self._harts(a[0], a[1])
        if targets is None:
            return INVALID_PARAM
        for target in targets:
            if target.status != STOPPED:
                target.post_ssip()
        return DONE

    # -- 8: remote fences -----------------------------------------------------------------------

    def _remote_fence_i(self, vcpu: Vcpu, a: list[int]) -> Answer:
        return self._fence("fence_i", a)

    def _remote_sfence_vma(self, vcpu: Vcpu, a: list[int]) -> Answer:
        # Whatever range and address space is meant, flushing everything does it.
        return self._fence("sfence", a)

    def _fence(self, what: str, a: list[int]) -> Answer:
        """Flush the harts of a mask, and return when all have.

        This cannot deadlock. The calling hart is outside `run` and holds no lock, so nobody has to
        wait for it (`Vcpu.flushed`), be it that they fence each other; a target inside `run` serves
        the request at its next check, which needs nothing of us, or leaves `run`, by an exit or by
        an exception, after which it is not waited for any more. No wake-up can be lost: none is
        needed, since who sleeps is outside `run`.
        """
        targets = self._harts(a[0], a[1])
        if targets is None:
            return INVALID_PARAM
        for target in targets:
            target.flush(what)
        for target in targets:
            looks = 0
            while not target.flushed(what):
                # It takes microseconds, unless the host has more to run than processors.
                time.sleep(0 if looks < QUICK_LOOKS else A_MOMENT)
                looks += 1
        return DONE

    def _harts(self, mask: int, base: int) -> list[Vcpu] | None:
        """3.1: the harts of `mask`, from `base` on; all if base is -1; None if one is missing."""
        if base == WORD:
            return list(self._vcpus)
        if mask and base + mask.bit_length() > len(self._vcpus):
            return None
        return [self._vcpus[base + n] for n in range(mask.bit_length()) if mask >> n & 1]

    # -- 9: hart state management ---------------------------------------------------------------

    def _hart_start(self, vcpu: Vcpu, a: list[int]) -> Answer:
        hartid, address, opaque = a[:3]
        if hartid >= len(self._vcpus):
            return INVALID_PARAM
        if not self._executable(address):
            return Answer(ERR_INVALID_ADDRESS)
        with self._lock:
            target = self._vcpus[hartid]
            if target.status != STOPPED:
                return Answer(ERR_ALREADY_AVAILABLE)
            target.start(address, opaque)
        return DONE

    def _hart_stop(self, vcpu: Vcpu, a: list[int]) -> None:
        vcpu.stop()  # from here on, another hart may be starting it

    def _hart_get_status(self, vcpu: Vcpu, a: list[int]) -> Answer:
        if a[0] >= len(self._vcpus):
            return INVALID_PARAM
        return Answer(SUCCESS, self._vcpus[a[0]].status)

    def _hart_suspend(self, vcpu: Vcpu, a: list[int]) -> Answer:
        kind, address, opaque = a[0] & WORD32, a[1], a[2]
        if kind == 0:  # default retentive: a0 is the answer it finds when it wakes
            vcpu.suspend(None)
            return DONE
        if kind != 0x8000_0000:  # default non-retentive
            return INVALID_PARAM if _reserved_suspend(kind) else NOT_SUPPORTED
        if not self._executable(address):
            return Answer(ERR_INVALID_ADDRESS)
        vcpu.suspend((address, opaque))
        return DONE

    def _executable(self, address: int) -> bool:
        offset = address - self._ram.base
        return 0 <= offset < self._ram.size and not address & 1

    # -- 10: system reset -----------------------------------------------------------------------

    def _system_reset(self, vcpu: Vcpu, a: list[int]) -> Answer:
        kind, reason = a[0] & WORD32, a[1] & WORD32
        if reason > 1:
            return NOT_SUPPORTED if reason >= 0xE000_0000 else INVALID_PARAM
        if kind == 0:
            self._end(PoweredOff(reason))  # 1: system failure
        elif kind in (1, 2):
            self._end(Reset())
        else:
            return NOT_SUPPORTED if kind >= 0xF000_0000 else INVALID_PARAM
        return Answer(ERR_FAILED)

    # -- 12: debug console ----------------------------------------------------------------------

    def _console_write(self, vcpu: Vcpu, a: list[int]) -> Answer:
        size, low, high = a[:3]
        if not self._in_ram(low, high, size):
            return INVALID_PARAM
        data = self._ram.read(low, min(size, LONGEST_WRITE)) if size else b""
        with self._lock:
            self._put(data)
        return Answer(SUCCESS, len(data))

    def _console_read(self, vcpu: Vcpu, a: list[int]) -> Answer:
        size, low, high = a[:3]
        if not self._in_ram(low, high, size):
            return INVALID_PARAM
        with self._lock:
            data = self._get(min(size, LONGEST_WRITE))
        if data:
            self._ram.write(low, data)
        return Answer(SUCCESS, len(data))

    def _console_write_byte(self, vcpu: Vcpu, a: list[int]) -> Answer:
        with self._lock:
            self._put(bytes([a[0] & 0xFF]))
        return DONE

    def _in_ram(self, low: int, high: int, size: int) -> bool:
        """12.1: `size` bytes at physical address `low`; no memory's address needs `high`."""
        offset = low - self._ram.base
        return high == 0 and (size == 0 or 0 <= offset and offset + size <= self._ram.size)

    # -- 5: legacy ------------------------------------------------------------------------------

    def _legacy_set_timer(self, vcpu: Vcpu, a0: int) -> int:
        self._set_timer(vcpu, [a0])
        return SUCCESS

    def _legacy_putchar(self, vcpu: Vcpu, a0: int) -> int:
        self._console_write_byte(vcpu, [a0])
        return SUCCESS

    def _legacy_getchar(self, vcpu: Vcpu, a0: int) -> int:
        with self._lock:
            data = self._get(1)
        return data[0] if data else -1

    def _legacy_clear_ipi(self, vcpu: Vcpu, a0: int) -> int:
        """5.4: clears a pending IPI, and says 1 if there was one."""
        hart = vcpu.hart
        was = hart["mip"] & 2
        hart["mip"] &= ~2
        if hart["posted_ssip"]:  # else one that comes just now is not taken away
            hart["posted_ssip"] = 0
            was = 1
        return int(bool(was))

    def _legacy_shutdown(self, vcpu: Vcpu, a0: int) -> int:
        self._end(PoweredOff(0))
        return SUCCESS


def _reserved_suspend(kind: int) -> bool:
    """9.4, table 23: neither a default nor a platform's own type."""
    return 0 < kind < 0x1000_0000 or 0x8000_0000 < kind < 0x9000_0000
