"""Assembly text to bytes, for any described instruction set: two passes, no linker, no relaxation.

Syntax and pseudo-instructions as in The RISC-V Assembly Programmer's Manual. Sections are ignored:
everything lands in one image in the order written, and a number that stands for a branch target is
an absolute address. An instruction is compressed where the text says `c.`, nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from auberge.bits.bits import MASK, signed
from auberge.isa.expression import (
    Expression,
    Malformed,
    Unknown,
    high,
    is_local,
    is_symbol,
    low,
    unescape,
)
from auberge.isa.spec import Isa, slots
from auberge.isa.syntax import Shape, fill, fit, parse, shapes, split_operands
from auberge.refusal import Refusal

LARGEST = 1 << 28
DATA = {
    ".byte": 1, ".half": 2, ".2byte": 2, ".short": 2, ".word": 4, ".4byte": 4, ".long": 4,
    ".dword": 8, ".8byte": 8, ".quad": 8,
}  # fmt: skip
IGNORED = frozenset(
    ".global .globl .local .weak .section .text .data .rodata .bss .option .type .size .file "
    ".attribute .ident".split()
)
FAR_JUMPS = {"call": ("ra", "ra"), "tail": ("t1", "zero")}


class Assembly(NamedTuple):
    """What a text assembles to: bytes from `origin` upwards, and its labels and constants."""

    code: bytes
    origin: int
    symbols: dict[str, int]


class Item(NamedTuple):
    """Bytes of known address and size whose value may need symbols that come later."""

    line: int
    address: int
    size: int
    emit: Callable[[], bytes]


def assemble(isa: Isa, text: str, origin: int = 0, symbols: dict[str, int] | None = None) -> bytes:
    """The bytes of `text` at address `origin`; raises Refusal, naming the line, for an error."""
    return assembly(isa, text, origin, symbols).code


def assembly(
    isa: Isa, text: str, origin: int = 0, symbols: dict[str, int] | None = None, name: str = ""
) -> Assembly:
    """The same with the symbols; `name` is the file's, for messages."""
    return Assembler(isa, origin, symbols or {}, name).run(text)


