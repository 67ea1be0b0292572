"""Print docs/reading-guide.md: the modules in import order, each with its own first sentence."""

import ast
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from anywhere

from tests.house.source import FLOORS, MODULES, PACKAGE, imports, room, tree

# What a first reading can do without: how an outside format or a host is dealt with.
LATER = {
    "bits": {"ieee", "rounding"},
    "memory": {"arena"},
    "isa": {"expression", "syntax", "manual", "names", "floating", "zicbo", "pmp"},
    "engine": {
        "cache",
        "fpu",
        "host",
        "decoder",
        "fetch",
        "glue",
        "slices",
        "trapping",
        "undecoded",
        "records",
        "waiting",
        "region_file",
        "region_record",
        "object_code",
        "deadline",
        "workshop",
        "code_folder",
        "counting",
        "explainer",
        "leaving",
    },
    "image": {"apt", "cpio", "deb", "modules", "sources", "tiny_files", "kernel"},
    "machine": {
        "elf",
        "elf_code",
        "fdt",
        "overlay",
        "host_file",
        "goldfish_rtc",
        "vacant",
        "pace",
        "translated",
    },
    "api": {"standard_input"},
    "cli": {"blocks", "escape", "listing"},
}

INTRODUCTION = """\
# Reading guide

Every module of the package, in import order: what a file builds on comes before it. Begin with what
an author of instructions writes ([i.py](../auberge/isa/riscv/i.py)) and may say
([hart.py](../auberge/isa/hart.py)), then follow the floors upwards. What is marked *later* can wait
for a second reading.

This page is printed by `python tools/reading_guide.py`; the sentences are the modules' own.
"""


def first_sentence(path: Path) -> str:
    """What the module says that it is."""
    paragraph = (ast.get_docstring(tree(path)) or "").split("\n\n")[0]
    sentence, stop, _ = " ".join(paragraph.split()).partition(". ")
    return sentence + stop.strip()


def in_import_order(paths: list[Path]) -> list[Path]:
    """Alphabetical, but never before what it imports from among `paths`."""
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in paths
    }
    ordered: list[Path] = []

    def place(path: Path, above: tuple[Path, ...]) -> None:
        if path in ordered or path in above:
            return
        for _, name in imports(path, typing=False):
            if name in names:
                place(names[name], (*above, path))
        ordered.append(path)

    for path in paths:
        place(path, ())
    return ordered


def guide() -> str:
    """The page."""
    text = INTRODUCTION
    modules = [path for path in MODULES if path.name != "__init__.py"]
    for number, rooms in enumerate(FLOORS):
        for name in sorted(rooms):
            here = in_import_order([path for path in modules if room(path) == name])
            if not here:
                continue
            text += f"\n## Floor {number}: {name}\n\n"
            for path in here:
                relative = path.relative_to(PACKAGE)
                later = " *Later.*" if path.stem in LATER.get(name, ()) else ""
                place = f"[{relative.relative_to(name)}](../auberge/{relative})"
                text += f"* {place}: {first_sentence(path)}{later}\n"
    return text


if __name__ == "__main__":
    sys.stdout.write(guide())
