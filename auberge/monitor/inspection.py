"""What `inspect` shows of a machine: as data, addresses being text in hexadecimal, and as lines."""

from typing import NamedTuple

from auberge.machine.debug.causes import MODES
from auberge.machine.debug.walk import Allowed, Cached, translate
from auberge.machine.machine import Machine
from auberge.machine.symbols import Symbols
from auberge.machine.vcpu import STARTED, STOPPED, Vcpu
from auberge.machine.virt import Part
from auberge.memory.ram import OutOfRange
from auberge.monitor.control import Question
from auberge.refusal import Refusal

MOST_BYTES = 1 << 16
STATES = {STARTED: "started", STOPPED: "stopped"}


class Report(NamedTuple):
    """The same twice: for programs and for people."""

    data: dict[str, object]
    lines: list[str]


def inspect(machine: Machine, question: Question) -> Report:
    """What a question names of a machine, which stands still meanwhile; else an overview.

    `page_table` is an address, `hart` the one whose view counts; `registers` is true; `memory` is
    [address, size]. Raises Refusal.
    """
    with machine.visit():
        vcpu = _hart(machine, question.get("hart", 0))
        if "page_table" in question:
            return page_table(machine, vcpu, _address(machine, question["page_table"]))
        if question.get("registers"):
            return registers(machine, vcpu)
        if "memory" in question:
            return memory(machine, question["memory"])
        return overview(machine)


def overview(machine: Machine) -> Report:
    """Harts, the memory map, and what was counted."""
    counted, off, ram = machine.statistics(), machine.off, machine.ram
    state = str(off) if off is not None else "running" if machine.running else "stopped"
    parts = sorted(machine.board.parts, key=lambda part: part.base)
    numbers = {
        "instructions": counted.instructions,
        "tlb_misses": counted.tlb_misses,
        "console_bytes": machine.console.position,
    }
    data: dict[str, object] = {
        "state": state,
        "harts": [_summary(vcpu) for vcpu in machine.vcpus],
        "devices": [_device(part) for part in parts],
        "ram": {"address": hex(ram.base), "size": ram.size},
        "statistics": numbers,
    }
    lines = [f"machine: {state}", *map(_summary_line, machine.vcpus)]
    for part in parts:
        interrupt = "" if part.interrupt is None else f", interrupt {part.interrupt}"
        compatible = part.device.compatible
        names = compatible if isinstance(compatible, str) else " ".join(compatible)
        lines.append(f"{part.base:#012x} {part.device.size:#12x}  {names}{interrupt}")
    lines.append(f"{ram.base:#012x} {ram.size:#12x}  RAM")
    return Report(data, [*lines, *(f"{name}: {count:,}" for name, count in numbers.items())])


def registers(machine: Machine, vcpu: Vcpu) -> Report:
    """All registers of a hart by name."""
    from auberge.isa.riscv.names import F, X
    from auberge.machine.debug.registers import BY_NAME, read

    values = {name: read(vcpu, machine.ram, name) for name in ("pc", *X, *F, *BY_NAME)}
    lines = [_summary_line(vcpu)]
    cells = [f"{name:>13} {value:#018x}" for name, value in values.items()]
    lines += ["  ".join(cells[n : n + 3]) for n in range(0, len(cells), 3)]
    shown = {name: hex(value) for name, value in values.items()}
    return Report(_summary(vcpu) | {"registers": shown}, lines)


