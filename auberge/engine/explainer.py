"""The compiler's process for who looks at regions: it counts how often they are entered.

`python -m auberge.engine.explainer FOLDER` compiles regions as the compiler's process does, each
behind a few instructions that count, and notes in a file of FOLDER what it made each one from.
`python -m auberge.engine.explainer` reads such notes on standard input, and shows the same regions
as they are without counting: LLVM text after the passes, and the assembly of the host.
"""

from __future__ import annotations

import marshal
import os
import sys

from auberge.engine.compiler import Regions, serve
from auberge.engine.counting import COUNT, note_name
from auberge.engine.deadline import Deadline
from auberge.engine.explore import Shape
from auberge.engine.host import Host
from auberge.engine.llvm_text import PARAMS, tail_call
from auberge.engine.region_record import digest_of

ENTRY = "\n".join([
    f"define preserve_nonecc void @region({PARAMS}) #0 {{",
    f"%at = getelementptr i8, ptr %rec, i64 {COUNT}",
    "%before = load i64, ptr %at, align 8",
    "%entered = add i64 %before, 1",
    "store i64 %entered, ptr %at, align 8",
    *tail_call("@body"),
    "}\n",
])  # fmt: skip


class Counting(Regions):
    """Compiles regions that count each time they are entered, in the record they begin with."""

    takes_in_calls = False  # each function is entered by itself, to be counted

    def __init__(self, host: Host, folder: str) -> None:
        super().__init__(host)
        self.folder = folder

    def code_of(self, page: bytes, entry: int, shape: Shape, text: str, level: int) -> bytes:
        with open(os.path.join(self.folder, note_name(digest_of(page), entry)), "wb") as note:
            marshal.dump((page, sorted(shape.steps), text, level), note)
        body = text.replace("@region(", "@body(").replace("define ", "define internal ", 1)
        return self.emit(self.optimized(ENTRY + body, "body"), level)


def explain(regions: Regions, text: str, level: int) -> tuple[str, str]:
    """Of a region's LLVM text: the text after the passes, and the host's assembly."""
    module = regions.optimized(text)
    assembly = regions.generator(level).emit_assembly(module)
    return function_of(str(module)), without_directives(assembly)


def function_of(text: str) -> str:
    """The function of a module's text, alone."""
    begin = text.index("define ")
    return text[begin : text.index("\n}", begin) + 2]


def without_directives(text: str) -> str:
    """The instructions and labels of the one function of an assembly text, and its constants."""
    kept = []
    for line in text.splitlines():
        words = line.partition("#")[0].split() or [""]
        is_data = words[0] in (".quad", ".long", ".byte")
        if words[0] and (is_data or not words[0].startswith(".") or words[0].startswith(".L")):
            kept.append(line.rstrip())
    return "\n".join(kept)


def main() -> int:
    """Compile for a folder, or explain."""
    if sys.argv[1:]:
        serve(Counting(Host.ours(), sys.argv[1]), Deadline())
        return 0
    regions = Regions(Host.ours())
    asked: list[tuple[str, int]] = marshal.loads(sys.stdin.buffer.read())
    marshal.dump([explain(regions, *each) for each in asked], sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
