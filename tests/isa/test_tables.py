"""Theorems about the table of instructions: what must hold of every encoding, whatever it means."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.bits.bits import MASK, const, signed
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Encoding, Form, Isa

FORMS = pytest.mark.parametrize("form", rv64.forms, ids=lambda form: form.encoding.text)


def words(form: Form, count: int) -> list[int]:
    """Random words of one form, the same on every run."""
    rng = random.Random(form.encoding.text)
    free = MASK[8 * form.length] & ~form.encoding.mask
    found: list[int] = []
    while len(found) < count:
        word = rng.getrandbits(32) & free | form.encoding.match
        if form.encoding.matches(word):
            found.append(word)
    return found


def numbers(form: Form, word: int) -> dict[str, int]:
    """The operands of a word as the numbers that `encode` takes."""
    own = form.encoding.operands
    patterns = {name: operand.value(word) for name, operand in own.items()}
    return {n: signed(v, own[n].width) if own[n].signed else v for n, v in patterns.items()}


def test_no_two_encodings_overlap() -> None:
    for n, a in enumerate(rv64.forms):
        for b in rv64.forms[:n]:
            assert a.length != b.length or not a.encoding.overlaps(b.encoding), f"{a} overlaps {b}"


def test_an_overlap_is_refused_when_the_description_is_loaded() -> None:
    toy = Isa("toy").extension("T", "1", "Toy")
    toy.insn("0000000 rs2 rs1 000 rd 0110011", "one {rd}, {rs1}, {rs2}")(
        lambda h, rd, rs1, rs2: None
    )
    with pytest.raises(ValueError, match="^toy: two overlaps one$"):
        toy.insn("_:7 00001 rs1 000 rd 0110011", "two {rd}, {rs1}")(lambda h, rd, rs1: None)


@FORMS
def test_decoding_finds_the_form_that_a_word_was_made_of(form: Form) -> None:
    assert all(rv64.decode(word) is form for word in words(form, 20))


@FORMS
def test_encoding_undoes_reading(form: Form) -> None:
    ignored = MASK[8 * form.length] & ~form.encoding.mask
    for operand in form.encoding.operands.values():
        for hi, lo, at in operand.pieces:
            ignored &= ~(MASK[hi - lo + 1] << at)
    for word in words(form, 20):
        assert form.encoding.encode(numbers(form, word)) == word & ~ignored


@FORMS
def test_the_two_ways_of_reading_an_operand_agree(form: Form) -> None:
    for word in words(form, 5):
        read = form.read(const(word, 32))
        assert {name: bits.value for name, bits in read.items()} == form.values(word)
        widths = {name: operand.width for name, operand in form.insn.encoding.operands.items()}
        assert {name: bits.width for name, bits in read.items()} == widths


@pytest.mark.parametrize("form", [f for f in rv64.forms if f.expansion], ids=lambda f: f.syntax)
def test_a_compressed_word_has_the_operands_of_its_expansion(form: Form) -> None:
    own = form.insn.encoding.operands
    for word in words(form, 20):
        patterns = form.values(word)
        full = form.insn.encode(
            **{n: signed(v, own[n].width) if own[n].signed else v for n, v in patterns.items()}
        )
        decoded = rv64.decode(full)
        assert decoded is not None
        assert decoded.insn is form.insn
        assert decoded.values(full) == patterns


@given(st.integers(0, MASK[32]))
def test_a_word_has_one_form_or_none(word: int) -> None:
    length = 4 if word & 3 == 3 else 2
    cut = word & MASK[8 * length]
    matching = [f for f in rv64.forms if f.length == length and f.encoding.matches(cut)]
    assert len(matching) <= 1
    assert rv64.decode(word) is (matching[0] if matching else None)


def test_every_compressed_word_is_what_the_manual_says() -> None:
    reserved = {word for word in range(1 << 16) if word & 3 != 3 and rv64.decode(word) is None}
    said = set()
    for word in range(1 << 16):
        quadrant, funct3, rd = word & 3, word >> 13, word >> 7 & 31
        middle = word >> 2 & 31 | word >> 7 & 32  # nzimm[5|4:0]
        if quadrant == 0:
            bad = funct3 == 4 or (funct3 == 0 and word >> 5 & 0xFF == 0)
        elif quadrant == 1:
            bad = (
                (funct3 == 1 and rd == 0)
                or (funct3 == 3 and middle == 0)
                or (funct3 == 4 and word >> 10 & 7 == 7 and word >> 6 & 1 == 1)
            )
        elif quadrant == 2:
            bad = (funct3 in (2, 3) and rd == 0) or (word >> 12 == 8 and word >> 2 & 0x3FF == 0)
        else:
            continue
        if bad:
            said.add(word)
    assert reserved == said


ADDI = "imm[11:0] rs1 000 rd 0010011"
C_LW = "010 uimm[5:3] rs1' uimm[2|6] rd' 00"
C_LWSP = "010 uimm[5] rd!=0 uimm[4:2|7:6] 10"
C_LUI = "011 nzimm[17] rd!=2 nzimm[16:12] 01"


@pytest.mark.parametrize(
    ("encoding", "values", "message"),
    [
        (ADDI, {"rd": 1, "rs1": 2, "imm": 2048}, "imm: 2048 is not in -2048..2047"),
        (ADDI, {"rd": 1, "imm": 0}, "operand rs1 is missing"),
        (C_LW, {"rd": 7, "rs1": 8, "uimm": 0}, "rd: 7 is not in 8..15"),
        (C_LW, {"rd": 8, "rs1": 8, "uimm": 6}, "uimm: 6 is not a multiple of 4"),
        (C_LWSP, {"rd": 0, "uimm": 0}, "rd: 0 is reserved here"),
        (C_LUI, {"rd": 1, "imm": 0}, "imm: 0 is reserved here"),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    encoding: str, values: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        Encoding(encoding).encode(values)
    assert str(error.value) == message


def test_the_isa_string_starts_with_the_letters_in_the_manual_s_order() -> None:
    """Volume I, "ISA Extension Naming Conventions", and no names of privilege levels."""
    assert rv64.isa_string() == (
        "rv64imafdc_zicbom_zicboz_zicntr_zicond_zicsr_zifencei_zihpm_zba_zbb_zbs"
        "_sstc_svadu_svinval_svnapot_svpbmt"
    )


@pytest.mark.slow
def test_the_description_loads_fast(tmp_path: Path) -> None:
    probe = (
        "import time, auberge; start = time.process_time(); import auberge.isa.riscv.rv64; "
        "print(time.process_time() - start)"
    )
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds() -> float:
        run = [sys.executable, "-c", probe]
        return float(subprocess.run(run, capture_output=True, env=environment).stdout)

    seconds()  # compiles
    assert min(seconds() for _ in range(3)) < 0.06
