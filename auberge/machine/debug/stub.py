"""What each packet of GDB's remote protocol asks for, and the answer.

Source: Debugging with GDB, appendix E (E.2 packets, E.3 stop replies, E.4 general queries). What
makes no sense is answered by an error, what is not known by an empty packet, as E.1 says.
"""

from collections.abc import Callable
from typing import NamedTuple

from auberge.engine.exits import LOADS, STORES, Watch
from auberge.machine.debug.debugger import Debugger, Ended, Stopped, Unmapped
from auberge.machine.debug.packets import LONGEST, escape, unescape
from auberge.machine.debug.registers import ReadOnly
from auberge.machine.debug.target import GENERAL, NUMBERS, description
from auberge.machine.outcome import PoweredOff

OK, UNKNOWN = b"OK", b""
E_ARGUMENT, E_MEMORY, E_REGISTER, E_FULL = b"E16", b"E0e", b"E01", b"E1c"  # EINVAL, EFAULT, ...
INTERRUPTED, TRAPPED, ABORTED = 2, 5, 6  # GDB's numbers of SIGINT, SIGTRAP, SIGABRT
WORD = 1 << 64
ALL_THREADS, ANY_THREAD = -1, 0
WATCH_KINDS = {b"2": STORES, b"3": LOADS, b"4": LOADS | STORES}
WATCH_NAMES = {STORES: "watch", LOADS: "rwatch", LOADS | STORES: "awatch"}
SUPPORTED = (
    f"PacketSize={LONGEST:x};QStartNoAckMode+;qXfer:features:read+;"
    "vContSupported+;swbreak+;hwbreak+"
)


class Malformed(Exception):
    """A packet makes no sense."""


class Say(NamedTuple):
    """The answer to a packet."""

    data: bytes


class Wait(NamedTuple):
    """The machine runs; the answer comes when it stops."""


class Leave(NamedTuple):
    """The client is gone, and leaves the machine running, or else switched off."""

    answer: bytes
    kill: bool


Reply = Say | Wait | Leave


