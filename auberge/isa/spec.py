"""What an ISA description is made of: state cells, CSRs, and instructions with their encodings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from auberge.bits.bits import MASK, Bits, const, signed

if TYPE_CHECKING:
    from auberge.isa.hart import Hart

ALL = MASK[64]
CATEGORIES = "imafdqlcbkjtpvh"  # of Z extensions, by their second letter, in canonical order


# -- state --------------------------------------------------------------------------------------


class Cell:
    """64 bits of a hart's state, by name.

    `rare`: it changes so seldom that whoever remembers something derived from it (a TLB) forgets
    everything on a change rather than telling its values apart.
    """

    __slots__ = ("name", "rare")
    hi, lo = 63, 0

    def __init__(self, name: str, rare: bool = False) -> None:
        self.name, self.rare = name, rare

    @property
    def cell(self) -> Cell:
        return self

    def __eq__(self, other: object) -> bool:
        return self is other or isinstance(other, Cell) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Cell({self.name!r})"


class Part(NamedTuple):
    """Bits `hi:lo` of a cell."""

    cell: Cell
    hi: int
    lo: int


class Field:
    """A named field of a CSR, declared in the CSR's class: `MPP = Field(12, 11)`."""

    __slots__ = ("hi", "lo")

    def __init__(self, hi: int, lo: int | None = None) -> None:
        self.hi, self.lo = hi, hi if lo is None else lo

    def __get__(self, csr: Csr, owner: type[Csr]) -> Part:
        return Part(csr.cell, self.hi, self.lo)


def _as_it_comes(old: Bits, new: Bits) -> Bits:
    return new


class Csr:
    """A control and status register. `window` and `shift` make it a view of another one's cell.

    Who may use it is in its number (Volume II, 2.1). What a write *causes* (a flush, an interrupt
    check) is not declared: engines derive it from what the page walk and the interrupt check were
    seen to read. A register composed of several cells overrides `value` and `put`.
    """

    hi, lo = 63, 0

    def __init__(
        self,
        name: str,
        number: int,
        writable: int = ALL,
        of: Csr | None = None,
        window: int = ALL,
        shift: int = 0,
        legal: Callable[[Bits, Bits], Bits] = _as_it_comes,
        rare: bool = False,
    ) -> None:
        self.name, self.number, self.window, self.shift, self.legal = (
            name,
            number,
            window,
            shift,
            legal,
        )
        self.writable: int = writable if of is None else window << shift & of.writable
        self.cell: Cell = Cell(name, rare) if of is None else of.cell

    def value(self, h: Hart) -> Bits:
        """What a read of this register gives."""
        return h[self.cell].shr(self.shift) & self.window

    def put(self, h: Hart, new: Bits) -> None:
        """Write `new`; bits that are not writable, or not legal, keep what they hold."""
        old = h[self.cell]
        merged = old & ~self.writable | new << self.shift & self.writable
        h[self.cell] = self.legal(old, merged)


# -- encodings ----------------------------------------------------------------------------------

WIDTHS = {
    "rd": 5, "rs1": 5, "rs2": 5, "rs3": 5, "rd'": 3, "rs1'": 3, "rs2'": 3,
    "rm": 3, "csr": 12, "aq": 1, "rl": 1, "fm": 4, "pred": 4, "succ": 4,
}  # fmt: skip


class Piece(NamedTuple):
    """Bits `hi:lo` of an operand, found from bit `at` of the instruction word upwards."""

    hi: int
    lo: int
    at: int


