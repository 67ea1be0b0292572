"""What rounds gives, on every engine, the value and the flags of `bits.ieee`, boxed."""

import random

import pytest

from auberge.bits import ieee
from auberge.bits.bits import MASK, signed
from auberge.bits.ieee import FORMATS
from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Spent
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram
from tests.engine import regions

BASE = 0x8000_0000
BOX = MASK[32] << 32
FS_INITIAL, FS_DIRTY = 1 << 13, 3 << 13
DYNAMIC = 7
SAMPLES = {"reference": 8, "interpreter": 200, regions.NAME: 200}
FUSED = {"fmadd": (0, 0, 0), "fmsub": (0, 0, 1), "fnmsub": (1, 0, 0), "fnmadd": (1, 0, 1)}
INTEGERS = {"w": "i32", "wu": "u32", "l": "i64", "lu": "u64"}
NAMES = [i.name for i in rv64.insns.values() if i.name[0] == "f" and "rm" in i.encoding.operands]


def meaning(name: str) -> tuple[str, int]:
    """The operation and the format of `bits.ieee` for an instruction's name."""
    stem, *kinds = name.split(".")
    if stem != "fcvt":
        return "fma" if stem in FUSED else stem[1:], {"s": 32, "d": 64}[kinds[0]]
    target, source = kinds
    if target in INTEGERS:
        return f"to_{INTEGERS[target]}", {"s": 32, "d": 64}[source]
    if source in INTEGERS:
        return f"from_{INTEGERS[source]}", {"s": 32, "d": 64}[target]
    return ("narrow", 32) if target == "s" else ("widen", 64)


def sample(rng: random.Random, width: int, near: int) -> int:
    """A pattern: any, an edge, or a neighbour of another."""
    fmt = FORMATS[width]
    kind = rng.random()
    if kind < 0.3:
        return near ^ rng.getrandbits(1) * fmt.sign ^ rng.getrandbits(2) << fmt.fraction
    middle = fmt.exponent_mask >> 1
    exponent = rng.choice([0, 1, 2, fmt.exponent_mask - 1, fmt.exponent_mask, middle, middle + 31])
    if kind < 0.6:
        exponent = rng.randrange(fmt.exponent_mask)
    fraction = rng.choice([0, 1, fmt.fraction_mask, fmt.quiet, rng.getrandbits(fmt.fraction)])
    return rng.getrandbits(1) * fmt.sign | exponent << fmt.fraction | fraction


@pytest.mark.slow
@pytest.mark.parametrize("rm", range(5))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", SAMPLES)
def test_an_engine_rounds_as_bits_ieee_does(engine: str, name: str, rm: int) -> None:
    op, width = meaning(name)
    operand_width, result_width = ieee.operand_width(op, width), ieee.result_width(op, width)
    flips = FUSED.get(name.partition(".")[0], (0, 0, 0))
    sources = [o for o in ("rs1", "rs2", "rs3") if o in rv64[name].encoding.operands]
    kind, ram = choose(engine), Ram(BASE, 4096)
    hart = kind.hart(0)
    run = kind.engine(hart, ram, ManualClock()).run
    for at, mode in enumerate((rm, DYNAMIC)):
        registers = {o: 10 + n for n, o in enumerate(sources)}
        word = rv64[name].encode(rd=9, rm=mode, **registers)
        ram.write(BASE + 4 * at, word.to_bytes(4, "little"))
    rng = random.Random(f"{name} {rm}")
    # No host has round-to-nearest-max-magnitude: the reference serves it, for everyone.
    for n in range(SAMPLES["reference" if rm == ieee.RMM else engine]):
        operands = [0x3FF << (operand_width - 12)]
        for _ in sources:
            operands.append(sample(rng, operand_width, operands[-1]))
        del operands[0]
        for register, v in enumerate(operands, 10):
            if op.startswith("from_"):
                hart.x[register] = v | rng.getrandbits(64) << operand_width
            else:
                hart.f[register] = v | (BOX if operand_width == 32 else 0)
        raised = rng.getrandbits(5)
        hart["mstatus"], hart["fflags"], hart["pc"] = FS_INITIAL, raised, BASE + 4 * (n % 2)
        hart["frm"] = rm if n % 2 else DYNAMIC
        assert run(1) == Spent()
        assert hart["pc"] == BASE + 4 * (n % 2) + 4
        sign = FORMATS[width].sign
        signs = [v ^ sign if flip else v for v, flip in zip(operands, flips, strict=False)]
        value, flags = ieee.evaluate(op, width, rm, *signs)
        if op.startswith("to_"):
            got, value = hart.x[9], signed(value, result_width) & MASK[64]
        else:
            got, value = hart.f[9], value | (BOX if width == 32 else 0)
        case = [hex(v) for v in operands]
        assert (hex(got), hart["fflags"]) == (hex(value), flags | raised), case
        assert hart["mstatus"] == FS_DIRTY
