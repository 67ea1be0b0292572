"""The instruction set as a page of the docs: `python -m auberge.isa.manual > docs/isa.md`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator

from auberge.isa.spec import Extension, Isa, slots

INTRODUCTION = """\
# The instruction set

Generated from the description by `python -m auberge.isa.manual > docs/isa.md`; a test keeps it so.

What a word means stands here as it stands in the source, and every engine follows it: `h.x[rd]` is
a register, reads see the state before the instruction, writes commit at its end, a trap discards
them.
Encodings are written as in the manual, most significant bit first. `{isa}`
"""


def page(isa: Isa) -> str:
    """The page, in Markdown: every extension with its instructions and pseudo-instructions."""
    parts = [INTRODUCTION.replace("{isa}", isa.isa_string())]
    for extension in isa.extensions:
        parts.append("\n".join(_chapter(isa, extension)))
    rows = (f"| `{number:#05x}` | `{csr.name}` |" for number, csr in sorted(isa.csrs.items()))
    parts.append(
        "\n".join(["## Control and status registers", "", *_table("Number", "Name"), *rows])
    )
    parts.append("\n".join(_aliases(isa)))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _chapter(isa: Isa, extension: Extension) -> Iterator[str]:
    yield f"## {extension.name}: {extension.title}, version {extension.version}"
    forms = [form for form in isa.forms if form.extension == extension.name]
    if not forms:
        yield "\nNo instructions of its own."
        return
    own = [form for form in forms if not form.expansion]
    files = {form.insn.execute.__module__.replace(".", "/") + ".py" for form in own}
    if files:
        yield "\nText: " + ", ".join(f"[`{file}`](../{file})" for file in sorted(files))
    yield ""
    yield from _table("Assembly", "Encoding", "Meaning")
    for form in forms:
        meaning = _code(_plain(form.expansion)) if form.expansion else _text(form.insn.execute)
        yield f"| {_code(_plain(form.syntax))} | {_code(form.encoding.text)} | {meaning} |"


def _aliases(isa: Isa) -> Iterator[str]:
    yield "## Pseudo-instructions"
    yield ""
    yield "And `li`, `la`, `call`, `tail`, and loads and stores of a symbol, which take several."
    yield ""
    yield from _table("Assembly", "Stands for")
    for alias in isa.aliases:
        yield f"| {_code(_plain(alias.syntax))} | {_code(_plain(alias.expansion))} |"


def _table(*titles: str) -> list[str]:
    return ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _plain(syntax: str) -> str:
    """`add {rd}, {rs1:f}` as `add rd, rs1`."""
    return "".join(before + name for before, name, _ in slots(syntax))


def _text(execute: Callable[..., None]) -> str:
    """The statements of an instruction's function, one to a line of a table's cell."""
    source = textwrap.dedent(inspect.getsource(execute))
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = textwrap.dedent("\n".join(source.splitlines()[body[0].lineno - 1 :])).splitlines()
    shown = []
    for line in lines:
        code = line.lstrip()
        if not code or code.startswith("#"):
            continue
        shown.append("&emsp;" * ((len(line) - len(code)) // 4) + _code(code))
    return "<br>".join(shown)


if __name__ == "__main__":
    from auberge.isa.riscv.rv64 import rv64

    print(page(rv64), end="")