class Assembler:
    """One run: the first pass gives every statement its place, the second every byte its value."""

    def __init__(self, isa: Isa, origin: int, symbols: dict[str, int], name: str) -> None:
        self.isa, self.origin, self.here, self.name = isa, origin, origin, name
        self.symbols = dict(symbols)
        self.later: dict[str, Callable[[], int]] = {}  # constants that need labels further down
        self.locals: dict[str, list[tuple[int, int]]] = {}  # number: (items before it, address)
        self.items: list[Item] = []
        self.after_code = False
        self.targets: dict[int, int] = {}  # of the %pcrel_hi at an address: its distance
        self.known: dict[str, list[Shape]] = {}
        self.line = 0

    def run(self, text: str) -> Assembly:
        """Assemble all of `text`."""
        code = bytearray()
        try:
            for self.line, statement in statements(text):
                self._statement(statement)
                if self.here - self.origin > LARGEST:
                    raise Malformed(f"the image grows over {LARGEST >> 20} MiB")
            for item in self.items:
                self.line = item.line
                code += item.emit()
            for name in self.later:
                self.symbols[name] = self.later[name]()
        except Unknown as error:
            raise self._refusal(f"symbol {error} is not defined; define it or correct it") from None
        except (Malformed, ValueError) as error:
            raise self._refusal(str(error)) from None
        except RecursionError:
            raise self._refusal("a constant is defined by itself") from None
        return Assembly(bytes(code), self.origin, self.symbols)

    def _refusal(self, what: str) -> Refusal:
        where = f"{self.name}:{self.line}" if self.name else f"line {self.line}"
        return Refusal(f"{where}: {what}")

    def _shapes(self, mnemonic: str) -> list[Shape]:
        if mnemonic not in self.known:
            self.known[mnemonic] = shapes(self.isa, mnemonic)
        return self.known[mnemonic]

    # -- symbols and expressions ----------------------------------------------------------------
    def _evaluate(self, text: str, here: int, order: int) -> int:
        """The value of an expression in the statement at `here`, `order` items from the start."""

        def lookup(symbol: str) -> int:
            if symbol == ".":
                return here
            if is_local(symbol):
                return self._local(symbol, order)
            if symbol in self.symbols:
                return self.symbols[symbol]
            if symbol in self.later:
                return self.later[symbol]()
            raise Unknown(symbol)

        def pcrel_hi(target: int) -> int:
            self.targets[here] = target - here
            return high(target - here)

        def pcrel_lo(address: int) -> int:
            if address not in self.targets:
                raise Malformed(f"%pcrel_lo needs the label of a %pcrel_hi before it; {text!r}")
            return low(self.targets[address])

        functions = {"%hi": high, "%lo": low, "%pcrel_hi": pcrel_hi, "%pcrel_lo": pcrel_lo}
        return Expression(text, lookup, functions).value()

    def _local(self, symbol: str, order: int) -> int:
        places = self.locals.get(symbol[:-1], [])
        if symbol[-1] == "b":
            found = [address for at, address in places if at <= order][-1:]
        else:
            found = [address for at, address in places if at > order][:1]
        if not found:
            raise Unknown(symbol)
        return found[0]

    def _now(self, text: str) -> int:
        """A value that decides a size: it must be known where it is used."""
        try:
            return self._evaluate(text, self.here, len(self.items))
        except Unknown as error:
            raise Malformed(f"{error} must be defined before it is used here") from None

    def _define(self, name: str, text: str) -> None:
        if not is_symbol(name):
            raise Malformed(f"{name!r} is not a name for a symbol")
        if name in self.symbols or name in self.later:
            raise Malformed(f"symbol {name} is defined twice; rename one")
        here, order = self.here, len(self.items)
        try:
            self.symbols[name] = self._evaluate(text, here, order)
        except Unknown:
            self.later[name] = lambda: self._evaluate(text, here, order)

    # -- first pass -----------------------------------------------------------------------------
    def _statement(self, text: str) -> None:
        label, colon, rest = text.partition(":")
        while colon and (label.strip().isdigit() or is_symbol(label.strip())):
            self._label(label.strip())
            text = rest.strip()
            label, colon, rest = text.partition(":")
        if not text:
            return
        name, equals, value = text.partition("=")
        if equals and is_symbol(name.strip()):
            self._define(name.strip(), value)
            return
        word, *rest_of = text.split(None, 1)
        operands = split_operands(rest_of[0] if rest_of else "")
        if word.startswith("."):
            self._directive(word, operands)
        else:
            self._instruction(word, operands)

    def _label(self, name: str) -> None:
        if name.isdigit():
            self.locals.setdefault(name, []).append((len(self.items), self.here))
        elif name in self.symbols or name in self.later:
            raise Malformed(f"symbol {name} is defined twice; rename one")
        else:
            self.symbols[name] = self.here

    def _place(self, size: int, emit: Callable[[], bytes], code: bool = False) -> None:
        self.items.append(Item(self.line, self.here, size, emit))
        self.here += size
        self.after_code = code

    def _directive(self, word: str, operands: list[str]) -> None:
        if word in IGNORED or word.startswith(".cfi_"):
            return
        if word in DATA:
            self._data(DATA[word], operands)
        elif word in (".equ", ".set") and len(operands) == 2:
            self._define(operands[0], operands[1])
        elif word in (".align", ".p2align") and operands:
            exponent = self._now(operands[0])
            if not 0 <= exponent < 28:
                raise Malformed(f"alignment 2**{exponent} is not in 2**0..2**27")
            self._align(1 << exponent)
        elif word == ".balign" and operands:
            self._align(self._now(operands[0]))
        elif word == ".org" and len(operands) == 1:
            self._pad(self._now(operands[0]) - self.here)
        elif word in (".zero", ".skip", ".space") and len(operands) in (1, 2):
            fill_byte = self._now(operands[1]) & 0xFF if len(operands) == 2 else 0
            self._pad(self._now(operands[0]), bytes([fill_byte]))
        elif word in (".ascii", ".asciz", ".string") and operands:
            for operand in operands:
                self._string(operand, b"" if word == ".ascii" else b"\0")
        else:
            raise Malformed(f"{word} with {len(operands)} operands is not a directive known here")

    def _data(self, size: int, operands: list[str]) -> None:
        here, order = self.here, len(self.items)

        def emit() -> bytes:
            values = [self._evaluate(operand, here, order) for operand in operands]
            for value in values:
                if not -(1 << 8 * size - 1) <= value <= MASK[8 * size]:
                    raise Malformed(f"{value:#x} does not fit into {size} bytes")
            return b"".join((v & MASK[8 * size]).to_bytes(size, "little") for v in values)

        self._place(size * len(operands), emit)

    def _string(self, operand: str, end: bytes) -> None:
        if len(operand) < 2 or operand[0] != '"' or operand[-1] != '"':
            raise Malformed(f'{operand} is not a string; write "..."')
        content = unescape(operand[1:-1]) + end
        self._place(len(content), lambda: content)

    def _align(self, size: int) -> None:
        """Pad with instructions that do nothing where execution may fall into the padding."""
        if not 1 <= size <= LARGEST:
            raise Malformed(f"alignment {size} is not in 1..{LARGEST}")
        gap = -self.here % size
        if self.after_code and gap % 2 == 0:
            nops = (self._encode("c.nop", [], 0, 0) if gap % 4 else b"") + b"".join(
                self._encode("nop", [], 0, 0) for _ in range(gap // 4)
            )
            self._place(gap, lambda: nops, code=True)
        else:
            self._pad(gap)

    def _pad(self, size: int, fill_byte: bytes = b"\0") -> None:
        if not 0 <= size <= LARGEST:
            raise Malformed(f"cannot move {size} bytes on; 0..{LARGEST} are possible")
        self._place(size, lambda: fill_byte * size)

    def _instruction(self, mnemonic: str, operands: list[str]) -> None:
        here, order = self.here, len(self.items)
        if mnemonic == "li" and len(operands) == 2:
            lines = list(load_immediate(operands[0], self._now(operands[1])))
        elif mnemonic in ("la", "lla") and len(operands) == 2:
            self._far(operands[0], operands[1], "addi", f"{operands[0]}, {operands[0]}, {{imm}}")
            return
        elif mnemonic in FAR_JUMPS and len(operands) in (1, 2):
            link, returns = FAR_JUMPS[mnemonic]
            if len(operands) == 2:
                link, returns = operands[0], operands[0] if mnemonic == "call" else returns
            self._far(link, operands[-1], "jalr", f"{returns}, {{imm}}({link})")
            return
        elif (access := self._global(mnemonic, operands)) is not None:
            self._far(access[0], operands[1], mnemonic, f"{operands[0]}, {{imm}}({access[0]})")
            return
        else:
            lines = [(mnemonic, operands)]
        size = sum(2 if name.startswith("c.") else 4 for name, _ in lines)

        def emit() -> bytes:
            return b"".join(
                self._encode(name, own, here + 4 * n, order) for n, (name, own) in enumerate(lines)
            )

        self._place(size, emit, code=True)

    def _global(self, mnemonic: str, operands: list[str]) -> list[str] | None:
        """For `lw rd, symbol` and `sw rs2, symbol, rt`: the register that will hold the address."""
        for shape in self._shapes(mnemonic):
            if mnemonic == "jalr" or shape.templates[1:] != ["{imm}({rs1})"]:
                continue
            if len(operands) == 3:
                return operands[2:]
            is_load = shape.templates[0] == "{rd}"
            if is_load and len(operands) == 2 and fit(shape.templates, operands) is None:
                return operands[:1]
        return None

    def _far(self, register: str, target: str, mnemonic: str, template: str) -> None:
        """auipc into `register`, and an instruction with the low 12 bits of the distance."""
        here, order = self.here, len(self.items)

        def emit() -> bytes:
            distance = self._evaluate(target, here, order) - here
            if not -0x80000800 <= distance < 0x7FFFF800:
                raise Malformed(f"{target} is {distance:#x} bytes away; 2 GiB is the reach")
            second = split_operands(fill(template, {"imm": str(low(distance))}))
            upper = self._encode("auipc", [register, hex(high(distance))], here, order)
            return upper + self._encode(mnemonic, second, here + 4, order)

        self._place(8, emit, code=True)

    # -- second pass ----------------------------------------------------------------------------
    def _encode(self, mnemonic: str, operands: list[str], pc: int, order: int) -> bytes:
        """The bytes of one instruction."""
        known = self._shapes(mnemonic)
        if not known:
            raise Malformed(f"{mnemonic} is not an instruction known here")
        complaint = ""
        for shape in known:
            holes = fit(shape.templates, operands)
            if holes is None:
                continue
            if shape.form is None:
                texts = {name: hole.text for name, hole in holes.items()}
                name, _, rest = fill(shape.expansion, texts).partition(" ")
                return self._encode(name, split_operands(rest), pc, order)
            own = shape.form.encoding.operands
            try:
                values = shape.fixed | {
                    name: parse(
                        self.isa, own[name], hole, pc, lambda t: self._evaluate(t, pc, order)
                    )
                    for name, hole in holes.items()
                }
                word = shape.form.encoding.encode(values)
            except ValueError as error:
                complaint = complaint or f"{mnemonic}: {error}"
                continue
            return word.to_bytes(shape.form.length, "little")
        raise Malformed(complaint or misfit(mnemonic, operands, known))


def misfit(mnemonic: str, operands: list[str], known: list[Shape]) -> str:
    """The message for operands that no way of writing the mnemonic has."""
    ways = " or ".join(fill(s.syntax, {n: n for _, n, _ in slots(s.syntax)}) for s in known[:3])
    return f"{mnemonic} does not take {', '.join(operands) or 'nothing'}; write {ways}"


def load_immediate(rd: str, value: int) -> Iterator[tuple[str, list[str]]]:
    """`li`: the instructions that give `rd` any 64-bit constant, one to eight of them."""
    if not -(1 << 63) <= value <= MASK[64]:
        raise Malformed(f"{value:#x} does not fit into 64 bits")
    value = signed(value & MASK[64], 64)
    if -(1 << 31) <= value < 1 << 31:
        upper, rest = high(value), low(value)
        if upper:
            yield "lui", [rd, hex(upper)]
        if rest or not upper:
            yield "addiw" if upper else "addi", [rd, rd if upper else "zero", str(rest)]
        return
    rest = low(value)
    upper = value - rest >> 12
    shift = 12
    while upper & 1 == 0:
        upper, shift = upper >> 1, shift + 1
    yield from load_immediate(rd, signed(upper & MASK[64 - shift], 64 - shift))
    yield "slli", [rd, rd, str(shift)]
    if rest:
        yield "addi", [rd, rd, str(rest)]


def statements(text: str) -> Iterator[tuple[int, str]]:
    """(line number, statement) without comments; a line holds several where `;` separates them."""
    for number, line in enumerate(text.splitlines(), 1):
        start, quote, i = 0, "", 0
        while i < len(line):
            char = line[i]
            if quote:
                i += char == "\\"
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            elif char == "#" or line.startswith("//", i):
                break
            elif char == ";":
                yield number, line[start:i].strip()
                start = i + 1
            i += 1
        yield number, line[start:i].strip()
