"""A random user-mode program, and the frame around it that shows what it did.

Each iteration loads every register from a pool of edge values, runs the block, and stores every
register in a record; at the end, write(2) gives the buffer that the block worked in, and all
records.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from auberge.bits.bits import MASK, signed
from auberge.isa.assembler import assemble
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Form
from tests.conformance.elf import static_elf

START = 0x8000_0000
POOL = START + 0x10000
BUFFER, BUFFER_SIZE = START + 0x40000, 0x2000
RECORDS = BUFFER + BUFFER_SIZE
BASES = {2: BUFFER + 0x800, 3: BUFFER + 0x1000, 8: BUFFER + 0x1400}
RECORD_POINTER, POOL_POINTER, COUNTER = 4, 30, 31
RESERVED = {*BASES, RECORD_POINTER, POOL_POINTER, COUNTER}
FREE = [r for r in range(1, 32) if r not in RESERVED]
STRIDE = 8 * 7  # of the pool, from one iteration to the next
SHOWN = ["fcsr", *(f"x{r}" for r in FREE), *(f"f{r}" for r in range(32))]
RECORD = 8 * len(SHOWN)
WRITE, EXIT = 64, 93  # Linux's numbers of these system calls


class Step(NamedTuple):
    """One instruction; its operand `aim` is how far from the item's start its target is."""

    form: Form
    operands: dict[str, int]
    aim: str = ""

    def word(self, distance: int) -> int:
        """Its encoding, aimed that far."""
        return self.form.encoding.encode(self.operands | ({self.aim: distance} if self.aim else {}))


class Item(NamedTuple):
    """Instructions that only make sense together; a jump among them passes over `skip` items."""

    steps: tuple[Step, ...]
    skip: int = 0

    @property
    def size(self) -> int:
        return sum(step.form.length for step in self.steps)


class Program(NamedTuple):
    """A block of items, run `iterations` times with registers from `pool`, beginning at `first`."""

    items: Sequence[Item]
    pool: Sequence[int]
    iterations: int
    first: int = 0

    @property
    def size(self) -> int:
        """Of its memory, in bytes."""
        return RECORDS + RECORD * self.iterations - START

    def block(self) -> Iterator[tuple[int, int]]:
        """Each word of the block with its length."""
        starts = [0]
        for item in self.items:
            starts.append(starts[-1] + item.size)
        for n, item in enumerate(self.items):
            distance = starts[min(n + item.skip + 1, len(self.items))] - starts[n]
            for step in item.steps:
                yield step.word(distance), step.form.length

    def contents(self) -> bytes:
        """What its memory holds at `START`; that is where it is entered, too."""
        before = _assemble(_before(self), START)
        loads = _assemble(_loads(), START + len(before))
        block = b"".join(word.to_bytes(length, "little") for word, length in self.block())
        loop = START + len(before)
        code = before + loads + block
        code += _assemble(_after(loop), START + len(code))
        image = bytearray(BUFFER - START)
        image[: len(code)] = code
        pool = struct.pack(f"<{len(self.pool)}Q", *self.pool)
        if len(code) > POOL - START or len(pool) > BUFFER - POOL:
            raise ValueError(f"{len(code)} bytes of code and {len(pool)} of pool do not fit")
        image[POOL - START : POOL - START + len(pool)] = pool
        return bytes(image) + pool[:BUFFER_SIZE]

    def elf(self) -> bytes:
        """The same as a file."""
        return static_elf(START, self.contents(), START, self.size)

    def text(self) -> str:
        """The block, disassembled."""
        out, at = [], 0
        for word, length in self.block():
            out.append(f"  {at:4x}: {disassemble(rv64, word, at)}")
            at += length
        return "\n".join(out)


def pool_size(iterations: int) -> int:
    """How many values that many iterations need."""
    return max(STRIDE // 8 * iterations + len(SHOWN), BUFFER_SIZE // 8)


_known: dict[tuple[str, int], bytes] = {}


def _assemble(text: str, origin: int) -> bytes:
    if (text, origin) not in _known:
        _known[text, origin] = assemble(rv64, text, origin)
    return _known[text, origin]


def _before(program: Program) -> str:
    pool = POOL + STRIDE * program.first
    values = BASES | {RECORD_POINTER: RECORDS, POOL_POINTER: pool, COUNTER: program.iterations}
    return "\n".join(f"li x{r}, {value}" for r, value in values.items())


def _loads() -> str:
    """fcsr first, through a register, with a rounding mode that every host has."""
    text = [f"ld x5, 0(x{POOL_POINTER})", "andi x5, x5, 0x7f", "csrw fcsr, x5"]
    for n, name in enumerate(SHOWN[1:], 1):
        text.append(f"{'fld' if name[0] == 'f' else 'ld'} {name}, {8 * n}(x{POOL_POINTER})")
    return "\n".join(text)


def _after(loop: int) -> str:
    text = []
    for n, name in enumerate(SHOWN[1:], 1):
        text.append(f"{'fsd' if name[0] == 'f' else 'sd'} {name}, {8 * n}(x{RECORD_POINTER})")
    return (
        "\n".join(text)
        + f"""
csrr x5, fcsr
sd x5, 0(x{RECORD_POINTER})
addi x{RECORD_POINTER}, x{RECORD_POINTER}, {RECORD}
addi x{POOL_POINTER}, x{POOL_POINTER}, {STRIDE}
addi x{COUNTER}, x{COUNTER}, -1
beqz x{COUNTER}, 1f
j {loop}
1: li a7, {WRITE}
li a0, 1
li a1, {BUFFER}
sub a2, x{RECORD_POINTER}, a1
ecall
li a7, {EXIT}
li a0, 0
ecall
"""
    )


def first_difference(ours: bytes, theirs: bytes) -> tuple[int, str]:
    """The iteration (-1: none, it is the buffer) and what differs in it, of two outputs."""
    for at in range(BUFFER_SIZE, min(len(ours), len(theirs)), RECORD):
        if ours[at : at + RECORD] != theirs[at : at + RECORD]:
            found = []
            for n, name in enumerate(SHOWN):
                a, b = (
                    int.from_bytes(o[at + 8 * n : at + 8 * n + 8], "little") for o in (ours, theirs)
                )
                if a != b:
                    found.append(f"{name} is {a:#x}, should be {b:#x}")
            return (at - BUFFER_SIZE) // RECORD, "; ".join(found)
    if len(ours) != len(theirs):
        return -1, f"{len(ours)} bytes of output, should be {len(theirs)}"
    at = next(n for n in range(BUFFER_SIZE) if ours[n] != theirs[n])
    return -1, f"byte {at:#x} of the buffer is {ours[at]:#x}, should be {theirs[at]:#x}"


def operand_values(program: Program, iteration: int) -> str:
    """What the block's source registers hold when that iteration begins."""
    names: dict[str, None] = {}
    for item in program.items:
        for form, operands, _ in item.steps:
            for operand in ("rs1", "rs2", "rs3"):
                if operand in operands:
                    kind = "f" if f"{{{operand}:f}}" in form.syntax else "x"
                    names[f"{kind}{operands[operand]}"] = None
    at = STRIDE // 8 * (program.first + iteration)
    return ", ".join(
        f"{name}={program.pool[at + SHOWN.index(name)]:#x}" for name in names if name in SHOWN
    )


def as_signed(value: int) -> int:
    """The number of a 64-bit pattern."""
    return signed(value & MASK[64], 64)