class Stub:
    """The protocol's side of a debugger: one client's threads, breakpoints and abilities."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger
        self._general = 0  # the hart of register and memory packets
        self._last: Stopped | Ended = Stopped(0)
        self._hardware: set[int] = set()
        self._software: set[int] = set()
        self._abilities: frozenset[bytes] = frozenset()
        self.acknowledges = True
        self._description = description().encode()
        self._commands: dict[bytes, Callable[[bytes], Reply | bytes]] = {
            b"?": lambda rest: self.stop_reply(self._last),
            b"!": lambda rest: UNKNOWN,
            b"D": lambda rest: Leave(OK, kill=False),
            b"k": lambda rest: Leave(UNKNOWN, kill=True),
            b"vKill": lambda rest: Leave(OK, kill=True),
            b"g": self._read_general,
            b"G": self._write_general,
            b"p": self._read_register,
            b"P": self._write_register,
            b"m": self._read_memory,
            b"M": self._write_memory,
            b"X": self._write_binary,
            b"H": self._choose_thread,
            b"T": self._is_alive,
            b"Z": lambda rest: self._point(rest, insert=True),
            b"z": lambda rest: self._point(rest, insert=False),
            b"c": lambda rest: self._continue(rest, step=False),
            b"s": lambda rest: self._continue(rest, step=True),
            b"C": lambda rest: self._continue(rest.partition(b";")[2], step=False),
            b"S": lambda rest: self._continue(rest.partition(b";")[2], step=True),
            b"vCont?": lambda rest: b"vCont;c;C;s;S",
            b"vCont": self._v_continue,
            b"qSupported": self._supported,
            b"QStartNoAckMode": self._no_acknowledgments,
            b"qXfer": self._transfer,
            b"qAttached": lambda rest: b"1",
            b"qC": lambda rest: b"QC%x" % (self._current() + 1),
            b"qfThreadInfo": self._threads,
            b"qsThreadInfo": lambda rest: b"l",
            b"qThreadExtraInfo": self._thread_info,
            b"qRcmd": self._monitor,
            b"qSymbol": lambda rest: OK,
        }

    def answer(self, packet: bytes) -> Reply:
        """Do what a packet asks for; the machine must be stopped. Any bytes are a packet."""
        name, rest = _command(packet)
        command = self._commands.get(name)
        if command is None:
            return Say(UNKNOWN)
        try:
            reply = command(rest)
        except Malformed:
            return Say(E_ARGUMENT)
        except Unmapped:
            return Say(E_MEMORY)
        except ReadOnly:
            return Say(E_REGISTER)
        return Say(reply) if isinstance(reply, bytes) else reply

    # -- stops (E.3) ----------------------------------------------------------------------------

    def stop_reply(self, news: Stopped | Ended) -> bytes:
        """The packet that says why the machine stopped."""
        self._last = news
        if isinstance(news, Ended):
            if isinstance(news.outcome, PoweredOff):
                return b"W%02x" % (news.outcome.code & 0xFF)
            return b"X%02x" % ABORTED
        self._general = news.hartid
        why = ""
        if news.watch is not None:
            access, end = news.watch, news.watch.address + news.watch.width
            for watch in self._debugger.watches:
                if (
                    watch.first < end
                    and access.address <= watch.last
                    and watch.kinds & access.kinds
                ):
                    why = f"{WATCH_NAMES[watch.kinds]}:{max(watch.first, access.address):x};"
        elif news.breakpoint:
            pc = self._debugger.vcpu(news.hartid).hart["pc"]
            kind = "swbreak" if pc in self._software else "hwbreak"
            if f"{kind}+".encode() in self._abilities:
                why = f"{kind}:;"
        signal = INTERRUPTED if news.interrupted else TRAPPED
        return f"T{signal:02x}{why}thread:{news.hartid + 1:x};".encode()

    def _current(self) -> int:
        return self._general

    # -- going on (E.2) -------------------------------------------------------------------------

    def _continue(self, rest: bytes, step: bool) -> Reply | bytes:
        if rest:
            self._debugger.write_register(self._general, "pc", _word(rest))
        return self._move([self._general], None) if step else self._move([], None)

    def _v_continue(self, rest: bytes) -> Reply | bytes:
        actions: dict[int, bytes] = {}
        for part in rest.removeprefix(b";").split(b";"):
            action, _, thread = part.partition(b":")
            if action[:1] not in (b"c", b"C", b"s", b"S"):
                raise Malformed
            for hartid in self._harts_of(thread) if thread else range(self._debugger.harts):
                actions.setdefault(hartid, action[:1].lower())  # "the leftmost action applies"
        steps = [hartid for hartid, action in actions.items() if action == b"s"]
        runs = [hartid for hartid, action in actions.items() if action == b"c"]
        return self._move(steps, runs)

    def _move(self, steps: list[int], runs: list[int] | None) -> Reply | bytes:
        if isinstance(self._last, Ended):
            return self.stop_reply(self._last)
        if steps:
            others = runs
            if runs is None:
                others = [hartid for hartid in range(self._debugger.harts) if hartid not in steps]
            return self.stop_reply(self._debugger.step(steps, others or ()))
        self._debugger.go(runs)
        return Wait()

    # -- threads: harts, counted from 1 ---------------------------------------------------------

    def _harts_of(self, text: bytes) -> list[int]:
        """The harts that a thread-id names; raises Malformed if there is none."""
        number = ALL_THREADS if text == b"-1" else _number(text)
        if number == ALL_THREADS:
            return list(range(self._debugger.harts))
        if number == ANY_THREAD:
            return [self._current()]
        if number > self._debugger.harts:
            raise Malformed
        return [number - 1]

    def _choose_thread(self, rest: bytes) -> bytes:
        harts = self._harts_of(rest[1:])
        if rest[:1] == b"g" or rest[:1] == b"c" and len(harts) == 1:
            self._general = harts[0]
        return OK

    def _is_alive(self, rest: bytes) -> bytes:
        self._harts_of(rest)
        return OK

    def _threads(self, rest: bytes) -> bytes:
        return b"m" + b",".join(b"%x" % (n + 1) for n in range(self._debugger.harts))

    def _thread_info(self, rest: bytes) -> bytes:
        (hartid,) = self._harts_of(rest.removeprefix(b",") or b"0")[:1]
        return self._debugger.describe(hartid).encode().hex().encode()

    # -- registers ------------------------------------------------------------------------------

    def _read_general(self, rest: bytes) -> bytes:
        return b"".join(self._register(NUMBERS[number]) for number in GENERAL)

    def _write_general(self, rest: bytes) -> bytes:
        for number, value in zip(GENERAL, _words(rest), strict=False):
            self._debugger.write_register(self._general, NUMBERS[number], value)
        return OK

    def _read_register(self, rest: bytes) -> bytes:
        return self._register(_register_name(rest))

    def _write_register(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        words = _words(value)
        if len(words) != 1:
            raise Malformed
        self._debugger.write_register(self._general, _register_name(number), words[0])
        return OK

    def _register(self, name: str) -> bytes:
        value = self._debugger.read_register(self._general, name)
        return value.to_bytes(8, "little").hex().encode()

    # -- memory ---------------------------------------------------------------------------------

    def _read_memory(self, rest: bytes) -> bytes:
        address, size = _range(rest)
        most = min(size, LONGEST // 2, WORD - address)
        return self._debugger.read_memory(self._general, address, most).hex().encode()

    def _write_memory(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._write(where, _bytes(data))

    def _write_binary(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._write(where, unescape(data))

    def _write(self, where: bytes, data: bytes) -> bytes:
        address, size = _range(where)
        if size != len(data) or address + size > WORD:
            raise Malformed
        self._debugger.write_memory(self._general, address, data)
        return OK

    # -- breakpoints and watchpoints ------------------------------------------------------------

    def _point(self, rest: bytes, insert: bool) -> bytes:
        kind, _, where = rest.partition(b",")
        address, size = _range(where.partition(b";")[0])
        if kind in (b"0", b"1"):
            points, others = self._software, self._hardware
            if kind == b"1":
                points, others = others, points
            if insert:
                points.add(address)
                self._debugger.add_breakpoint(address)
            else:
                points.discard(address)
                if address not in others:
                    self._debugger.remove_breakpoint(address)
            return OK
        if kind not in WATCH_KINDS:
            return UNKNOWN
        if not size or address + size > WORD:
            raise Malformed
        watch = Watch(address, address + size - 1, WATCH_KINDS[kind])
        if not insert:
            self._debugger.remove_watch(watch)
            return OK
        return OK if self._debugger.add_watch(watch) else E_FULL

    # -- queries (E.4) --------------------------------------------------------------------------

    def _supported(self, rest: bytes) -> bytes:
        self._abilities = frozenset(rest.removeprefix(b":").split(b";"))
        return SUPPORTED.encode()

    def _no_acknowledgments(self, rest: bytes) -> bytes:
        self.acknowledges = False
        return OK

    def _transfer(self, rest: bytes) -> bytes:
        begin = b":features:read:target.xml:"
        if not rest.startswith(begin):
            return UNKNOWN if not rest.startswith(b":features:read:") else b"E00"
        offset, size = _range(rest.removeprefix(begin))
        data = self._description[offset : offset + min(size, LONGEST // 2)]
        more = offset + len(data) < len(self._description)
        return (b"m" if more else b"l") + escape(data)

    def _monitor(self, rest: bytes) -> bytes:
        command = _bytes(rest.removeprefix(b",")).decode(errors="replace").strip()
        harts = range(self._debugger.harts)
        if command == "info":
            lines = [
                f"{self._debugger.describe(n)}, pc {self._debugger.vcpu(n).hart['pc']:#x},"
                f" satp {self._debugger.vcpu(n).hart['satp']:#x}"
                for n in harts
            ]
        else:
            lines = ["info: what each hart is doing"]
        return "".join(f"{line}\n" for line in lines).encode().hex().encode()


def _command(packet: bytes) -> tuple[bytes, bytes]:
    """The name of a packet's command, and what follows it."""
    if packet[:1] not in (b"v", b"q", b"Q"):
        return packet[:1], packet[1:]
    if packet == b"vCont?":
        return packet, b""
    at = min((n for n in (packet.find(c) for c in b":;,") if n >= 0), default=len(packet))
    return packet[:at], packet[at:]


def _number(text: bytes) -> int:
    """A hexadecimal number; raises Malformed."""
    if not text or text.strip(b"0123456789abcdefABCDEF"):
        raise Malformed
    return int(text, 16)


def _word(text: bytes) -> int:
    """The same, of 64 bits."""
    value = _number(text)
    if value >= WORD:
        raise Malformed
    return value


def _range(text: bytes) -> tuple[int, int]:
    """`ADDRESS,LENGTH`; raises Malformed."""
    address, _, size = text.partition(b",")
    return _word(address), _word(size)


def _bytes(text: bytes) -> bytes:
    """Two digits for each byte; raises Malformed."""
    if len(text) % 2 or text.strip(b"0123456789abcdefABCDEF"):
        raise Malformed
    return bytes.fromhex(text.decode())


def _words(text: bytes) -> list[int]:
    """64-bit values, least significant byte first; raises Malformed."""
    data = _bytes(text)
    if len(data) % 8:
        raise Malformed
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


def _register_name(text: bytes) -> str:
    name = NUMBERS.get(_number(text))
    if name is None:
        raise ReadOnly
    return name
