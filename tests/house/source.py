"""The package's source as the house rules see it: files, rooms, floors and imports."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "auberge"

# docs/design.md, "The floors". A room may be listed before it is built.
FLOORS = (
    {"bits"},
    {"isa", "memory"},
    {"engine", "image"},
    {"machine", "process"},
    {"container"},
    {"monitor"},
    {"api"},
    {"cli", "web"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
CELLAR = {"refusal"}  # below every floor
DOOR = "__init__"  # auberge/__init__.py: shows what the api promises

MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def room(path: Path) -> str:
    """The room a file is in; a file directly in the package is a room by its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def dotted(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that `path` names in an import, wherever in the file, with its line."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                assert module is not None
                yield node.lineno, module
                if module == "auberge":
                    yield from ((node.lineno, f"auberge.{name.name}") for name in names)
            case ast.ImportFrom(module=module, level=level):
                package = dotted(path)[
                    : -level if path.name != "__init__.py" else 1 - level or None
                ]
                yield node.lineno, ".".join([*package, *filter(None, [module])])


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "auberge" and len(parts) > 1 and parts[1] != "__version__":
            yield line, parts[1]
