"""Random blocks, from the description of the instruction set: what is added there is tried here.

What the referee does not know (`UNKNOWN`) or may do in its own way is kept out.
"""

import random
from typing import NamedTuple

from auberge.bits.bits import MASK
from auberge.bits.ieee import FORMATS, RMM
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Form
from tests.conformance.program import (
    BASES,
    FREE,
    RESERVED,
    Item,
    Program,
    Step,
    as_signed,
    pool_size,
)

WEIGHTS = {"I": 10, "M": 5, "A": 4, "F": 16, "D": 16, "C": 8, "Zicsr": 2, "Zifencei": 0.1, "Zba": 2,
           "Zbb": 5, "Zbs": 2}  # fmt: skip
UNKNOWN = {"Zicond", "Zicbom", "Zicboz"}  # to QEMU 7.2's user mode
_OUT = {"ecall", "ebreak", "c.ebreak"}  # they end the program
FORMS = {extension: [f for f in rv64.forms if f.extension == extension and f.name not in _OUT]
         for extension in WEIGHTS}  # fmt: skip
FFLAGS, FRM, FCSR = 1, 2, 3
DYNAMIC = 7
BOX = MASK[32] << 32


class Choices(NamedTuple):
    """What one program draws from."""

    rng: random.Random
    modes: tuple[int, ...]  # rounding modes for frm
    favourites: list[int]  # free registers, so that instructions meet each other's results

    def free(self) -> int:
        return self.rng.choice(self.favourites if self.rng.random() < 0.5 else FREE)

    def source(self) -> int:
        return self.rng.randrange(32) if self.rng.random() < 0.1 else self.free()

    def target(self) -> int:
        return 0 if self.rng.random() < 0.05 else self.free()


def generate(seed: str, items: int, iterations: int, max_magnitude: bool = False) -> Program:
    """A program from a seed. `max_magnitude`: with the rounding mode that engines are slow at."""
    rng = random.Random(seed)
    modes = (0, 1, 2, 3, *((RMM,) if max_magnitude else ()))
    c = Choices(rng, modes, rng.sample(FREE, 6))
    extensions = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=items)
    block = [item(c, rng.choice(FORMS[extension])) for extension in extensions]
    near = [relative for _ in range(5) for relative in relatives(value(rng))] + 2 * relatives(0)
    pool = [0]
    while len(pool) < pool_size(iterations):
        kind = rng.random()
        few = relatives(pool[-1]) if kind < 0.2 else near
        pool.append(rng.choice(few) if kind < 0.6 else value(rng))
    return Program(block, pool, iterations)


def relatives(v: int) -> list[int]:
    """What must be told from `v`: the other sign, in either format, and its neighbour."""
    return [v, v, v ^ 1 << 63, v & MASK[32] | BOX, v & MASK[32] ^ 1 << 31 | BOX, v + 1 & MASK[64]]


def value(rng: random.Random) -> int:
    """An integer or a floating-point number, of 32 or 64 bits, more often than not an edge."""
    width = rng.choice((32, 64))
    if rng.random() < 0.5:
        edge = rng.choice((0, 1, 1 << width - 1, MASK[width - 1], MASK[width], rng.getrandbits(6),
                           1 << rng.randrange(width), rng.getrandbits(width)))  # fmt: skip
        v = edge + rng.choice((-1, 0, 0, 0, 1))
        return (
            v & MASK[64]
            if width == 64
            else as_signed(v & MASK[width] | -(v >> 31 & 1) << 32) & MASK[64]
        )
    fmt = FORMATS[width]
    middle = fmt.exponent_mask >> 1
    exponent = rng.choice((
        0, 1, fmt.exponent_mask - 1, fmt.exponent_mask, middle, middle + rng.randrange(-2, 3),
        middle + rng.randrange(24, 70), rng.randrange(fmt.exponent_mask), fmt.exponent_mask,
    ))  # fmt: skip
    fraction = rng.choice((0, 1, fmt.fraction_mask, fmt.quiet, rng.getrandbits(fmt.fraction),
                           rng.getrandbits(4) << fmt.fraction - 4))  # fmt: skip
    bits = rng.getrandbits(1) * fmt.sign | exponent << fmt.fraction | fraction
    return bits | (BOX if width == 32 and rng.random() < 0.9 else 0)


