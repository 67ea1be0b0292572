"""Assembly syntax as a relation: which text fits `"{imm}({rs1})"`, how an operand is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from auberge.bits.bits import MASK, signed
from auberge.isa.riscv.names import (
    ENDINGS,
    F_NUMBERS,
    FENCE_SETS,
    HIDDEN,
    ROUNDING_MODES,
    X_NUMBERS,
    F,
    X,
)
from auberge.isa.spec import Form, Isa, Operand, slots

X_OPERANDS = frozenset(("rd", "rs1", "rs2", "rs3"))
UPPER = 12
"""An immediate whose lowest bit is this one (lui, auipc) is written without the bits below."""


class Hole(NamedTuple):
    """The text that stands where a syntax has `{name:kind}`."""

    kind: str
    text: str


class Shape(NamedTuple):
    """One way to write a mnemonic: the operands' templates, and what that encodes.

    `form` with `fixed` operands, or, for a pseudo-instruction, `expansion`.
    """

    syntax: str
    templates: list[str]
    form: Form | None
    fixed: dict[str, int]
    expansion: str


def split_operands(text: str) -> list[str]:
    """The comma-separated operands of `text`; commas in parentheses and quotes don't separate."""
    if not text.strip():
        return []
    parts, depth, quote, start, skip = [], 0, "", 0, False
    for i, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]


def shapes(isa: Isa, mnemonic: str) -> list[Shape]:
    """Every way to write `mnemonic`, as an instruction first; it may have an ending (`.aqrl`)."""
    found: list[Shape] = []
    for form in isa.forms:
        if mnemonic.startswith(form.name):
            hidden = form.encoding.operands.keys() & HIDDEN
            for ending, values in ENDINGS:
                if form.name + ending == mnemonic and values.keys() == hidden:
                    found.append(Shape(form.syntax, _templates(form.syntax), form, values, ""))
    for syntax, expansion in isa.aliases:
        if syntax.partition(" ")[0] == mnemonic:
            found.append(Shape(syntax, _templates(syntax), None, {}, expansion))
    return found


def _templates(syntax: str) -> list[str]:
    return split_operands(syntax.partition(" ")[2])


def fit(templates: list[str], sources: list[str]) -> dict[str, Hole] | None:
    """What stands in the holes of `templates`; None where the sources are not of their form.

    A last `{rm}` may be left out: it is `dyn` then, or what its kind says.
    """
    if len(templates) == len(sources) + 1 and (rm := usual_rounding(templates[-1])):
        sources = [*sources, rm]
    if len(templates) != len(sources):
        return None
    holes: dict[str, Hole] = {}
    fits = all(_fit(t, s, holes) for t, s in zip(templates, sources, strict=True))
    return holes if fits else None


def usual_rounding(template: str) -> str:
    """The mode that goes without saying where a rounding mode stands: `{rm}`, `{rm:rne}`."""
    name, _, kind = template.strip("{}").partition(":")
    return (kind or "dyn") if name == "rm" else ""


def _fit(template: str, source: str, holes: dict[str, Hole]) -> bool:
    if template.endswith(")"):
        outer, inner = _parenthesis(template)
        if not source.endswith(")"):
            return False
        source_outer, source_inner = _parenthesis(source)
        if not _fit(inner, source_inner, holes):
            return False
        return _fit(outer, source_outer or "0", holes) if outer else source_outer in ("", "0")
    if not template.startswith("{"):
        return _canonical(template) == _canonical(source)
    name, _, kind = template.strip("{}").partition(":")
    if kind == "f":
        fits = source in F_NUMBERS
    elif name in X_OPERANDS:
        fits = source in X_NUMBERS
    else:
        fits = source not in X_NUMBERS and source not in F_NUMBERS and source != ""
    seen = holes.setdefault(name, Hole(kind, source))
    return fits and _canonical(seen.text) == _canonical(source)


def _parenthesis(text: str) -> tuple[str, str]:
    """`"8(sp)"` as ("8", "sp"): what the last parenthesis holds, and what comes before it."""
    depth = 0
    for i in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[i], 0)
        if depth == 0:
            return text[:i].strip(), text[i + 1 : -1].strip()
    return text, ""


def _canonical(text: str) -> str:
    """One spelling of a register or a number."""
    if text in X_NUMBERS:
        return X[X_NUMBERS[text]]
    try:
        return str(int(text, 0))
    except ValueError:
        return text


def fill(template: str, texts: dict[str, str]) -> str:
    """`template` with its holes filled."""
    return "".join(before + texts.get(name, "") for before, name, _ in slots(template))


def parse(isa: Isa, operand: Operand, hole: Hole, pc: int, evaluate: Callable[[str], int]) -> int:
    """The value that `hole` gives an operand; raises ValueError if it is none."""
    name, text = operand.name, hole.text
    if hole.kind == "f":
        return F_NUMBERS[text]
    if name in X_OPERANDS:
        return X_NUMBERS[text]
    if name == "rm":
        if text not in ROUNDING_MODES:
            modes = ", ".join(ROUNDING_MODES)
            raise ValueError(f"{text!r} is not a rounding mode; write one of {modes}")
        return ROUNDING_MODES[text]
    if name in ("pred", "succ") and text in FENCE_SETS:
        return FENCE_SETS.index(text)
    if name == "csr":
        found = next((c.number for c in isa.csrs.values() if c.name == text), None)
        return evaluate(text) if found is None else found
    value = evaluate(text)
    if name == "offset":
        return signed(value - pc & MASK[64], 64)
    if operand.immediate and operand.bottom == UPPER:
        if not -0x80000 <= value <= 0xFFFFF:
            raise ValueError(f"{name}: {value} is not in 0..0xfffff")
        return signed(value & 0xFFFFF, 20) << UPPER
    return value - (1 << 64) if operand.signed and value >> 63 == 1 else value


def show(isa: Isa, operand: Operand, kind: str, word: int, pc: int, numeric: bool) -> str | None:
    """How the operand of `word` is written; None if nothing that one can write means it."""
    value, name = operand.value(word), operand.name
    if kind == "f":
        return f"f{value}" if numeric else F[value]
    if name in X_OPERANDS:
        return f"x{value}" if numeric else X[value]
    if name == "rm":
        return next((mode for mode, number in ROUNDING_MODES.items() if number == value), None)
    if name in ("pred", "succ"):
        return FENCE_SETS[value]
    if name == "csr":
        return isa.csrs[value].name if value in isa.csrs else hex(value)
    if name == "offset":
        return hex(pc + value & MASK[64])
    if operand.immediate and operand.bottom == UPPER:
        return hex(value >> UPPER & 0xFFFFF)
    return hex(value) if name == "shamt" else str(signed(value, 64))
