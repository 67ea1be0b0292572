"""Documents as programs: the fenced blocks of a Markdown file, and how each kind is run.

    ```python               run; the blocks of one document share their names
    ```python file=PATH     written to PATH in a copy of the repository
    ```console              lines after `$ ` are run by sh; what follows is what they print
    ```console slow         the same, but only in the slow tests

In what a console prints, a line `...` stands for any lines, and `...` in a line for any text.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.house.source import ROOT

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w+) *([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    options: tuple[str, ...]
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block(m[1], tuple(m[2].split()), m[3], text.count("\n", 0, m.start()) + 1)
        for m in FENCE.finditer(text)
    ]


def copy_repository(place: Path) -> None:
    """All but what git, caches and the virtual environment keep in hidden folders."""
    ignore = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(ROOT, place, ignore=ignore, dirs_exist_ok=True)


def environment(place: Path) -> dict[str, str]:
    """What a reader has after `make venv`: auberge on PATH, here the copy in `place`."""
    tools = os.path.dirname(sys.executable)
    (place / "run").mkdir(mode=0o700, exist_ok=True)
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(place),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "XDG_RUNTIME_DIR": str(place / "run"),
        "PYTEST_ADDOPTS": "-n0 -p no:cacheprovider",
    }


def play(path: Path, place: Path, slow: bool) -> None:
    """Run the document's blocks in their order in `place`; raise AssertionError if one is wrong."""
    python = ""
    for block in blocks(path):
        where = f"{path.relative_to(ROOT)}:{block.line}"
        target = next((o.removeprefix("file=") for o in block.options if "file=" in o), None)
        if target is not None:
            (place / target).parent.mkdir(parents=True, exist_ok=True)
            (place / target).write_text(block.text)
        elif block.language == "python":
            python += block.text
            shell(where, f"{sys.executable} - <<'_END_'\n{python}\n_END_", None, place)
        elif block.language == "console" and (slow or "slow" not in block.options):
            for command, expected in steps(block.text):
                shell(f"{where}: {command}", command, expected, place)


def steps(session: str) -> list[tuple[str, str]]:
    """The commands of a console session, each with what it prints."""
    found: list[tuple[str, str]] = []
    for line in session.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].rstrip("\n"), ""))
        elif line.startswith("> "):  # the continuation of a here-document
            found[-1] = (f"{found[-1][0]}\n{line[2:].rstrip()}", "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def shell(where: str, command: str, expected: str | None, place: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    if expected is None:
        assert done.returncode == 0, f"{where}:\n{done.stdout}"
    else:
        assert matches(expected, done.stdout), f"{where}: it prints\n{done.stdout}"


def matches(expected: str, printed: str) -> bool:
    """Whether `printed` is `expected`, `...` being anything and spaces any spaces."""
    lines = [re.escape(line).replace(r"\.\.\.", ".*") for line in tidy(expected)]
    pattern = "".join(r"(?s:.*\n)?" if line == ".*" else line + r"\n" for line in lines)
    return re.fullmatch(pattern, "".join(line + "\n" for line in tidy(printed))) is not None


def tidy(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]
