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


def imports(path: Path, typing: bool = True) -> Iterator[tuple[int, str]]:
    """What `path` names in its imports, wherever in the file, with the line: modules and the names
    taken from them (which may be modules as well). Without `typing`, not what only types need."""
    for node in ast.walk(tree(path)):
        if not typing and node_line(node) in lines_for_types(path):
            continue
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                package = dotted(path)[
                    : -level if path.name != "__init__.py" else 1 - level or None
                ]
                base = ".".join([*(package if level else ()), *filter(None, [module])])
                yield node.lineno, base
                yield from ((node.lineno, f"{base}.{name.name}") for name in names)


def node_line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


@cache
def lines_for_types(path: Path) -> frozenset[int]:
    """The lines under `if TYPE_CHECKING:`."""
    return frozenset(
        line
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    )


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "auberge" and len(parts) > 1 and parts[1] != "__version__":
            yield line, parts[1]