def memory(machine: Machine, where: object) -> Report:
    """Bytes of RAM by physical address."""
    if not isinstance(where, list) or len(where) != 2:
        raise Refusal("memory: not an address and a length; write 0x80000000:64")
    address, size, ram = _address(machine, where[0]), where[1], machine.ram
    if not isinstance(size, int) or not 0 < size <= MOST_BYTES:
        raise Refusal(f"memory: {size} bytes; ask for 1 to {MOST_BYTES}")
    try:
        data = ram.read(address, size)
    except OutOfRange:
        raise Refusal(
            f"memory: {address:#x}:{size} is not all RAM, which is"
            f" {ram.base:#x} to {ram.base + ram.size - 1:#x}; devices cannot be looked at"
        ) from None
    lines = []
    for at in range(0, size, 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{address + at:#012x}  {row.hex(' '):47}  {text}")
    return Report({"address": hex(address), "bytes": data.hex()}, lines)


def page_table(machine: Machine, vcpu: Vcpu, gva: int) -> Report:
    """The walk of an address with its entries, where it leads, who may go there, and the TLB."""
    found = translate(vcpu.hart, machine.ram, vcpu.clock, gva)
    permissions = {
        kind: "allowed" if isinstance(outcome, Allowed) else outcome.name
        for kind, outcome in (("fetch", found.fetch), ("load", found.load), ("store", found.store))
    }
    levels = [
        {
            "level": each.level,
            "address": hex(each.address),
            "entry": f"{each.entry:#018x}",
            "flags": each.flags,
        }
        for each in found.levels
    ]
    data = _summary(vcpu) | {
        "gva": hex(gva),
        "mode": found.mode,
        "levels": levels,
        "gpa": _hex(found.gpa),
        "hva": _hex(found.hva),
        "page_size": found.page_size,
        "fault": None if found.fault is None else found.fault.name,
        **permissions,
        "tlb": [_cached(each, found.hva) for each in found.tlb],
    }
    lines = [_summary_line(vcpu), f"gva {gva:#018x}  {found.mode}"]
    lines += [
        f"  level {each.level}  {each.address:#014x}: {each.entry:#018x}  {each.flags}"
        for each in found.levels
    ]
    if found.gpa is None:
        assert found.fault is not None
        lines.append(f"gpa none: {found.fault.name}")
    else:
        size = "" if found.page_size is None else f"  in a page of {_size(found.page_size)}"
        lines.append(f"gpa {found.gpa:#018x}{size}")
        lines.append("hva none: not RAM" if found.hva is None else f"hva {found.hva:#018x}")
    lines += [f"{kind}: {said}" for kind, said in permissions.items()]
    lines += [_tlb_line(each, found.hva) for each in found.tlb] or ["TLB: nothing of this page"]
    return Report(data, lines)


def _summary(vcpu: Vcpu) -> dict[str, object]:
    return {
        "hart": vcpu.hartid,
        "state": STATES.get(vcpu.status, "suspended"),
        "privilege": MODES[vcpu.hart["priv"]],
        "pc": hex(vcpu.hart["pc"]),
    }


def _summary_line(vcpu: Vcpu) -> str:
    state, mode = STATES.get(vcpu.status, "suspended"), MODES[vcpu.hart["priv"]]
    return f"hart {vcpu.hartid}: {state}, in {mode}, pc {vcpu.hart['pc']:#018x}"


def _device(part: Part) -> dict[str, object]:
    return {
        "name": part.node,
        "address": hex(part.base),
        "size": part.device.size,
        "interrupt": part.interrupt,
        "compatible": part.device.compatible,
    }


def _hart(machine: Machine, number: object) -> Vcpu:
    harts = len(machine.vcpus)
    if not isinstance(number, int) or not 0 <= number < harts:
        raise Refusal(f"hart {number}: there is none; the last is {harts - 1}")
    return machine.vcpus[number]


def _address(machine: Machine, text: object) -> int:
    path = machine.configuration.kernel or machine.configuration.firmware or ""
    return Symbols(path).address(str(text))


def _hex(value: int | None) -> str | None:
    return None if value is None else hex(value)


def _size(size: int) -> str:
    unit = (size.bit_length() - 1) // 10
    return f"{size >> 10 * unit} {('', 'K', 'M', 'G', 'T', 'P')[unit]}iB"


def _stale(entry: Cached, hva: int | None) -> bool:
    """Whether it leads elsewhere than the tables do now: 4.2.1, it may, until a fence."""
    return entry.in_force and entry.hva is not None and entry.hva != hva


def _cached(entry: Cached, hva: int | None) -> dict[str, object]:
    return {
        "access": entry.kind,
        "bank": entry.bank,
        "in_force": entry.in_force,
        "hva": _hex(entry.hva),
        "stale": _stale(entry, hva),
    }


def _tlb_line(entry: Cached, hva: int | None) -> str:
    where = "" if entry.hva is None else f", hva {entry.hva:#x}"
    whose = "in force" if entry.in_force else "of another address space or mode"
    stale = ", stale: the tables have changed since" if _stale(entry, hva) else ""
    return f"TLB: {entry.kind}, bank {entry.bank}, {whose}{where}{stale}"
