"""The assembler, line by line: encodings recorded from binutils 2.40, and its own rules."""

import pytest

from auberge.isa.assembler import assemble, assembly, load_immediate
from auberge.isa.disassembler import lines
from auberge.isa.riscv.rv64 import rv64
from auberge.refusal import Refusal


def listing(text: str, origin: int = 0, aliases: bool = False) -> list[str]:
    return [line.text for line in lines(rv64, assemble(rv64, text, origin), origin, aliases)]


# `riscv64-linux-gnu-as -march=rv64gc_zba_zbb_zbs`, norvc
RECORDED = {
    "nop": 0x00000013,
    "mv a0, a1": 0x00058513,
    "not a0, a1": 0xFFF5C513,
    "neg a0, a1": 0x40B00533,
    "negw a0, a1": 0x40B0053B,
    "sext.w a0, a1": 0x0005851B,
    "zext.b a0, a1": 0x0FF5F513,
    "zext.w a0, a1": 0x0805853B,
    "zext.h a0, a1": 0x0805C53B,
    "seqz a0, a1": 0x0015B513,
    "snez a0, a1": 0x00B03533,
    "sltz a0, a1": 0x0005A533,
    "sgtz a0, a1": 0x00B02533,
    "sgt a0, a1, a2": 0x00B62533,
    "ret": 0x00008067,
    "jr t0": 0x00028067,
    "jr 8(t0)": 0x00828067,
    "jalr t0": 0x000280E7,
    "jalr a0, t0": 0x00028567,
    "jalr a0, 4(t0)": 0x00428567,
    "jalr a0, t0, 4": 0x00428567,
    "fence": 0x0FF0000F,
    "fence r, rw": 0x0230000F,
    "fence.tso": 0x8330000F,
    "pause": 0x0100000F,
    "fence.i": 0x0000100F,
    "rdcycle a0": 0xC0002573,
    "rdtime a0": 0xC0102573,
    "rdinstret a0": 0xC0202573,
    "csrr a0, mstatus": 0x30002573,
    "csrw satp, a0": 0x18051073,
    "csrs 0x344, a0": 0x34452073,
    "csrc sie, a0": 0x10453073,
    "csrwi stvec, 4": 0x10525073,
    "csrsi sstatus, 2": 0x10016073,
    "csrci sstatus, 31": 0x100FF073,
    "lui a0, 0xfffff": 0xFFFFF537,
    "auipc a0, 1": 0x00001517,
    "ld a0, (a1)": 0x0005B503,
    "sd a0, -8(sp)": 0xFEA13C23,
    "srai a0, a0, 63": 0x43F55513,
    "lr.w.aq a0, (a1)": 0x1405A52F,
    "sc.d.rl a0, a2, (a1)": 0x1AC5B52F,
    "amoadd.w.aqrl a0, a2, (a1)": 0x06C5A52F,
    "amomaxu.d a0, a2, 0(a1)": 0xE0C5B52F,
    "fadd.d fa0, fa1, fa2": 0x02C5F553,
    "fadd.d f10, f11, f12, rtz": 0x02C59553,
    "fcvt.d.w fa0, a0": 0xD2050553,
    "fcvt.w.d a0, fa0, rtz": 0xC2051553,
    "fmv.d fa0, fa1": 0x22B58553,
    "fabs.s fa0, fa1": 0x20B5A553,
    "fmadd.s fa0, fa1, fa2, fa3, rne": 0x68C58543,
    "frflags a0": 0x00102573,
    "ecall": 0x00000073,
    "mret": 0x30200073,
    "sfence.vma": 0x12000073,
    "sfence.vma a0, a1": 0x12B50073,
}


@pytest.mark.parametrize(("text", "word"), RECORDED.items(), ids=RECORDED)
def test_one_line_is_what_binutils_makes_of_it(text: str, word: int) -> None:
    assert assemble(rv64, text).hex() == word.to_bytes(4, "little").hex()


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("c.nop", 0x0001),
        ("c.addi16sp sp, -64", 0x7139),
        ("c.addi4spn a0, sp, 16", 0x0808),
        ("c.lui a0, 0xfffe1", 0x7505),
        ("c.lwsp a0, 4(sp)", 0x4512),
        ("c.fsdsp fa0, 8(sp)", 0xA42A),
        ("c.ebreak", 0x9002),
        ("c.jr ra", 0x8082),
        ("c.mv a0, a1", 0x852E),
        ("c.j .", 0xA001),
    ],
)
def test_an_instruction_is_compressed_where_one_says_so(text: str, half: int) -> None:
    assert assemble(rv64, text) == half.to_bytes(2, "little")


