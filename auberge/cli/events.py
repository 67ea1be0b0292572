"""How `trace` shows what a hart did: lines for people, or a JSON object a line."""

import json
from typing import Protocol

from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.names import X
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.debug.causes import INTERRUPT, MODES, cause_name
from auberge.machine.debug.recorder import Access, Event, HostCall, Instruction, Trap
from auberge.machine.symbols import Symbols
from auberge.machine.vcpu import Vcpu

ARGUMENTS, RESULTS = ("a7", "a6"), ("a0", "a1")  # of a call of the SBI (chapter 3)


class Shown(Protocol):
    """A way to show a trace."""

    def event(self, vcpu: Vcpu, event: Event) -> None:
        """What a hart did."""

    def registers(self, vcpu: Vcpu) -> None:
        """The integer registers and pc as they are now."""


class Text:
    """One line an instruction, and lines of their own for traps and for labels."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols

    def event(self, vcpu: Vcpu, event: Event) -> None:
        hartid = vcpu.hartid
        if isinstance(event, Trap):
            kind = "interrupt" if event.cause & INTERRUPT else "exception"
            code = event.cause & ~INTERRUPT
            value = f" value {event.tval:#x}" if event.tval else ""
            print(
                f"{hartid} {MODES[event.priv]} {kind} {code}: {cause_name(event.cause)}"
                f" at {event.pc:#x}{value}, handler {event.handler:#x}"
            )
            return
        for name in self._symbols.at(event.pc):
            print(f"{name}:")
        changes = " ".join(_changes(vcpu, event))
        text = disassemble(rv64, event.word, event.pc, aliases=True)
        line = f"{hartid} {MODES[event.priv]} {event.pc:#018x} {_word(event.word):8}  {text:28}"
        print(f"{line} {changes}".rstrip())

    def registers(self, vcpu: Vcpu) -> None:
        values = [("pc", vcpu.hart["pc"]), *zip(X[1:], list(vcpu.hart.x)[1:], strict=True)]
        for n in range(0, len(values), 4):
            print("  ".join(f"{name:>4} {value:#018x}" for name, value in values[n : n + 4]))


class Json:
    """One object a line; numbers of 64 bits are text, since not every reader keeps them exact."""

    def event(self, vcpu: Vcpu, event: Event) -> None:
        shown: dict[str, object] = {"hart": vcpu.hartid, "pc": hex(event.pc)}
        shown["privilege"] = MODES[event.priv]
        match event:
            case Trap(_, cause, tval, handler):
                kind = "interrupt" if cause & INTERRUPT else "exception"
                shown |= {kind: cause_name(cause), "code": cause & ~INTERRUPT}
                shown |= {"value": hex(tval), "handler": hex(handler)}
            case Instruction(pc, _, word, written, accesses):
                shown |= _code(pc, word)
                shown["written"] = {name: hex(value) for name, value in written.items()}
                shown["loads"] = [_access(each) for each in accesses if not each.stored]
                shown["stores"] = [_access(each) for each in accesses if each.stored]
            case HostCall(pc, _, cause, word):
                shown |= _code(pc, word) | {"host": cause_name(cause)}
        print(json.dumps(shown))

    def registers(self, vcpu: Vcpu) -> None:
        hart = vcpu.hart
        names = zip(X, hart.x, strict=True)
        registers = {name: hex(value) for name, value in (("pc", hart["pc"]), *names)}
        print(json.dumps({"hart": vcpu.hartid, "registers": registers}))


def _word(word: int) -> str:
    return f"{word:08x}" if word & 3 == 3 else f"{word:04x}"


def _changes(vcpu: Vcpu, event: Instruction | HostCall) -> list[str]:
    if isinstance(event, HostCall):
        hart = vcpu.hart
        call = " ".join(f"{name}={hart.x[X.index(name)]:#x}" for name in (*ARGUMENTS, *RESULTS))
        return [f"host: {cause_name(event.cause)}, now {call}"]
    shown = [f"{name}={value:#x}" for name, value in event.written.items()]
    for access in event.accesses:
        what = "store" if access.stored else "load"
        shown.append(f"{what} {access.address:#x}:{access.size}={access.value:#x}")
    return shown


def _code(pc: int, word: int) -> dict[str, object]:
    return {"word": _word(word), "text": disassemble(rv64, word, pc)}


def _access(access: Access) -> dict[str, object]:
    return {"address": hex(access.address), "size": access.size, "value": hex(access.value)}
