"""The floors: a module imports its own room and what is below it, never a neighbour."""

import ast
import os
import subprocess
import sys

import pytest

from tests.house.source import (
    CELLAR,
    DOOR,
    FLOOR,
    MODULES,
    PACKAGE,
    imported_rooms,
    imports,
    room,
    tree,
)

MEANINGLESS = {"utils", "common", "core", "base", "helpers", "manager"}


def violations(path):
    here = room(path)
    for line, there in dict.fromkeys(imported_rooms(path)):
        if here in (DOOR, there) or there in CELLAR:
            continue
        if here in CELLAR or FLOOR[there] >= FLOOR[here]:
            yield (
                f"{path}:{line}: {here} imports {there}, which is not below it; "
                "have it handed in as an argument instead"
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    assert not list(violations(path))


def test_a_neighbour_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.house.source.ROOT", tmp_path)
    monkeypatch.setattr("tests.house.source.PACKAGE", tmp_path / "auberge")
    path = tmp_path / "auberge" / "isa" / "nosy.py"
    path.parent.mkdir(parents=True)
    path.write_text("def f():\n    from auberge import memory\n    from ..engine.state import x\n")
    told = [line.removeprefix(f"{path}:") for line in violations(path)]
    assert told == [
        "2: isa imports memory, which is not below it; have it handed in as an argument instead",
        "3: isa imports engine, which is not below it; have it handed in as an argument instead",
    ]


def test_every_room_has_a_floor_and_a_meaning():
    rooms = {room(path) for path in MODULES} - CELLAR - {DOOR}
    unknown = rooms - FLOOR.keys()
    assert not unknown, f"{unknown}: no such room; add it to a floor here and in docs/design.md"
    names = {part for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    empty = (names & MEANINGLESS) - {"base"} | (rooms & MEANINGLESS)
    assert not empty, f"{empty}: name a room or a file for the thing it holds"


def test_llvmlite_lives_in_one_module():
    users = [path for path in MODULES for _, name in imports(path) if name.startswith("llvmlite")]
    assert len(set(users)) == 1, f"only the compiler's own process may import llvmlite: {users}"


def test_nothing_is_imported_with_a_star():
    stars = [
        f"{path}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    assert not stars


HEAVY = ("llvmlite", "dataclasses", "inspect", "rich", "elftools", "argparse", "subprocess")


def test_importing_auberge_is_light():
    code = f"import auberge, sys; print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n", f"import auberge imports {answer.stdout}; import it where used"


def processor_time(code):
    """The processor seconds of a Python that runs `code`; the rest of the host does not count."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


@pytest.mark.slow
def test_importing_auberge_takes_less_than_50_ms():
    bare = min(processor_time("pass") for _ in range(5))
    whole = min(processor_time("import auberge; auberge.__doc__") for _ in range(5))
    assert whole - bare < 0.050