def test_labels_numeric_labels_and_the_place_itself() -> None:
    text = """
    1:  beq a0, a1, 1f      # forward
        bne a0, a1, 1b      // back
    1:  j 1b; j done
        j .
    done:
    """
    assert listing(text, 0x1000) == [
        "beq a0,a1,0x1008",
        "bne a0,a1,0x1000",
        "jal zero,0x1008",
        "jal zero,0x1014",
        "jal zero,0x1010",
    ]


@pytest.mark.parametrize(
    "value",
    [0, 1, -1, 2047, 2048, -2048, -2049, 0x7FFFFFFF, 0x80000000, -0x80000000, 0xFFFFFFFF]
    + [1 << 63, -(1 << 63), (1 << 64) - 1, 0x123456789ABCDEF0, 0x8000_0000_0800, 0x7FF << 52],
)
def test_li_gives_any_constant(value: int) -> None:
    registers = {"zero": 0}
    for name, operands in load_immediate("a0", value):
        rd, *rest = operands
        numbers = [registers[r] if r in registers else int(r, 0) for r in rest]
        match name:
            case "lui":
                result = numbers[0] << 12
                result -= (result & 0x80000000) << 1
            case "slli":
                result = numbers[0] << numbers[1]
            case "addi":
                result = numbers[0] + numbers[1]
            case _:
                result = numbers[0] + numbers[1] & 0xFFFFFFFF
                result -= (result & 0x80000000) << 1
        registers[rd] = result & (1 << 64) - 1
    assert registers["a0"] == value & (1 << 64) - 1


def test_addresses_of_symbols_take_two_instructions() -> None:
    text = """
        la a0, data
        lw a1, data
        sw a1, data, t0
        fld fa0, data, t0
        call data
        tail data
        .equ data, 0x80002000
    """
    assert listing(text, 0x80001000) == [
        "auipc a0,0x1", "addi a0,a0,0",
        "auipc a1,0x1", "lw a1,-8(a1)",
        "auipc t0,0x1", "sw a1,-16(t0)",
        "auipc t0,0x1", "fld fa0,-24(t0)",
        "auipc ra,0x1", "jalr ra,-32(ra)",
        "auipc t1,0x1", "jalr zero,-40(t1)",
    ]  # fmt: skip


def test_relocation_functions() -> None:
    text = """
    1:  auipc a0, %pcrel_hi(data)
        ld a1, %pcrel_lo(1b)(a0)
        lui a2, %hi(data)
        addi a2, a2, %lo(data)
        .equ data, 0x12345ffc
    """
    assert listing(text, 0x1000) == [
        "auipc a0,0x12345", "ld a1,-4(a0)", "lui a2,0x12346", "addi a2,a2,-4",
    ]  # fmt: skip


def test_data_directives() -> None:
    text = r"""
        .equ five, 2 + 3
        size = end - start
    start: .byte 1, -1, 'a', five
        .half 0x1234
        .align 2
        .word size | 1 << 8, ~0
        .dword start + 8 * (five - 4)
        .ascii "a#b" ; .asciz "c\n;\x41"
        .zero 2, 7
        .balign 4
    end:
    """
    assert assemble(rv64, text, 0x100).hex(" ") == (
        "01 ff 61 05 34 12 00 00 24 01 00 00 ff ff ff ff 08 01 00 00 00 00 00 00 "
        "61 23 62 63 0a 3b 41 00 07 07 00 00"
    )


def test_padding_after_code_does_nothing() -> None:
    assert listing("c.nop; .align 3") == ["c.nop", "c.nop", "addi zero,zero,0"]


