"""Every floating-point instruction does the same on both engines at edge values, in every mode.

Ten thousand cases of each that rounds; the modes include the one that no host has.
"""

import random
from itertools import product

import pytest

from auberge.bits import ieee
from auberge.bits.bits import MASK
from auberge.bits.ieee import FORMATS
from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Spent
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Insn
from auberge.memory.ram import Ram
from tests.conformance.generate import BOX, DYNAMIC, FFLAGS, relatives, value

BASE, FS_ON = 0x8000_0000, 1 << 13
MODES = range(5)
INSNS = {
    insn.name: insn
    for insn in rv64.insns.values()
    if insn.extension in ("F", "D") and "imm" not in insn.encoding.operands
}
AT_ONCE = 8  # operations between comparisons: rd and flags of each have a register
RD, FLAGS = 8, 16
OPERANDS = ("rs1", "rs2", "rs3")


def magnitudes(width: int) -> list[int]:
    """Zero, the ends of subnormals and normals, around one, what integers end at, NaNs."""
    fmt = FORMATS[width]
    bias = fmt.exponent_mask >> 1
    one = bias << fmt.fraction
    ends = [
        (bias + n) << fmt.fraction for n in (-1, 1, 31, 32, 63, 64, fmt.fraction, -fmt.fraction)
    ]
    return [
        0, 1, 2, fmt.fraction_mask, fmt.normal, fmt.normal + 1, one - 1, one, one + 1,
        one + fmt.quiet, *ends, fmt.infinity - 1, fmt.infinity, fmt.infinity + 1, fmt.nan,
    ]  # fmt: skip


def edges(width: int) -> list[int]:
    """Both signs of those, boxed; a NaN with a payload, or what is not boxed."""
    box = BOX if width == 32 else 0
    signed = [m | s | box for m, s in product(magnitudes(width), (0, FORMATS[width].sign))]
    return [*signed, FORMATS[width].nan + 5 if width == 64 else 0x3F800000]


def operand_width(insn: Insn) -> int:
    """Of the source format of an instruction; 0 for an integer."""
    kind = insn.name.split(".")[-1]
    if "{rs1:f}" not in insn.syntax:
        return 0
    return {"s": 32, "w": 32, "d": 64, "x": 64}[kind]


def cases(insn: Insn) -> list[tuple[int, ...]]:
    """Operands: every edge with every other, a third beside them; a single one by the thousands."""
    rng = random.Random(insn.name)
    width = operand_width(insn)
    if "rs2" not in insn.encoding.operands:
        near = [r for v in edges(width or 64) for r in relatives(v)]
        return [(v,) for v in [*near, *(value(rng) for _ in range(2025 - len(near)))]]
    pairs = list(product(edges(width), repeat=2))
    if "rs3" not in insn.encoding.operands:
        return pairs
    thirds = edges(width)
    out: list[tuple[int, ...]] = []
    for n, (a, b) in enumerate(pairs):
        third = rng.choice(thirds)
        if n % 3 == 0:  # what the sum cancels, or nearly
            mask = MASK[width]
            product_, _ = ieee.evaluate("mul", width, ieee.RNE, a & mask, b & mask)
            third = (product_ + rng.choice((-1, 0, 0, 1)) ^ FORMATS[width].sign) & mask
            third |= BOX if width == 32 else 0
        out.append((a, b, third))
    return out


class Bench:
    """A hart of one engine, with eight of an instruction and a look at its flags after each."""

    def __init__(self, engine: str, insn: Insn) -> None:
        kind, self.ram = choose(engine), Ram(BASE, 0x2000)
        self.hart = kind.hart(0)
        self.run = kind.engine(self.hart, self.ram, ManualClock()).run
        self.hart["mstatus"] |= FS_ON
        self.to_f, self.from_f = "{rd:f}" in insn.syntax, "{rs1:f}" in insn.syntax
        for rm in (*MODES, DYNAMIC):
            code = b""
            for n in range(AT_ONCE):
                fields = {"rd": RD + n} | {o: self.register(n, o) for o in OPERANDS}
                fields |= {"rm": rm}
                own = {o: fields[o] for o in insn.encoding.operands}
                look = rv64["csrrw"].encode(rd=FLAGS + n, csr=FFLAGS, rs1=0)
                code += insn.encode(**own).to_bytes(4, "little") + look.to_bytes(4, "little")
            self.ram.write(BASE + 0x100 * rm, code)

    def register(self, n: int, operand: str) -> int:
        """Where operation `n` has an operand: beside results and flags in x, anywhere else in f."""
        if not self.from_f:
            return (24, 25, 26, 27, 28, 29, 30, 7)[n]
        return {"rs1": 0, "rs2": 16, "rs3": 24}[operand] + n

    def results(
        self, batch: list[tuple[int, ...]], rm: int, dynamic: bool
    ) -> list[tuple[str, int]]:
        """What each of the batch gives: its result and its flags."""
        hart = self.hart
        for n, operands in enumerate(batch):
            for operand, v in zip(OPERANDS, operands, strict=False):
                (hart.f if self.from_f else hart.x)[self.register(n, operand)] = v
        hart["pc"] = BASE + 0x100 * (DYNAMIC if dynamic else rm)
        hart["frm"], hart["fflags"] = rm if dynamic else DYNAMIC, 0
        assert self.run(2 * AT_ONCE) == Spent()
        file = hart.f if self.to_f else hart.x
        return [(hex(file[RD + n]), hart.x[FLAGS + n]) for n in range(len(batch))]


@pytest.mark.slow
@pytest.mark.parametrize("name", INSNS)
def test_engines_agree_on_results_and_flags(name: str) -> None:
    insn = INSNS[name]
    interpreter, reference = Bench("interpreter", insn), Bench("reference", insn)
    every = cases(insn)
    assert len(every) >= 2000
    for rm in MODES if "rm" in insn.encoding.operands else (ieee.RNE,):
        for at in range(0, len(every), AT_ONCE):
            batch, dynamic = every[at : at + AT_ONCE], bool(at // AT_ONCE % 2)
            got = interpreter.results(batch, rm, dynamic)
            expected = reference.results(batch, rm, dynamic)
            for operands, g, e in zip(batch, got, expected, strict=True):
                assert g == e, f"{name}, mode {rm}, of {', '.join(map(hex, operands))}"


@pytest.mark.parametrize("engine", ["interpreter", "reference"])
@pytest.mark.parametrize("name", ["fmadd.s", "fmsub.s", "fnmsub.s", "fnmadd.s",
                                  "fmadd.d", "fmsub.d", "fnmsub.d", "fnmadd.d"])  # fmt: skip
def test_infinity_times_zero_plus_a_quiet_nan_is_invalid(name: str, engine: str) -> None:
    """20.6: it sets the flag "even when the addend is a quiet NaN"."""
    width = operand_width(INSNS[name])
    fmt, box = FORMATS[width], BOX if width == 32 else 0
    bench = Bench(engine, INSNS[name])
    infinity, zero, nan = fmt.infinity | box, box, fmt.nan | box
    batch: list[tuple[int, ...]] = [
        (infinity, zero, nan),
        (zero, infinity, nan),
        (infinity, zero, zero),
        (zero, zero, nan),
    ]
    for rm in MODES:
        expected = [(hex(nan), ieee.NV)] * 3 + [(hex(nan), 0)]
        assert bench.results(batch, rm, dynamic=False) == expected