def item(c: Choices, form: Form) -> Item:
    """That form with operands, and with what it needs around it to be at home anywhere."""
    own = form.encoding.operands
    if form.extension == "A":
        return _atomic(c, form)
    if form.extension == "Zicsr":
        return _csr(c, form)
    if form.name == "c.addi16sp":  # there and back: x2 is a base
        imm = 16 * c.rng.choice((-31, -1, 1, 31, c.rng.randrange(1, 32)))
        return Item((_step(c, form, imm=imm), _step(c, form, imm=-imm)))
    if form.name == "ctzw":
        # QEMU 7.2 looks beyond the word when it is zero; "if the least-significant word is 0, the
        # output is 32" (Bit-Manipulation, 2.11). tests/isa tries that; here the word is never zero.
        through = c.free()
        return Item((_full(c, "bseti", rd=through, shamt=31), _step(c, form, rs1=through)))
    if form.insn.name == "jalr":
        return _jump_register(c, form)
    if "offset" in own:
        return Item((_step(c, form, aim="offset"),), c.rng.randrange(6))
    if "({rs1})" in form.syntax:
        base = c.rng.choice(list(BASES)) if own["rs1"].bias == 0 else 8
        return Item((_step(c, form, rs1=base),))
    if (
        form.extension in ("F", "D") and c.rng.random() < 0.4
    ):  # flags accumulate: look at these alone
        clear = _full(c, "csrrwi", csr=FFLAGS, uimm=0)
        return Item((clear, _step(c, form), _full(c, "csrrs", csr=FFLAGS, rs1=0)))
    return Item((_step(c, form),))


def _step(c: Choices, form: Form, aim: str = "", **given: int) -> Step:
    """Operands at random, but for those given and the one that is aimed."""
    while True:
        raw = c.rng.choice((0, MASK[32], c.rng.getrandbits(32), c.rng.getrandbits(32)))
        operands = dict(given)
        for name, operand in form.encoding.operands.items():
            if name in operands or name == aim:
                continue
            floating = f"{{{name}:f}}" in form.syntax
            if operand.bias:
                operands[name] = c.rng.choice(
                    [r for r in range(8, 16) if floating or r not in RESERVED]
                )
            elif name in ("rd", "rs1", "rs2", "rs3"):
                draw = c.target if name == "rd" else c.source
                operands[name] = c.rng.randrange(32) if floating else draw()
            elif name == "rm":
                operands[name] = c.rng.choice((*c.modes, DYNAMIC, DYNAMIC, DYNAMIC))
            else:
                v = operand.value(raw)
                operands[name] = as_signed(v) if operand.signed else v
        step = Step(form, operands, aim)
        try:
            step.word(4)
        except ValueError:  # a reserved value of some operand
            continue
        return step


def _full(c: Choices, name: str, aim: str = "", **given: int) -> Step:
    form = next(f for f in rv64.forms if f.name == name)
    return _step(c, form, aim, **given)


def _jump_register(c: Choices, form: Form) -> Item:
    through = c.free()
    here = _full(c, "auipc", rd=through, imm=0)
    skip = c.rng.randrange(6)
    if form.name == "jalr":
        return Item((here, _step(c, form, "imm", rs1=through)), skip)
    ahead = _full(c, "addi", "imm", rd=through, rs1=through)
    return Item((here, ahead, _step(c, form, rs1=through)), skip)


def _atomic(c: Choices, form: Form) -> Item:
    """At an address that is aligned. An SC after no LR, or elsewhere than it, must fail (14.2)."""
    size = 4 if ".w" in form.name else 8
    at = c.free()
    imm = c.rng.randrange(-2048, 2048, size)
    place = _full(c, "addi", rd=at, rs1=c.rng.choice(list(BASES)), imm=imm)
    if form.name[:3] not in ("lr.", "sc."):
        return Item((place, _step(c, form, rs1=at)))
    kept = c.rng.choice([r for r in FREE if r != at])
    suffix = form.name[3:]
    reserve = _full(c, f"lr.{suffix}", rs1=at, rd=kept)
    elsewhere = _full(c, "addi", rd=at, rs1=at, imm=16)
    store = _full(c, f"sc.{suffix}", rs1=at, rd=kept)
    again = _full(c, f"sc.{suffix}", rs1=at)
    shapes = (place, reserve, store), (place, reserve, store, again), (place, store), (
        place, reserve, elsewhere, again)  # fmt: skip
    return Item(c.rng.choice(shapes))


def _csr(c: Choices, form: Form) -> Item:
    """fflags, frm and fcsr, so that frm never holds a reserved mode."""
    operation, immediate = form.name[:5], form.name.endswith("i")
    csr = c.rng.choice((FFLAGS, FRM, FCSR))
    if csr == FFLAGS or operation == "csrrc":
        return Item((_step(c, form, csr=csr),))
    if csr == FRM:
        if operation == "csrrw" and immediate:
            return Item((_step(c, form, csr=csr, uimm=c.rng.choice(c.modes)),))
        return Item((_full(c, "csrrs", csr=csr, rs1=0),))
    if immediate:
        return Item((_step(c, form, csr=csr),))
    # 20.2: bits 7:5 are frm; the highest of them is kept clear, or the two below it
    mask = 0x1F if operation == "csrrs" else 0x9F if RMM in c.modes else 0x7F
    through = c.free()
    return Item((_full(c, "andi", rd=through, imm=mask), _step(c, form, csr=csr, rs1=through)))
