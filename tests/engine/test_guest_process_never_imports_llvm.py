"""LLVM, and all that is slow, stays in the compiler's process: also when there is much to do."""

import subprocess
import sys

import pytest

RUN = """
import sys
from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Spent
from auberge.memory.ram import Ram
kind = choose("auto")
hart, ram = kind.hart(0), Ram(0x80000000, 4096)
hart["pc"] = 0x80000000
ram.write(0x80000000, bytes.fromhex("01a0"))
assert kind.engine(hart, ram, ManualClock()).run(1000) == Spent()
print(kind.name, *sorted(sys.modules))
"""
SLOW = {"llvmlite", "elftools", "dataclasses", "inspect", "subprocess",
        "auberge.engine.lowering", "auberge.engine.handlers", "auberge.engine.compiler",
        "auberge.engine.reference", "auberge.isa.riscv.rv64"}  # fmt: skip


def modules() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN], capture_output=True, text=True, check=True
    )
    name, *imported = done.stdout.split()
    assert name == "translator"
    return imported


@pytest.mark.slow
def test_with_everything_to_compile(cache: object) -> None:
    assert {"llvmlite", "elftools", "auberge.engine.compiler"} & set(modules()) == set()


def test_with_a_cache() -> None:
    modules()  # so that there is one
    assert set(modules()) & SLOW == set()
