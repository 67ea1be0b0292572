"""Programs in C that only compute, for the guest and for this host."""

import os
import subprocess

SOURCES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "computing")
COMPILER, PACKAGE = "riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu"
HOSTS = "gcc"  # this host's own compiler
OPTIONS = ["-O2", "-fno-math-errno", "-I", SOURCES]
ALONE = ["-static", "-nostdlib", "-fno-builtin", "-fno-tree-loop-distribute-patterns"]


def programs() -> list[str]:
    """Their names."""
    return sorted(name[:-2] for name in os.listdir(SOURCES) if name.endswith(".c"))


def source(name: str) -> str:
    """The path of a program's source."""
    return os.path.join(SOURCES, name + ".c")


def compiled(compiler: str, text: str, folder: str, *options: str) -> str:
    """The path of an executable; `text` is that of its source."""
    path = os.path.join(folder, f"{os.path.basename(text)[:-2]}-{compiler}")
    subprocess.run([compiler, *OPTIONS, *options, "-o", path, text], check=True)
    return path
