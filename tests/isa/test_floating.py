"""The texts of F and D against `bits.ieee`, on a hart that is nothing but numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.bits import ieee
from auberge.bits.bits import MASK, Bits, const, signed
from auberge.bits.ieee import BINARY32, BINARY64, FORMATS, NV, Format
from auberge.isa.hart import ZERO, Hart
from auberge.isa.riscv import d, f
from auberge.isa.riscv.base import rv64
from auberge.isa.spec import Cell

ILLEGAL = 2
FS_INITIAL, FS_CLEAN, FS_DIRTY = 1 << 13, 2 << 13, 3 << 13
BOX = MASK[32] << 32
NAN32 = BINARY32.nan


class Trapped(Exception):
    """A text ended in this trap: cause, tval."""


class Plain(Hart):
    """State is a dictionary; an instruction happens at once, and its end is `commit`."""

    def __init__(self, **cells: int) -> None:
        super().__init__()
        self.isa, self.live, self.fetched = rv64, True, 0
        self.cells = {"mstatus": FS_INITIAL, **cells}
        self.files = {"x": [0] * 32, "f": [0] * 32}
        self.memory: dict[int, tuple[int, int]] = {}
        self.written: list[tuple[str, int, int]] = []

    def instruction_word(self) -> Bits:
        return const(self.fetched, 64)

    def read(self, cell: Cell) -> Bits:
        return const(self.cells.get(cell.name, 0), 64)

    def write(self, cell: Cell, v: Bits) -> None:
        if self.live:
            self.pending[cell] = v

    def read_register(self, file: str, i: Bits) -> Bits:
        return const(self.files[file][int(i)], 64)

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        assert v.width == 64
        if self.live:
            self.written.append((file, int(i), int(v)))

    @contextmanager
    def when(self, cond: Bits) -> Iterator[None]:
        before, self.live = self.live, self.live and bool(cond)
        yield
        self.live = before

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        if self.live:
            raise Trapped(int(cause), int(tval))

    def load(self, va: Bits, size: int) -> Bits:
        v, stored = self.memory[int(va)]
        assert size == stored
        return const(v, 8 * size)

    def store(self, va: Bits, size: int, v: Bits) -> None:
        assert v.width == 8 * size
        self.memory[int(va)] = int(v), size

    def fpu(self, op: str, fmt: int, rm: Bits, *operands: Bits) -> Bits:
        assert rm.width == 3
        assert all(a.width == ieee.operand_width(op, fmt) for a in operands)
        value, flags = ieee.evaluate(op, fmt, int(rm), *map(int, operands))
        self.cells["fflags"] = self.cells.get("fflags", 0) | flags
        return const(value, ieee.result_width(op, fmt))

    def step(self, name: str, **operands: int) -> None:
        """Execute one instruction, from its word."""
        word = rv64[name].encode(**operands)
        self.fetched = word
        form = rv64.decode(word)
        assert form is not None
        assert form.name == name
        form.insn.execute(self, **form.read(const(word, 32)))
        for cell, v in self.pending.items():
            self.cells[cell.name] = int(v)
        for file, i, value in self.written:
            self.files[file][i] = value

    @property
    def flags(self) -> int:
        return self.cells.get("fflags", 0)

    @property
    def fs(self) -> int:
        return self.cells["mstatus"]


def boxed(fmt: Format, a: int) -> int:
    return a if fmt is BINARY64 else BOX | a


# -- the tables: what each instruction is, in words of bits.ieee --------------------------------


class Rounding(NamedTuple):
    """An instruction that rounds: the registers it reads, and what it computes of them."""

    op: str
    fmt: int  # in which h.fpu is asked
    sources: str  # a register file for each of rs1, rs2, rs3
    target: str
    flips: tuple[int, ...] = (0, 0, 0)  # which operands are negated first


ROUNDING: dict[str, Rounding] = {}
for letter, width in (("s", 32), ("d", 64)):
    for op in ("add", "sub", "mul", "div"):
        ROUNDING[f"f{op}.{letter}"] = Rounding(op, width, "ff", "f")
    ROUNDING[f"fsqrt.{letter}"] = Rounding("sqrt", width, "f", "f")
    ROUNDING[f"fmadd.{letter}"] = Rounding("fma", width, "fff", "f")
    ROUNDING[f"fmsub.{letter}"] = Rounding("fma", width, "fff", "f", (0, 0, 1))
    ROUNDING[f"fnmsub.{letter}"] = Rounding("fma", width, "fff", "f", (1, 0, 0))
    ROUNDING[f"fnmadd.{letter}"] = Rounding("fma", width, "fff", "f", (1, 0, 1))
    for integer, name in (("w", "i32"), ("wu", "u32"), ("l", "i64"), ("lu", "u64")):
        ROUNDING[f"fcvt.{letter}.{integer}"] = Rounding(f"from_{name}", width, "x", "f")
        ROUNDING[f"fcvt.{integer}.{letter}"] = Rounding(f"to_{name}", width, "f", "x")
ROUNDING["fcvt.s.d"] = Rounding("narrow", 32, "f", "f")
ROUNDING["fcvt.d.s"] = Rounding("widen", 64, "f", "f")

PAIRS: dict[str, Callable[[Format, int, int], tuple[int, int]]] = {
    "fmin": ieee.minimum,
    "fmax": ieee.maximum,
    "feq": ieee.eq,
    "flt": ieee.lt,
    "fle": ieee.le,
    "fsgnj": lambda fmt, a, b: (a & fmt.magnitude | b & fmt.sign, 0),
    "fsgnjn": lambda fmt, a, b: (a & fmt.magnitude | ~b & fmt.sign, 0),
    "fsgnjx": lambda fmt, a, b: (a ^ b & fmt.sign, 0),
}
TO_X = {"feq", "flt", "fle"}
ALL = [i for i in rv64.insns.values() if i.extension in (f.f.name, d.d.name)]
WITH_RM = [i.name for i in ALL if "rm" in i.encoding.operands]
WITHOUT_RM = [i.name for i in ALL if "rm" not in i.encoding.operands]
formats = pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=repr)
LETTER = {BINARY32: "s", BINARY64: "d"}


def landmarks(fmt: Format) -> list[int]:
    one = (fmt.exponent_mask >> 1) << fmt.fraction
    sizes = [0, 1, fmt.normal - 1, fmt.normal, one, one + 1, one + fmt.normal + 1]
    sizes += [fmt.infinity - 1, fmt.infinity, fmt.infinity + 1, fmt.nan, fmt.nan + 5]
    return [size | sign for size in sizes for sign in (0, fmt.sign)]


def operands_of(fmt: Format) -> st.SearchStrategy[int]:
    near = st.integers(0, MASK[fmt.width])
    one = landmarks(fmt)[8]
    around = st.integers(0, MASK[fmt.fraction + 2]).map(lambda low: one ^ low)
    return st.sampled_from(landmarks(fmt)) | near | around


def test_the_table_has_every_instruction_that_rounds() -> None:
    assert sorted(ROUNDING) == sorted(WITH_RM)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUNDING)
@given(data=st.data(), rm=st.integers(0, 4), dynamic=st.booleans())
def test_a_rounding_instruction_is_bits_ieee_boxed(
    name: str, data: st.DataObject, rm: int, dynamic: bool
) -> None:
    row = ROUNDING[name]
    h = Plain(frm=rm if dynamic else 7, fflags=1)
    width = ieee.operand_width(row.op, row.fmt)
    operands, registers = [], {}
    for n, (file, negated) in enumerate(zip(row.sources, row.flips, strict=False), 1):
        if file == "x":
            integers = st.integers(0, MASK[64]) | st.integers(0, 64).map(lambda k: MASK[64] >> k)
            v = data.draw(integers)
            operands.append(v & MASK[width])
        else:
            a = data.draw(operands_of(FORMATS[width]))
            v = boxed(FORMATS[width], a)
            operands.append(a ^ FORMATS[width].sign if negated else a)
        h.files[file][n] = v
        registers[f"rs{n}"] = n
    h.step(name, rd=9, rm=7 if dynamic else rm, **registers)
    value, flags = ieee.evaluate(row.op, row.fmt, rm, *operands)
    if row.target == "x":
        expected = signed(value, ieee.result_width(row.op, row.fmt)) & MASK[64]
    else:
        expected = boxed(FORMATS[row.fmt], value)
    assert h.files[row.target][9] == expected
    assert h.flags == flags | 1
    assert h.fs == FS_DIRTY


@pytest.mark.slow
@formats
@pytest.mark.parametrize("name", PAIRS)
def test_an_instruction_on_a_pair_is_bits_ieee(name: str, fmt: Format) -> None:
    for a, b in product(landmarks(fmt), repeat=2):
        h = Plain()
        h.files["f"][1], h.files["f"][2] = boxed(fmt, a), boxed(fmt, b)
        h.step(f"{name}.{LETTER[fmt]}", rd=9, rs1=1, rs2=2)
        value, flags = PAIRS[name](fmt, a, b)
        if name in TO_X:
            assert (h.files["x"][9], h.flags) == (value, flags), (hex(a), hex(b))
        else:
            assert (h.files["f"][9], h.flags) == (boxed(fmt, value), flags), (hex(a), hex(b))
        assert h.fs == FS_DIRTY


@formats
@given(data=st.data())
def test_comparisons_hold_for_any_pair(fmt: Format, data: st.DataObject) -> None:
    a, b = data.draw(operands_of(fmt)), data.draw(operands_of(fmt))
    for name in ("fmin", "fmax", "flt", "fle"):
        h = Plain()
        h.files["f"][1], h.files["f"][2] = boxed(fmt, a), boxed(fmt, b)
        h.step(f"{name}.{LETTER[fmt]}", rd=9, rs1=1, rs2=2)
        value, flags = PAIRS[name](fmt, a, b)
        got = h.files["x"][9] if name in TO_X else h.files["f"][9] & MASK[fmt.width]
        assert (got, h.flags) == (value, flags)


@formats
def test_fclass_is_bits_ieee(fmt: Format) -> None:
    for a in landmarks(fmt):
        h = Plain()
        h.files["f"][1] = boxed(fmt, a)
        h.step(f"fclass.{LETTER[fmt]}", rd=9, rs1=1)
        assert h.files["x"][9] == ieee.classify(fmt, a)
        assert h.fs == FS_INITIAL


# -- NaN boxing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [0, 1, MASK[32] - 1, MASK[31]])
def test_an_operand_that_is_not_boxed_is_the_canonical_nan(high: int) -> None:
    one = 0x3F800000
    for name, result in (
        ("fadd.s", BOX | NAN32),
        ("fmadd.s", BOX | NAN32),
        ("fsqrt.s", BOX | NAN32),
        ("fcvt.d.s", BINARY64.nan),
        ("fsgnj.s", BOX | NAN32),
        ("fsgnjn.s", BOX | NAN32 | 1 << 31),
        ("fsgnjx.s", BOX | NAN32),
        ("fmin.s", BOX | NAN32),
        ("fmax.s", BOX | NAN32),
    ):
        h = Plain()
        h.files["f"][1] = high << 32 | one
        sources = {o: 1 for o in ("rs1", "rs2", "rs3") if o in rv64[name].encoding.operands}
        h.step(name, rd=9, **sources, **({"rm": 0} if name in WITH_RM else {}))
        assert (h.files["f"][9], h.flags) == (result, 0), name
    for name, answer, flags in (
        ("feq.s", 0, 0),
        ("flt.s", 0, NV),
        ("fclass.s", 1 << 9, 0),
        ("fcvt.w.s", MASK[31], NV),
        ("fcvt.wu.s", MASK[64], NV),
    ):
        h = Plain()
        h.files["f"][1] = high << 32 | one
        sources = {o: 1 for o in ("rs1", "rs2") if o in rv64[name].encoding.operands}
        h.step(name, rd=9, **sources, **({"rm": 0} if name in WITH_RM else {}))
        assert (h.files["x"][9], h.flags) == (answer, flags), name


def test_transfers_take_the_low_bits_whatever_is_above_them() -> None:
    h = Plain()
    h.files["f"][1], h.files["x"][2] = 0x0123456789ABCDEF, 0x1000
    h.step("fsw", rs2=1, rs1=2, imm=-4)
    assert h.memory == {0xFFC: (0x89ABCDEF, 4)}
    h.step("fmv.x.w", rd=9, rs1=1)
    assert h.files["x"][9] == 0xFFFFFFFF89ABCDEF
    h.step("fsd", rs2=1, rs1=2, imm=8)
    assert h.memory[0x1008] == (0x0123456789ABCDEF, 8)
    h.step("fmv.x.d", rd=9, rs1=1)
    assert h.files["x"][9] == 0x0123456789ABCDEF
    assert h.fs == FS_INITIAL


def test_what_comes_in_is_boxed_and_dirties() -> None:
    h = Plain(mstatus=FS_CLEAN)
    h.memory, h.files["x"][2] = {0xFFC: (0x12345678, 4), 0x1008: (0x89ABCDEF01234567, 8)}, 0x1000
    h.step("flw", rd=9, rs1=2, imm=-4)
    assert (h.files["f"][9], h.fs) == (BOX | 0x12345678, FS_DIRTY)
    h.step("fld", rd=9, rs1=2, imm=8)
    assert h.files["f"][9] == 0x89ABCDEF01234567
    h.files["x"][1] = 0xFEDCBA9876543210
    for name, expected in (("fmv.w.x", BOX | 0x76543210), ("fmv.d.x", 0xFEDCBA9876543210)):
        h = Plain(mstatus=FS_CLEAN)
        h.files["x"][1] = 0xFEDCBA9876543210
        h.step(name, rd=9, rs1=1)
        assert (h.files["f"][9], h.fs) == (expected, FS_DIRTY)


# -- what is illegal ----------------------------------------------------------------------------


def illegal(h: Plain, name: str, **fixed: int) -> None:
    operands = {o: 1 for o in rv64[name].encoding.operands if o != "imm"}
    if "imm" in rv64[name].encoding.operands:
        operands["imm"] = 0
    h.memory[0] = 0, 8
    with pytest.raises(Trapped) as trapped:
        h.step(name, **(operands | fixed))
    assert trapped.value.args == (ILLEGAL, h.fetched)


@pytest.mark.parametrize("name", [i.name for i in ALL])
def test_everything_is_illegal_while_floating_point_is_off(name: str) -> None:
    illegal(Plain(mstatus=~FS_DIRTY & MASK[64]), name)


@pytest.mark.parametrize("name", WITH_RM)
def test_a_reserved_rounding_mode_is_illegal(name: str) -> None:
    for rm in (5, 6):
        illegal(Plain(), name, rm=rm)
    for frm in (5, 6, 7):
        illegal(Plain(frm=frm), name, rm=7)


@pytest.mark.parametrize("name", [n for n in WITHOUT_RM if n not in ("flw", "fld", "fsw", "fsd")])
def test_what_does_not_round_ignores_frm(name: str) -> None:
    h = Plain(frm=7)
    h.step(name, **dict.fromkeys(rv64[name].encoding.operands, 1))
    assert h.cells["frm"] == 7