class Operand:
    """Where an encoding keeps one operand, and how it reads: `signed`, or with `bias` added.

    An immediate (bracketed in the encoding) is 64 bits wide; other operands have their own width.
    """

    __slots__ = ("bias", "excluded", "immediate", "name", "pieces", "signed", "width")

    def __init__(self, token: str, pieces: list[Piece], excluded: frozenset[int]) -> None:
        self.pieces, self.immediate = pieces, token not in WIDTHS
        self.name = token.rstrip("'").removeprefix("nz") if self.immediate else token.rstrip("'")
        self.bias = 8 if token.endswith("'") else 0
        self.signed = self.immediate and self.name in ("imm", "offset")
        self.excluded = excluded | {0} if token.startswith("nz") else excluded
        self.width = 64 if self.immediate else 5 if self.bias else WIDTHS[token]

    @property
    def top(self) -> int:
        """The highest bit that the encoding holds."""
        return max(p.hi for p in self.pieces)

    @property
    def bottom(self) -> int:
        """The lowest bit that the encoding holds; those below are zero."""
        return min(p.lo for p in self.pieces)

    def value(self, word: int) -> int:
        """The operand of a known word, as the unsigned pattern of `width` bits."""
        v = 0
        for hi, lo, at in self.pieces:
            v |= (word >> at & MASK[hi - lo + 1]) << lo
        if self.signed:
            v = signed(v, self.top + 1)
        return v + self.bias & MASK[self.width]

    def read(self, word: Bits) -> Bits:
        """The operand of a word that need not be known."""
        bits = self.top + 1
        v = const(0, bits)
        for hi, lo, at in self.pieces:
            v = v | word[at + hi - lo : at].zext(bits) << lo
        v = v.sext(self.width) if self.signed else v.zext(self.width)
        return v + self.bias if self.bias else v

    def encode(self, value: int) -> int:
        """The bits of the word that hold `value`; raises ValueError if they can't."""
        v, bits = value - self.bias, self.top + 1
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, MASK[bits])
        if not low <= v <= high:
            raise ValueError(
                f"{self.name}: {value} is not in {low + self.bias}..{high + self.bias}"
            )
        if v & MASK[self.bottom]:
            raise ValueError(f"{self.name}: {value} is not a multiple of {1 << self.bottom}")
        word = 0
        for hi, lo, at in self.pieces:
            word |= (v >> lo & MASK[hi - lo + 1]) << at
        if self.value(word) != value & MASK[self.width]:
            raise ValueError(f"{self.name}: {value} cannot be encoded")
        if self.value(word) in self.excluded:
            raise ValueError(f"{self.name}: {value} is reserved here")
        return word