def test_symbols_come_in_and_go_out() -> None:
    result = assembly(rv64, "j there; here: .equ twice, here * 2", 0x40, {"there": 0x80})
    assert result.code.hex() == "6f000004"
    assert result.symbols == {"there": 0x80, "here": 0x44, "twice": 0x88}


def test_sections_and_visibility_are_ignored() -> None:
    assert assemble(
        rv64, ".section .text.init\n.globl _start\n_start: nop\n.option norvc"
    ).hex() == ("13000000")


REFUSED = {
    "frobnicate a0": "line 1: frobnicate is not an instruction known here",
    "\naddi a0, a1": "line 2: addi does not take a0, a1; write addi rd, rs1, imm",
    "addi a0, a1, 2048": "line 1: addi: imm: 2048 is not in -2048..2047",
    "addi a0, a1, fa0": "line 1: addi does not take a0, a1, fa0; write addi rd, rs1, imm",
    "lui a0, 0x100000": "line 1: lui: imm: 1048576 is not in 0..0xfffff",
    "j nowhere": "line 1: symbol nowhere is not defined; define it or correct it",
    "j 1f": "line 1: symbol 1f is not defined; define it or correct it",
    "a: nop\na: nop": "line 2: symbol a is defined twice; rename one",
    "beq a0, a1, . + 4097": "line 1: beq: offset: 4097 is not in -4096..4095",
    "beq a0, a1, . + 3": "line 1: beq: offset: 3 is not a multiple of 2",
    "c.lw a0, 0(t0)": "line 1: c.lw: rs1: 5 is not in 8..15",
    "c.addi16sp sp, 0": "line 1: c.addi16sp: imm: 0 is reserved here",
    "csrr a0, nonesuch": "line 1: symbol nonesuch is not defined; define it or correct it",
    "fadd.d fa0, fa0, fa0, odd": (
        "line 1: fadd.d: 'odd' is not a rounding mode; write one of rne, rtz, rdn, rup, rmm, dyn"
    ),
    ".byte 256": "line 1: 0x100 does not fit into 1 bytes",
    ".word 1 +": "line 1: '1 +' ends where a value is expected",
    ".word 1 2": "line 1: '2' is not expected in '1 2'",
    ".word (1": "line 1: a parenthesis is not closed in '(1'",
    ".word 1 / 0": "line 1: division by zero in '1 / 0'",
    ".word 1 << 64": "line 1: shift amount 64 is not in 0..63",
    ".word 09": "line 1: '09' is not a number, a symbol or an operator",
    ".word " + "~" * 65 + "0": "line 1: the expression is nested more than 64 deep",
    ".asciz hello": 'line 1: hello is not a string; write "..."',
    r'.asciz "\q"': r"line 1: '\q' is not an escape",
    ".zero later\nlater:": "line 1: later must be defined before it is used here",
    ".org 0\nnop\n.org 0": "line 3: cannot move -4 bytes on; 0..268435456 are possible",
    ".zero 1 << 40": "line 1: cannot move 1099511627776 bytes on; 0..268435456 are possible",
    ".zero 1 << 28\n.byte 1": "line 2: the image grows over 256 MiB",
    ".frob 1": "line 1: .frob with 1 operands is not a directive known here",
    ".equ a, b\n.equ b, a\n.word a": "line 3: a constant is defined by itself",
    "li a0, 1 << 63 << 1": "line 1: 0x10000000000000000 does not fit into 64 bits",
    "la a0, 1 << 40": "line 1: 1 << 40 is 0x10000000000 bytes away; 2 GiB is the reach",
    "ld a0, %pcrel_lo(0)(a0)": (
        "line 1: %pcrel_lo needs the label of a %pcrel_hi before it; '%pcrel_lo(0)'"
    ),
    "lui a0, %high(0)": ("line 1: %high is not known; write one of %hi, %lo, %pcrel_hi, %pcrel_lo"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_cannot_be_assembled_is_one_line(text: str, message: str) -> None:
    with pytest.raises(Refusal) as error:
        assemble(rv64, text)
    assert str(error.value) == message


def test_a_message_names_the_file_when_there_is_one() -> None:
    with pytest.raises(Refusal) as error:
        assembly(rv64, "\nfoo", name="boot.s")
    assert str(error.value) == "boot.s:2: foo is not an instruction known here"
