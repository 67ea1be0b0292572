"""`tools/conformance.py` says of each test program how it went."""

import subprocess
import sys
from pathlib import Path

import pytest

from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.conformance.elf import static_elf

RUNNER = Path(__file__).parents[2] / "tools" / "conformance.py"
START, TOHOST = 0x8000_0000, 0x8000_1000
SAY = f"li t0, {TOHOST}\nsd a0, 0(t0)\n"
PROGRAMS = {
    "set-p-passes": f"li a0, 1\n{SAY}1: j 1b",
    "set-p-fails": f"li a0, 7\n{SAY}1: j 1b",
    "set-p-prints": f"li a0, {0x0101 << 48 | ord('a')}\n{SAY}2: ld a1, 0(t0)\nbnez a1, 2b\n"
    f"li a0, 1\n{SAY}1: j 1b",
    "set-v-says-nothing": "1: j 1b",
    "set-v-traps-for-ever": ".word 0",
    "set-v-sleeps": "1: wfi\nj 1b",
}


def programs(folder: Path) -> None:
    (folder / "README").write_text("not a program")
    for name, text in PROGRAMS.items():
        code = assemble(rv64, text, START)
        elf = static_elf(START, code, START, 0x2000, {"tohost": TOHOST})
        (folder / name).write_bytes(elf)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUNNER), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_it_names_what_did_not_pass_and_counts_by_set(tmp_path: Path) -> None:
    programs(tmp_path)
    done = run("--engine", "interpreter", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "set-p-fails: failed in its test 3\n"
        "set-v-says-nothing: no answer after 5000000 instructions, at 0x80000000\n"
        "set-v-sleeps: asleep for ever\n"
        "set-v-traps-for-ever: stuck at 0x0 with cause 1\n"
        "set-p                2/3\n"
        "set-v                0/3\n"
        "all                  2/6\n"
    )


@pytest.mark.slow
def test_a_folder_without_programs_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"{tmp_path}: no ELF files; give a folder of test programs\n"
