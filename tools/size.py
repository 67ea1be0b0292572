"""Print how large the house is: `python tools/size.py`; CI shows the difference."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from anywhere

from tests.house.source import FLOOR, MODULES, PACKAGE, room, tree


def lines_of(path: Path) -> int:
    """Lines that say something."""
    return sum(bool(line.strip()) for line in path.read_text().splitlines())


def classes(file: str) -> Iterator[ast.ClassDef]:
    """The public classes that a file defines."""
    for node in tree(PACKAGE / file).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node


def operations() -> int:
    """What a value can be computed by: the methods of `Bits`."""
    bits = next(node for node in classes("bits/bits.py") if node.name == "Bits")
    return sum(isinstance(part, ast.FunctionDef) for part in bits.body)


def options() -> int:
    """Everything that a command line takes."""
    calls = (node for path in (PACKAGE / "cli").glob("*.py") for node in ast.walk(tree(path)))
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_argument"
        for node in calls
    )


def public_names() -> int:
    """What `import auberge` promises."""
    for node in tree(PACKAGE / "__init__.py").body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Tuple):
            if [name.id for name in node.targets if isinstance(name, ast.Name)] == ["__all__"]:
                return len(node.value.elts)
    return 0


def main() -> int:
    """Print the table."""
    sizes: dict[str, int] = {}
    for path in MODULES:
        sizes[room(path)] = sizes.get(room(path), 0) + lines_of(path)
    for name in sorted(sizes, key=lambda name: (-FLOOR.get(name, -1), name)):
        print(f"{FLOOR.get(name, '')!s:>2} {name:12} {sizes[name]:6}")
    print(f"   {'all lines':12} {sum(sizes.values()):6}")
    print(f"   {'operations':12} {operations():6}")
    print(f"   {'exits':12} {sum(1 for _ in classes('engine/exits.py')):6}")
    print(f"   {'options':12} {options():6}")
    print(f"   {'public names':12} {public_names():6}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
