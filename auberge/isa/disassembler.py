"""Instruction words to text, in the style of binutils: `addi a0,a1,-4`, targets absolute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auberge.bits.bits import signed
from auberge.isa.riscv.names import ENDINGS, HIDDEN, X
from auberge.isa.spec import Form, Isa, slots
from auberge.isa.syntax import fill, fit, show, split_operands, usual_rounding


class Line(NamedTuple):
    """One instruction of a listing; `word` has `length` bytes."""

    address: int
    length: int
    word: int
    text: str


def disassemble(
    isa: Isa, word: int, pc: int = 0, aliases: bool = False, numeric: bool = False
) -> str:
    """What assembles to `word` at `pc`; data (`.word 0x...`) where no instruction does.

    With `aliases`, pseudo-instructions (`ret`, `mv`); with `numeric`, registers as x10 and f10. A
    word that executes, but whose ignored bits are not zero as the assembler makes them, is data.
    """
    form = isa.decode(word)
    compressed = word & 3 != 3
    word &= 0xFFFF if compressed else 0xFFFFFFFF
    data = f".half {word:#06x}" if compressed else f".word {word:#010x}"
    if form is None:
        return data
    mnemonic, operands = _parts(isa, form, word, pc, numeric)
    if mnemonic == "":
        return data
    if aliases:
        mnemonic, operands = _alias(isa, mnemonic, operands)
    if operands and operands[-1] == usual_rounding(form.syntax.rpartition(" ")[2]):
        operands = operands[:-1]
    return f"{mnemonic} {','.join(operands)}".rstrip()


def _parts(isa: Isa, form: Form, word: int, pc: int, numeric: bool) -> tuple[str, list[str]]:
    """The mnemonic and the operands; the mnemonic is empty where no text means `word`."""
    own = form.encoding.operands
    values = {name: operand.value(word) for name, operand in own.items()}
    hidden = {name: value for name, value in values.items() if name in HIDDEN}
    ending = next((ending for ending, fixed in ENDINGS if fixed == hidden), None)
    texts: dict[str, str] = {}
    for _, name, kind in slots(form.syntax):
        if name:
            text = show(isa, own[name], kind, word, pc, numeric)
            if text is None:
                return "", []
            texts[name] = text
    if ending is None or form.encoding.encode(_signed(form, values)) != word:
        return "", []
    mnemonic, _, rest = form.syntax.partition(" ")
    templates = split_operands(rest if numeric else rest.replace("x2", X[2]))
    return mnemonic + ending, [fill(template, texts) for template in templates]


def _signed(form: Form, values: dict[str, int]) -> dict[str, int]:
    """Operand patterns as the numbers that `encode` takes."""
    own = form.encoding.operands
    return {n: signed(v, own[n].width) if own[n].signed else v for n, v in values.items()}


def _alias(isa: Isa, mnemonic: str, operands: list[str]) -> tuple[str, list[str]]:
    """The pseudo-instruction with the fewest operands that stands for this, or this itself."""
    best = mnemonic, operands
    for alias in isa.aliases:
        name, _, rest = alias.expansion.partition(" ")
        holes = fit(split_operands(rest), operands) if name == mnemonic else None
        if holes is not None:
            texts = {hole_name: hole.text for hole_name, hole in holes.items()}
            short, _, own = alias.syntax.partition(" ")
            candidate = short, split_operands(fill(own, texts))
            if len(candidate[1]) < len(best[1]):
                best = candidate
    return best


def lines(
    isa: Isa, data: bytes, origin: int = 0, aliases: bool = False, numeric: bool = False
) -> Iterator[Line]:
    """The listing of `data` at address `origin`; a last odd byte, or half a word, is data."""
    at = 0
    while at < len(data):
        left, address = len(data) - at, origin + at
        half = int.from_bytes(data[at : at + 2], "little")
        length = min(left, 2 if half & 3 != 3 else 4)
        word = int.from_bytes(data[at : at + length], "little")
        if length in (1, 3) or (length == 2 and half & 3 == 3):
            length = 2 if length == 3 else length
            word = int.from_bytes(data[at : at + length], "little")
            text = f".byte {word:#04x}" if length == 1 else f".half {word:#06x}"
        else:
            text = disassemble(isa, word, address, aliases, numeric)
        yield Line(address, length, word, text)
        at += length
