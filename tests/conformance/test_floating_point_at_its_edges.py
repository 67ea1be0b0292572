"""Every floating-point instruction does the same on both engines at edge values, in every mode.

Ten thousand cases of each that rounds; the modes include the one that no host has.
"""

import random
import struct
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
from tests.engine import regions

CODE, FS_ON = 0x8000_0000, 1 << 13
MODES = range(5)
INSNS = {
    insn.name: insn
    for insn in rv64.insns.values()
    if insn.extension in ("F", "D") and "imm" not in insn.encoding.operands
}
AT_ONCE = 64  # operations between comparisons
DATA, RESULTS = CODE + 0x8000, CODE + 0x9000
DATA_POINTER, RESULT_POINTER = 5, 6
CASES = 2500  # in each mode
RARE = 8  # of the mode that every engine leaves to the reference, one case in so many
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
        0, 1, 2, fmt.quiet, fmt.fraction_mask, fmt.normal, fmt.normal + 1, one - 1, one, one + 1,
        one + fmt.quiet, one + fmt.fraction_mask // 3, fmt.infinity - one // 2, *ends,
        fmt.infinity - 1, fmt.infinity, fmt.infinity + 1, fmt.nan,
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
        return [(v,) for v in [*near, *(value(rng) for _ in range(CASES - len(near)))]]
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
    """A hart of one engine, with an instruction between loads of operands and stores of results."""

    def __init__(self, engine: str, insn: Insn) -> None:
        kind, self.ram = choose(engine), Ram(CODE, 0x10000)
        self.hart = kind.hart(0)
        self.run = kind.engine(self.hart, self.ram, ManualClock()).run
        self.hart["mstatus"] |= FS_ON
        load = "fld" if "{rs1:f}" in insn.syntax else "ld"
        store = "fsd" if "{rd:f}" in insn.syntax else "sd"
        own = [o for o in OPERANDS if o in insn.encoding.operands]
        for rm in (*MODES, DYNAMIC):
            fields = {"rd": 10, "rs1": 11, "rs2": 12, "rs3": 13, "rm": rm}
            words = []
            for n in range(AT_ONCE):
                for k, operand in enumerate(own):
                    at = 24 * n + 8 * k
                    words.append(rv64[load].encode(rd=fields[operand], rs1=DATA_POINTER, imm=at))
                words.append(insn.encode(**{o: fields[o] for o in insn.encoding.operands}))
                words.append(rv64[store].encode(rs2=10, rs1=RESULT_POINTER, imm=16 * n))
                words.append(rv64["csrrw"].encode(rd=14, csr=FFLAGS, rs1=0))
                words.append(rv64["sd"].encode(rs2=14, rs1=RESULT_POINTER, imm=16 * n + 8))
            self.each = len(words) // AT_ONCE
            self.ram.write(CODE + 0x1000 * rm, struct.pack(f"<{len(words)}I", *words))

    def results(
        self, batch: list[tuple[int, ...]], rm: int, dynamic: bool
    ) -> list[tuple[str, int]]:
        """What each of the batch gives: its result and its flags."""
        hart = self.hart
        for n, operands in enumerate(batch):
            self.ram.write(DATA + 24 * n, struct.pack(f"<{len(operands)}Q", *operands))
        hart.x[DATA_POINTER], hart.x[RESULT_POINTER] = DATA, RESULTS
        hart["pc"] = CODE + 0x1000 * (DYNAMIC if dynamic else rm)
        hart["frm"], hart["fflags"] = rm if dynamic else DYNAMIC, 0
        assert self.run(self.each * len(batch)) == Spent()
        words = struct.unpack(f"<{2 * len(batch)}Q", self.ram.read(RESULTS, 16 * len(batch)))
        return [(hex(words[n]), words[n + 1]) for n in range(0, len(words), 2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", INSNS)
def test_engines_agree_on_results_and_flags(name: str) -> None:
    insn = INSNS[name]
    interpreter, reference = Bench("interpreter", insn), Bench("reference", insn)
    translated = Bench(regions.NAME, insn)
    every = cases(insn)
    assert len(every) >= CASES
    for rm in MODES if "rm" in insn.encoding.operands else (ieee.RNE,):
        some = every[:: RARE if rm == ieee.RMM else 1]
        for at in range(0, len(some), AT_ONCE):
            batch, dynamic = some[at : at + AT_ONCE], bool(at // AT_ONCE % 2)
            got = interpreter.results(batch, rm, dynamic)
            expected = reference.results(batch, rm, dynamic)
            # What rounds otherwise is in no region.
            if rm == ieee.RNE and dynamic == name.endswith("d"):
                assert translated.results(batch, rm, dynamic) == got
            for operands, g, e in zip(batch, got, expected, strict=True):
                assert g == e, f"{name}, mode {rm}, of {', '.join(map(hex, operands))}"


@pytest.mark.parametrize("engine", ["interpreter", "reference", regions.NAME])
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
