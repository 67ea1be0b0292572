"""The encodings of F and D are the assembler's of binutils (2.40), recorded here."""

import pytest

from auberge.bits.bits import MASK, signed
from auberge.isa.riscv import d, f
from auberge.isa.riscv.base import rv64
from auberge.isa.spec import slots

# The operands of every line: f3, f17, f30, f9; x5, x12; -1044; rup (rne where gas takes none).
RECORDED = """
    bec62187 flw, bfe62627 fsw, 01e8b1d3 fadd.s, 09e8b1d3 fsub.s, 11e8b1d3 fmul.s,
    19e8b1d3 fdiv.s, 5808b1d3 fsqrt.s, 29e881d3 fmin.s, 29e891d3 fmax.s, 49e8b1c3 fmadd.s,
    49e8b1c7 fmsub.s, 49e8b1cb fnmsub.s, 49e8b1cf fnmadd.s, c008b2d3 fcvt.w.s, d00631d3 fcvt.s.w,
    c018b2d3 fcvt.wu.s, d01631d3 fcvt.s.wu, c028b2d3 fcvt.l.s, d02631d3 fcvt.s.l,
    c038b2d3 fcvt.lu.s, d03631d3 fcvt.s.lu, 21e881d3 fsgnj.s, 21e891d3 fsgnjn.s,
    21e8a1d3 fsgnjx.s, e00882d3 fmv.x.w, f00601d3 fmv.w.x, a1e8a2d3 feq.s, a1e892d3 flt.s,
    a1e882d3 fle.s, e00892d3 fclass.s, bec63187 fld, bfe63627 fsd, 03e8b1d3 fadd.d,
    0be8b1d3 fsub.d, 13e8b1d3 fmul.d, 1be8b1d3 fdiv.d, 5a08b1d3 fsqrt.d, 2be881d3 fmin.d,
    2be891d3 fmax.d, 4be8b1c3 fmadd.d, 4be8b1c7 fmsub.d, 4be8b1cb fnmsub.d, 4be8b1cf fnmadd.d,
    c208b2d3 fcvt.w.d, d20601d3 fcvt.d.w, c218b2d3 fcvt.wu.d, d21601d3 fcvt.d.wu,
    c228b2d3 fcvt.l.d, d22631d3 fcvt.d.l, c238b2d3 fcvt.lu.d, d23631d3 fcvt.d.lu,
    4018b1d3 fcvt.s.d, 420881d3 fcvt.d.s, 23e881d3 fsgnj.d, 23e891d3 fsgnjn.d, 23e8a1d3 fsgnjx.d,
    e20882d3 fmv.x.d, f20601d3 fmv.d.x, a3e8a2d3 feq.d, a3e892d3 flt.d, a3e882d3 fle.d,
    e20892d3 fclass.d
"""
FLOATS = {"rd": 3, "rs1": 17, "rs2": 30, "rs3": 9}
INTEGERS = {"rd": 5, "rs1": 12, "imm": -1044 & MASK[64], "rm": 3}
EXACT = {"fcvt.d.w", "fcvt.d.wu", "fcvt.d.s"}
ROWS = [row.split() for row in RECORDED.replace("\n", " ").split(",")]


@pytest.mark.parametrize(("word", "name"), ROWS, ids=[name for _, name in ROWS])
def test_an_encoding_is_what_binutils_assembles(word: str, name: str) -> None:
    form = rv64.decode(int(word, 16))
    assert form is not None
    assert form.name == name
    expected = {
        operand: FLOATS[operand] if kind == "f" else INTEGERS[operand]
        for _, operand, kind in slots(form.syntax)
        if operand
    }
    if name in EXACT:
        expected["rm"] = 0
    values = form.values(int(word, 16))
    assert values == expected
    if "imm" in values:
        values["imm"] = signed(values["imm"], 64)
    assert form.insn.encode(**values) == int(word, 16)


def test_the_record_has_every_instruction() -> None:
    chapters = {f.f.name, d.d.name}
    declared = {i.name for i in rv64.insns.values() if i.extension in chapters}
    assert declared == {name for _, name in ROWS}
