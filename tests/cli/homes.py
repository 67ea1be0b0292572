"""A cache folder of a test's own, with no translations in it, and hot guests that run there."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import auberge
from auberge.engine import cache
from auberge.image import build
from tests.cli.guests import write_elf
from tests.command import AUBERGE

# What it is told is on another page: code that differs would be translated anew.
HOT = """
    li s2, 0x10000000
    li s3, 0x80001000
    ld s0, (s3)
outer:
    li s1, 100000
inner:
    addi a1, a1, 3
    xor a2, a2, a1
store:
    sd a2, 8(s3)
    ld a3, 8(s3)
    add a4, a4, a3
    addi s1, s1, -1
    bnez s1, inner
    li a0, '.'
    sb a0, 0(s2)
    addi s0, s0, -1
    bnez s0, outer
    li a0, 0x100000
    li a1, 0x5555
    sw a1, 0(a0)
    j .
    .org 0x80001000
    .dword {rounds}
    .dword 0
"""
ROUNDS, FOR_EVER = 1500, 1 << 40


class Ended(NamedTuple):
    """How a boot ended: its status, its console, and what stderr had."""

    status: int
    console: str
    stderr: str

    def counted(self, name: str) -> int:
        """A figure of --stats."""
        found = re.search(rf"^{re.escape(name)} +([\d,]+)", self.stderr, re.MULTILINE)
        assert found, self.stderr
        return int(found[1].replace(",", ""))


class Home:
    """A folder for AUBERGE_CACHE_DIR."""

    def __init__(self, path: Path) -> None:
        self.path, self.code = path, path / "code"
        self.regions = self.code / f"regions-{cache.key()}"
        self.code.mkdir(mode=0o700, parents=True)
        cache.load()
        entry = f"interpreter-{cache.key()}"
        shutil.copy2(Path(cache.folder()) / entry, self.code / entry)
        (path / "images").symlink_to(Path(cache.folder()).parent / "images")

    def copy(self, path: Path) -> "Home":
        """Another, with the same translations."""
        other = Home(path)
        shutil.copy2(self.regions, other.regions)
        return other

    def start(self, *words: object) -> "subprocess.Popen[str]":
        """Begin `auberge boot` with the translator."""
        return subprocess.Popen(
            [*AUBERGE, "boot", *map(str, words), "--stats"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"AUBERGE_CACHE_DIR": str(self.path)},
        )

    def boot(self, *words: object, engine: str = "translator") -> Ended:
        """The whole of it."""
        return ended(self.start(*words, "--engine", engine))

    def linux(self, *words: object, engine: str = "translator") -> Ended:
        """Boot `tiny`, which reports and powers off."""
        return self.boot("tiny", "--append", "auberge.report", *words, engine=engine)


def ended(process: "subprocess.Popen[str]") -> Ended:
    """Wait for it."""
    console, stderr = process.communicate(timeout=240)
    return Ended(process.returncode, console, stderr)


def reported(how: Ended) -> None:
    """It is as a boot of `tiny` ends."""
    assert how.status == 0, how.stderr
    report = how.console.split("guest says:\n", 1)[1]
    assert report.startswith("Linux tiny ") and "ID=debian" in report


def hot(folder: Path, rounds: int = ROUNDS) -> str:
    """A guest that prints a point every so often, and is all loop between."""
    return write_elf(folder / f"hot-{rounds}", HOT.format(rounds=rounds))


def warmed(path: Path) -> Home:
    """A home that has translations of the hot guest."""
    home = Home(path)
    for _ in range(20):
        how = home.boot("--kernel", hot(path))
        assert (how.status, how.console) == (0, "." * ROUNDS)
        if how.counted("regions from the cache"):
            return home
    raise AssertionError("nothing was translated in twenty runs")


def need_tiny() -> None:
    """Skip the test where there is no `tiny`, and none can be built."""
    try:
        build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))
