"""Make a virtual environment with whatever this host offers: `python3 tools/venv.py DIRECTORY`.

Debian ships `venv` without its pip unless python3-venv is installed; pip, uv and virtualenv can
each stand in. The environment always ends with its own pip: later steps need no case distinction.
Kept to syntax that old Pythons parse, so that one can say that it is too old.
"""

import os
import shutil
import subprocess
import sys

NEEDED = (3, 11)
ADVICE = "apt install python3-venv"


def run(*command: str) -> bool:
    """Run it quietly; say whether it succeeded."""
    return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def suitable_python() -> str:
    """This Python if it is new enough, else the newest one on PATH that is, or nothing."""
    if sys.version_info >= NEEDED:
        return sys.executable
    names = ["python3.%d" % minor for minor in range(20, NEEDED[1] - 1, -1)]  # noqa: UP031
    return next((path for path in map(shutil.which, names) if path and run(path, "-c", "")), "")


def make(directory: str, python: str) -> bool:
    """Try the ways there are, the standard one first; a failed one leaves nothing behind."""
    inside = os.path.join(directory, "bin", "python")
    ways = [
        [[python, "-m", "venv", directory]],
        [
            [python, "-m", "venv", "--without-pip", directory],
            [python, "-m", "pip", "--python", inside, "install", "pip"],
        ],
        [["uv", "venv", "--seed", "--python", python, directory]],
        [["virtualenv", "--python", python, directory]],
        [[python, "-m", "virtualenv", directory]],
    ]
    for way in ways:
        shutil.rmtree(directory, ignore_errors=True)
        if all(shutil.which(step[0]) and run(*step) for step in way):
            return True
    shutil.rmtree(directory, ignore_errors=True)
    return False


def main() -> int:
    """Make the environment, or say in one line what to install."""
    directory = sys.argv[1]
    python = suitable_python()
    if not python:
        sys.stderr.write(
            "python3: older than 3.11; install a newer one and `make PYTHON=python3.11`\n"
        )
        return 1
    if make(directory, python):
        return 0
    sys.stderr.write("%s: no way to make a virtual environment; `%s`\n" % (directory, ADVICE))  # noqa: UP031
    return 1


if __name__ == "__main__":
    sys.exit(main())