class Encoding:
    """A word's fixed bits and its operands, parsed from the manual's notation.

    `"imm[11:5] rs2 rs1 011 imm[4:0] 0100011"`: most significant first; brackets say which bits of
    the operand stand here; `rd!={0,2}` excludes values, an `nz` prefix excludes zero, `_:5` is
    don't-care. Raises ValueError for a malformed one: that is an author's error.
    """

    __slots__ = ("length", "mask", "match", "operands", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        at, self.match, self.mask = 0, 0, 0
        pieces: dict[str, list[Piece]] = {}
        excluded: dict[str, frozenset[int]] = {}
        for part in reversed(text.split()):
            if not part.strip("01"):
                self.match |= int(part, 2) << at
                self.mask |= MASK[len(part)] << at
                at += len(part)
            elif part.startswith("_:"):
                at += int(part[2:])
            else:
                at = self._operand(part, at, pieces, excluded)
        if at not in (16, 32):
            raise ValueError(f"encoding has {at} bits, not 16 or 32: {text!r}")
        self.length = at // 8
        operands = [Operand(n, p, excluded.get(n, frozenset())) for n, p in pieces.items()]
        self.operands = {o.name: o for o in reversed(operands)}

    @staticmethod
    def _operand(
        part: str, at: int, pieces: dict[str, list[Piece]], excluded: dict[str, frozenset[int]]
    ) -> int:
        token, _, banned = part.partition("!=")
        if banned:
            values = banned.strip("{}").split(",")
            token_name = token.partition("[")[0]
            excluded[token_name] = frozenset(int(v) for v in values)
        name, bracket, ranges = token.partition("[")
        if not bracket:
            if name not in WIDTHS:
                raise ValueError(
                    f"{name!r} is not the name of a field; give its bits: {name}[hi:lo]"
                )
            pieces.setdefault(name, []).append(Piece(WIDTHS[name] - 1, 0, at))
            return at + WIDTHS[name]
        for each in reversed(ranges.rstrip("]").split("|")):
            hi, _, lo = each.partition(":")
            piece = Piece(int(hi), int(lo or hi), at)
            pieces.setdefault(name, []).append(piece)
            at += piece.hi - piece.lo + 1
        return at

    def matches(self, word: int) -> bool:
        """Whether `word` is of this encoding, its reserved values left out."""
        if word & self.mask != self.match:
            return False
        return not any(o.excluded and o.value(word) in o.excluded for o in self.operands.values())

    def overlaps(self, other: Encoding) -> bool:
        """Whether some word is of both."""
        if (self.match ^ other.match) & self.mask & other.mask:
            return False
        return not (self._shut_out(other) or other._shut_out(self))

    def _shut_out(self, other: Encoding) -> bool:
        """Whether `other`'s fixed bits force one of my operands to a value that I exclude."""
        for o in self.operands.values():
            if not o.excluded:
                continue
            where = sum(MASK[hi - lo + 1] << at for hi, lo, at in o.pieces)
            if other.mask & where == where and o.value(other.match) in o.excluded:
                return True
        return False

    def encode(self, values: dict[str, int]) -> int:
        """The word with these operands; raises ValueError if one is missing or does not fit."""
        word = self.match
        for name, operand in self.operands.items():
            if name not in values:
                raise ValueError(f"operand {name} is missing")
            word |= operand.encode(values[name])
        return word


# -- instructions -------------------------------------------------------------------------------


class Insn:
    """An instruction: its full encoding, its assembly syntax, and what it does to a hart.

    `execute(h, **operands)` is the one text that every engine reads.
    """

    __slots__ = ("encoding", "execute", "extension", "name", "syntax")

    def __init__(
        self, extension: str, encoding: str, syntax: str, execute: Callable[..., None]
    ) -> None:
        self.extension, self.syntax, self.execute = extension, syntax, execute
        self.encoding = Encoding(encoding)
        self.name = syntax.partition(" ")[0]

    def encode(self, **values: int) -> int:
        """The word with these operands; raises ValueError if one is missing or does not fit."""
        return self.encoding.encode(values)

    def __repr__(self) -> str:
        return f"Insn({self.name})"


class Form:
    """One encoding of an instruction: its own, or a compressed one that stands for it.

    `sources` says for each operand of `insn` where this encoding has it: an `Operand`, or, where
    the expansion fixes it, an int.
    """

    __slots__ = ("encoding", "expansion", "extension", "insn", "name", "sources", "syntax")

    def __init__(
        self,
        insn: Insn,
        extension: str,
        encoding: Encoding,
        syntax: str,
        sources: dict[str, Operand | int],
        expansion: str = "",
    ) -> None:
        self.insn, self.extension, self.encoding, self.syntax = insn, extension, encoding, syntax
        self.sources, self.expansion = sources, expansion
        self.name = syntax.partition(" ")[0]

    @property
    def length(self) -> int:
        """2 or 4 bytes."""
        return self.encoding.length

    def values(self, word: int) -> dict[str, int]:
        """What the operands of `insn` are in `word`, as unsigned patterns of their widths."""
        return {
            name: source if isinstance(source, int) else source.value(word)
            for name, source in self.sources.items()
        }

    def read(self, word: Bits) -> dict[str, Bits]:
        """The same of a word that need not be known."""
        own = self.insn.encoding.operands
        return {
            name: const(source, own[name].width) if isinstance(source, int) else source.read(word)
            for name, source in self.sources.items()
        }

    def __repr__(self) -> str:
        return f"Form({self.name})"


def slots(syntax: str) -> Iterator[tuple[str, str, str]]:
    """The operands of a syntax in order: (text before it, its name, its kind as in `{rd:f}`)."""
    rest = syntax
    while True:
        before, brace, rest = rest.partition("{")
        if not brace:
            if before:
                yield before, "", ""
            return
        inner, _, rest = rest.partition("}")
        name, _, kind = inner.partition(":")
        yield before, name, kind


def _expand(full: Insn, text: str, own: dict[str, Operand]) -> dict[str, Operand | int]:
    """Match an expansion, written as assembly of `full`, against its syntax."""
    sources: dict[str, Operand | int] = {}
    rest, template = text, list(slots(full.syntax))
    for n, (before, name, _) in enumerate(template):
        if not rest.startswith(before):
            raise ValueError(f"{text!r} is not of the form {full.syntax!r}")
        rest = rest[len(before) :]
        if not name:
            break
        following = template[n + 1][0] if n + 1 < len(template) else ""
        got, _, _ = rest.partition(following) if following else (rest, "", "")
        rest = rest[len(got) :]
        if got.startswith("{"):
            sources[name] = own[got.strip("{}").partition(":")[0]]
        elif got[:1] in "xf" and got[1:].isdigit():
            sources[name] = int(got[1:])
        else:
            sources[name] = int(got, 0) & MASK[full.encoding.operands[name].width]
    if rest or set(sources) != set(full.encoding.operands):
        raise ValueError(f"{text!r} is not of the form {full.syntax!r}")
    return sources


class Alias(NamedTuple):
    """A pseudo-instruction: what one writes, and what it stands for."""

    syntax: str
    expansion: str


class Extension:
    """A chapter of the manual; its methods declare what belongs to it."""

    def __init__(self, isa: Isa, name: str, version: str, title: str) -> None:
        self.isa, self.name, self.version, self.title = isa, name, version, title

    def insn(
        self, encoding: str, syntax: str
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Declare an instruction; raises ValueError if a word of it is another's already."""

        def declare(execute: Callable[..., None]) -> Callable[..., None]:
            new = Insn(self.name, encoding, syntax, execute)
            sources: dict[str, Operand | int] = dict(new.encoding.operands)
            self.isa.add(new, Form(new, self.name, new.encoding, syntax, sources))
            return execute

        return declare

    def compressed(self, encoding: str, syntax: str, expansion: str) -> None:
        """Declare a 16-bit form of an instruction, with its full form written as assembly."""
        own = Encoding(encoding)
        full = self.isa.insns[expansion.partition(" ")[0]]
        sources = _expand(full, expansion, own.operands)
        self.isa.add(full, Form(full, self.name, own, syntax, sources, expansion))

    def alias(self, syntax: str, expansion: str) -> None:
        """Declare a pseudo-instruction for the assembler."""
        self.isa.aliases.append(Alias(syntax, expansion))


class Isa:
    """A description: extensions, their instructions, the CSRs, and the routines texts share."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.extensions: list[Extension] = []
        self.insns: dict[str, Insn] = {}
        self.forms: list[Form] = []
        self.aliases: list[Alias] = []
        self.csrs: dict[int, Csr] = {}
        self.routines: dict[str, Callable[..., None]] = {}
        self._near: dict[tuple[int, int], list[Form]] = {}
        self._decoded: dict[int, Form | None] = {}

    def extension(self, name: str, version: str, title: str) -> Extension:
        """Open a chapter: what its methods declare belongs to it."""
        self.extensions.append(Extension(self, name, version, title))
        return self.extensions[-1]

    def add(self, insn: Insn, form: Form) -> None:
        """Take in an encoding; raises ValueError where it overlaps another."""
        for key in self._keys(form.encoding):
            near = self._near.setdefault(key, [])
            for old in near:
                if old.encoding.overlaps(form.encoding):
                    raise ValueError(f"{self.name}: {form.name} overlaps {old.name}")
            near.append(form)
        self.insns[insn.name] = insn
        self.forms.append(form)
        self._decoded.clear()

    @staticmethod
    def _keys(encoding: Encoding) -> list[tuple[int, int]]:
        """Where to look for a word of this encoding: by its opcode and 3-bit function."""
        shift = 12 if encoding.length == 4 else 13
        opcode = encoding.match & (0x7F if encoding.length == 4 else 3)
        fixed = encoding.mask >> shift & 7
        return [
            (opcode, funct) for funct in range(8) if (funct ^ encoding.match >> shift) & fixed == 0
        ]

    def routine(self, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Declare a text that others `h.call` by name; it may end in `h.answer` or a trap."""

        def declare(text: Callable[..., None]) -> Callable[..., None]:
            if name in self.routines:
                raise ValueError(f"{self.name}: two routines are called {name}")
            self.routines[name] = text
            return text

        return declare

    def decode(self, word: int) -> Form | None:
        """The form of `word` (its low 16 bits, if they say it is compressed); None if reserved."""
        if word & 3 != 3:
            word &= 0xFFFF
            key = word & 3, word >> 13
        else:
            key = word & 0x7F, word >> 12 & 7
        if word not in self._decoded:
            if len(self._decoded) > 65536:
                self._decoded.clear()
            near = self._near.get(key, ())
            found = next((f for f in near if f.encoding.matches(word)), None)
            self._decoded[word] = found
        return self._decoded[word]

    def candidates(self) -> dict[tuple[int, int], list[Form]]:
        """Every form by where `decode` looks for it: (opcode, 3-bit function)."""
        return self._near

    def isa_string(self) -> str:
        """The extensions as the device tree and `-march` write them: `rv64imafdc_zicsr_...`.

        Volume I, "ISA Extension Naming Conventions": single letters, then Z by category and name,
        then S by name. Two letters are the name of a privilege level, which the string leaves out.
        """
        names = [e.name.lower() for e in self.extensions]
        single = "".join(n for n in names if len(n) == 1)
        z = sorted((CATEGORIES.index(n[1]), n) for n in names if n[0] == "z")
        s = sorted(n for n in names if n[0] == "s" and len(n) > 2)
        return "_".join([self.name + single, *(n for _, n in z), *s])

    def __getitem__(self, name: str) -> Insn:
        return self.insns[name]
