"""The interpreter for AArch64 hosts does what the reference does, where an emulator can run it.

There is no Python in the emulated process: a program of a few instructions calls `prepare` and
`run` on a state and a RAM that stand in its image, and writes both to standard output.
"""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from auberge.engine.clock import INSTRUCTIONS
from auberge.engine.describe import layout_of
from auberge.engine.host import Host
from auberge.engine.lockstep import compare
from auberge.engine.module import module
from auberge.engine.records import PAGE_OF_RECORDS
from auberge.isa.riscv.rv64 import rv64
from tests.engine.world import BASE, SIZE, World, program

EMULATOR = shutil.which("qemu-aarch64")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(EMULATOR is None, reason="needs qemu-aarch64 (Debian: qemu-user)"),
]
IMAGE, CODE = 0x2000_0000, 0x2000_1000
STATE, RAM, SLOTS, POOL = 0x2010_0000, 0x2020_0000, 0x2040_0000, 0x2050_0000
PAGES = 32
END = POOL + PAGES * PAGE_OF_RECORDS
BUDGET, PROGRAMS = 150, 40
WRITE, EXIT = 64, 93  # system calls of Linux on AArch64

COMPARE = """
define i32 @compare(ptr %a, ptr %b, i64 %size) #0 {
entry:
br label %loop
loop:
%i = phi i64 [ 0, %entry ], [ %j, %next ]
%ap = getelementptr i8, ptr %a, i64 %i
%bp = getelementptr i8, ptr %b, i64 %i
%av = load volatile i8, ptr %ap
%bv = load volatile i8, ptr %bp
%same = icmp eq i8 %av, %bv
br i1 %same, label %next, label %differ
next:
%j = add i64 %i, 1
%more = icmp ult i64 %j, %size
br i1 %more, label %loop, label %equal
equal:
ret i32 0
differ:
ret i32 1
}
"""


class Native(NamedTuple):
    """Machine code at CODE, and the addresses of its functions."""

    text: bytes
    symbols: dict[str, int]


@pytest.fixture(scope="module")
def native() -> Native:
    from auberge.engine.compiler import compile_text  # LLVM, in this test alone

    host = Host("aarch64", "generic", ("lse",))
    code = compile_text(module(rv64, layout_of(rv64), host) + COMPARE, host)
    return Native(code.text, {name: CODE + at for name, at in code.symbols.items()})


def call(f: int, *args: int) -> list[int]:
    """Instructions that put arguments into x0 and up, and call."""
    return [*(w for n, a in enumerate(args) for w in load(n, a)), *load(9, f), 0xD63F_0120]


def load(register: int, value: int) -> list[int]:
    """movz, and movk three times."""
    words = (0xD280_0000, 0xF2A0_0000, 0xF2C0_0000, 0xF2E0_0000)
    return [w | (value >> 16 * n & 0xFFFF) << 5 | register for n, w in enumerate(words)]


def system_call(number: int, *args: int) -> list[int]:
    loads = [w for n, a in enumerate(args) for w in load(n, a)]
    return [*loads, *load(8, number), 0xD400_0001]


def image(native: Native, state: bytes, ram: bytes) -> bytes:
    """An executable file: all of it one segment, loaded at IMAGE."""
    start = [
        *call(native.symbols["prepare"], STATE, POOL),
        *call(native.symbols["run"], STATE),
        *system_call(WRITE, 1, STATE, len(state)),
        *system_call(WRITE, 1, RAM, len(ram)),
        *system_call(EXIT, 0),
    ]
    entry = -(-(CODE + len(native.text)) // 4096) * 4096
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 183, 1, entry, 64, 0, 0,
                         64, 56, 1, 0, 0, 0)  # fmt: skip
    size = RAM + len(ram) - IMAGE
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, IMAGE, IMAGE, size, END - IMAGE, 0x1000)
    file = bytearray(size)
    for at, data in (
        (IMAGE, header + segment),
        (CODE, native.text),
        (entry, struct.pack(f"<{len(start)}I", *start)),
        (STATE, state),
        (RAM, ram),
    ):
        file[at - IMAGE : at - IMAGE + len(data)] = data
    return bytes(file)


def emulate(native: Native, world: World, path: Path) -> None:
    """Run the world's hart there until the first exit, and have the world be what came of it."""
    hart, layout = world.hart, world.hart.layout
    for name, value in {
        "ram_addend": RAM - BASE, "code_pages": SLOTS, "scratch": POOL,
        "pool_next": POOL + PAGE_OF_RECORDS, "pool_end": END, "memcmp": native.symbols["compare"],
        "attention": 1, "clock_kind": INSTRUCTIONS, "reserve": BUDGET,
    }.items():  # fmt: skip
        hart[name] = value
    executable = path / "world"
    executable.write_bytes(
        image(native, ctypes.string_at(hart.address, layout.size), world.ram.read(BASE, SIZE))
    )
    executable.chmod(0o755)
    assert EMULATOR is not None
    with open(path / "after", "wb") as after:
        subprocess.run([EMULATOR, str(executable)], stdout=after, check=True, timeout=60)
    after_bytes = (path / "after").read_bytes()
    assert len(after_bytes) == layout.size + SIZE
    ctypes.memmove(hart.address, after_bytes[: layout.size], layout.size)
    world.ram.write(BASE, after_bytes[layout.size :])


def test_random_programs(native: Native, tmp_path: Path) -> None:
    retired = 0
    for seed in range(PROGRAMS):
        words = program(seed)
        there, here = World("reference", seed, words), World("reference", seed, words)
        emulate(native, there, tmp_path)
        spent = there.hart["spent"]
        here.run(spent)
        if here.code_is_whole():
            assert compare(here, there) == {}, f"seed {seed}, after {spent} instructions"
            retired += spent
    assert retired > 10 * PROGRAMS
