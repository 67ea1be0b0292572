"""The disassembler: the assembler's inverse, and of one mind with binutils."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.bits.bits import MASK
from auberge.isa.assembler import assemble
from auberge.isa.disassembler import disassemble, lines
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Form
from tests.isa.test_tables import FORMS, words

PC = 0x8000_0000


@FORMS
def test_what_is_shown_assembles_to_the_same_word(form: Form) -> None:
    data = b"".join(word.to_bytes(form.length, "little") for word in words(form, 20))
    for aliases in (False, True):
        text = "\n".join(line.text for line in lines(rv64, data, PC, aliases))
        assert assemble(rv64, text, PC) == data, text


@given(st.binary(max_size=64), st.sampled_from((0, PC, MASK[64] - 3)))
def test_a_listing_of_any_bytes_assembles_to_them(data: bytes, origin: int) -> None:
    text = "\n".join(line.text for line in lines(rv64, data, origin))
    assert assemble(rv64, text, origin) == data


@pytest.mark.parametrize(
    ("word", "plain", "alias"),
    [
        (0x00008067, "jalr zero,0(ra)", "ret"),
        (0x00000013, "addi zero,zero,0", "nop"),
        (0x00058513, "addi a0,a1,0", "mv a0,a1"),
        (0x30002573, "csrrs a0,mstatus,zero", "csrr a0,mstatus"),
        (0x00050463, "beq a0,zero,0x80000008", "beqz a0,0x80000008"),
        (0x22B58553, "fsgnj.d fa0,fa1,fa1", "fmv.d fa0,fa1"),
        (0x22C58553, "fsgnj.d fa0,fa1,fa2", "fsgnj.d fa0,fa1,fa2"),
        (0x0FF0000F, "fence iorw,iorw", "fence"),
        (0x8330000F, "fence.tso rw,rw", "fence.tso"),
        (0xFEA13C23, "sd a0,-8(sp)", "sd a0,-8(sp)"),
        (0x000FF537, "lui a0,0xff", "lui a0,0xff"),
        (0x00004512, "c.lwsp a0,4(sp)", "c.lwsp a0,4(sp)"),
        (0x00000000, ".half 0x0000", ".half 0x0000"),
        (0xFFFFFFFF, ".word 0xffffffff", ".word 0xffffffff"),
        (0x0FF0008F, ".word 0x0ff0008f", ".word 0x0ff0008f"),  # a fence whose rd is not zero
    ],
)
def test_style(word: int, plain: str, alias: str) -> None:
    assert disassemble(rv64, word, PC) == plain
    assert disassemble(rv64, word, PC, aliases=True) == alias


def test_registers_by_number() -> None:
    assert disassemble(rv64, 0xFEA13C23, numeric=True) == "sd x10,-8(x2)"
    assert disassemble(rv64, 0x4512, numeric=True) == "c.lwsp x10,4(x2)"


def test_a_listing_goes_by_length_and_ends_in_data() -> None:
    data = bytes.fromhex("0100 13000000 6f00 0000 93")
    assert [(line.address, line.length, line.text) for line in lines(rv64, data, 0x10)] == [
        (0x10, 2, "c.nop"),
        (0x12, 4, "addi zero,zero,0"),
        (0x16, 4, "jal zero,0x16"),
        (0x1A, 1, ".byte 0x93"),
    ]


# Where binutils 2.40 says the same in other words.
OTHER_WORDS = {
    "fence.tso rw,rw": "fence.tso",
    "fence w,0": "pause",
    "c.nop": "c.addi x0,0",
}
MARCH = "rv64imafdc_zicbom_zicboz_zicsr_zifencei_zba_zbb_zbs_svinval"
TOOLS = [f"riscv64-linux-gnu-{tool}" for tool in ("as", "objdump")]


@pytest.mark.slow
@pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS),
    reason="needs binutils for riscv64; apt install binutils-riscv64-linux-gnu",
)
def test_binutils_agrees(tmp_path: Path) -> None:
    """It assembles our text to the same word, and shows the word as we do."""
    cases: list[tuple[int, int, str]] = []
    pc = 0
    for form in rv64.forms:
        for word in words(form, 40):
            text = disassemble(rv64, word, pc, numeric=True)
            if understood(form, word, text):
                cases.append((form.length, word, text))
                pc += form.length
    source, image = tmp_path / "all.s", tmp_path / "all.o"
    at, body = 0, [".option norvc", ".option norelax"]
    for length, _, text in cases:
        body += [".option rvc" if length == 2 else ".option norvc", relative(text, at)]
        at += length
    source.write_text("\n".join(body) + "\n")
    subprocess.run(
        [TOOLS[0], f"-march={MARCH}", "-mpriv-spec=1.12", "-o", image, source], check=True
    )
    show = [TOOLS[1], "-d", "-z", "-M", "no-aliases,numeric,priv-spec=1.12", image]
    listing = subprocess.run(show, check=True, capture_output=True, text=True).stdout
    theirs = [shown(line) for line in listing.splitlines() if line.count("\t") >= 2]
    ours = [(word, OTHER_WORDS.get(text, text).replace("0x", "")) for _, word, text in cases]
    for our, their in zip(ours, theirs, strict=True):
        assert our == their


def understood(form: Form, word: int, text: str) -> bool:
    """Whether binutils 2.40 has this at all."""
    operands = form.encoding.operands
    if text.startswith(".") or form.extension == "Zicond":
        return False
    if form.name in ("fcvt.d.w", "fcvt.d.wu", "fcvt.d.s") and text.count(",") == 2:
        return False  # it knows no rounding mode for these exact conversions
    if form.name in ("c.slli", "c.srli", "c.srai") and operands["shamt"].value(word) == 0:
        return False  # c.slli64 and so on, of RV128
    if "csr" in operands and operands["csr"].value(word) not in rv64.csrs:
        return False  # it may name one that we do not have
    if form.name == "fence" and "0" in text:
        return text == "fence w,0"  # no empty sets
    return not (form.expansion and hint(form, word))


def hint(form: Form, word: int) -> bool:
    """Whether a compressed form does nothing: assemblers refuse these, or show another one."""
    operands = form.encoding.operands
    rd = operands.get("rd")
    zero = rd is not None and rd.value(word) == 0
    name = form.name
    if name == "c.nop":
        return word != 1
    if name == "c.addi":
        return operands["imm"].value(word) == 0
    return zero and name in ("c.li", "c.lui", "c.mv", "c.add", "c.slli")


def relative(text: str, at: int) -> str:
    """A branch target as a distance: an absolute one would be left to the linker."""
    head, comma, last = text.rpartition(",")
    if not comma:
        head, comma, last = text.rpartition(" ")
    mnemonic = text.split(" ")[0].removeprefix("c.")
    if mnemonic in ("jal", "j", "beqz", "bnez", "beq", "bne", "blt", "bge", "bltu", "bgeu"):
        distance = int(last, 0) - at
        distance = (distance + (1 << 63)) % (1 << 64) - (1 << 63)
        return f"{head}{comma}. + {distance}"
    return text


def shown(line: str) -> tuple[int, str]:
    """The word and the text of one line of objdump."""
    _, word, *text = line.split("\t")
    plain = " ".join(text).split(" #")[0].split(" <")[0].strip()
    return int(word.replace(" ", ""), 16), plain.replace("0x", "")
