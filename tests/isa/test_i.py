"""RV64I at its edges: sign extension, wrapping, shift amounts, targets, misaligned accesses."""

import pytest

from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import CODE, DATA, ILLEGAL, Bench, M, S, Trap, U
from tests.isa.one import A0, A1, A2, MASK64, result

TOP = 1 << 63
SIGN32 = 1 << 31

# assembly, a1, a2, a0
COMPUTED = [
    ("addi a0, a1, -1", 0, 0, MASK64),
    ("addi a0, a1, 2047", MASK64, 0, 2046),
    ("slti a0, a1, -1", TOP, 0, 1),
    ("slti a0, a1, 0", 0, 0, 0),
    ("sltiu a0, a1, -1", MASK64 - 1, 0, 1),  # "first sign-extended ... then treated as unsigned"
    ("sltiu a0, a1, -1", MASK64, 0, 0),
    ("sltiu a0, a1, -1", 0, 0, 1),
    ("sltiu a0, a1, 1", MASK64, 0, 0),
    ("xori a0, a1, -1", 0x5A, 0, MASK64 ^ 0x5A),
    ("ori a0, a1, -2048", 1, 0, MASK64 - 2046),
    ("andi a0, a1, -2048", MASK64, 0, MASK64 - 2047),
    ("slli a0, a1, 63", 3, 0, TOP),
    ("srli a0, a1, 63", TOP, 0, 1),
    ("srai a0, a1, 63", TOP, 0, MASK64),
    ("lui a0, 0x80000", 0, 0, MASK64 - SIGN32 + 1),
    ("lui a0, 0x7ffff", 0, 0, 0x7FFFF000),
    ("auipc a0, 0", 0, 0, CODE),
    ("auipc a0, 0x80000", 0, 0, CODE - SIGN32),
    ("addiw a0, a1, 1", SIGN32 - 1, 0, MASK64 - SIGN32 + 1),
    ("addiw a0, a1, 0", 0x1_2345_6789, 0, 0x2345_6789),
    ("slliw a0, a1, 31", 1, 0, MASK64 - SIGN32 + 1),
    ("srliw a0, a1, 0", 0xFFFF_FFFF_8000_0000, 0, MASK64 - SIGN32 + 1),
    ("srliw a0, a1, 31", 0xFFFF_FFFF_8000_0000, 0, 1),
    ("sraiw a0, a1, 31", 0x0000_0000_8000_0000, 0, MASK64),
    ("add a0, a1, a2", MASK64, 1, 0),
    ("sub a0, a1, a2", 0, 1, MASK64),
    ("sll a0, a1, a2", 1, 64 + 63, TOP),  # only the low six bits of rs2
    ("srl a0, a1, a2", TOP, MASK64, 1),
    ("sra a0, a1, a2", TOP, 64 + 1, 3 << 62),
    ("slt a0, a1, a2", TOP, TOP - 1, 1),
    ("sltu a0, a1, a2", TOP, TOP - 1, 0),
    ("xor a0, a1, a2", 0b1100, 0b1010, 0b0110),
    ("or a0, a1, a2", 0b1100, 0b1010, 0b1110),
    ("and a0, a1, a2", 0b1100, 0b1010, 0b1000),
    ("addw a0, a1, a2", SIGN32, SIGN32, 0),
    ("subw a0, a1, a2", 0, 1, MASK64),
    ("sllw a0, a1, a2", 1, 32 + 31, MASK64 - SIGN32 + 1),  # only the low five bits
    ("srlw a0, a1, a2", MASK64, 32, MASK64),
    ("srlw a0, a1, a2", MASK64, 4, 0x0FFF_FFFF),
    ("sraw a0, a1, a2", SIGN32, 63, MASK64),
    ("fence rw, rw", 0, 0, 0),
    ("fence.tso", 0, 0, 0),
    ("pause", 0, 0, 0),
    ("fence.i", 0, 0, 0),
    ("add zero, a1, a2", 1, 1, 0),
]


@pytest.mark.parametrize(("text", "a1", "a2", "expected"), COMPUTED)
def test_integer_computation(text: str, a1: int, a2: int, expected: int) -> None:
    assert result(text, a1, a2) == expected


def test_x0_stays_zero() -> None:
    bench = Bench()
    bench.insn("addi", rd=0, rs1=0, imm=5)
    assert bench.hart.x[0] == 0


BRANCHES = {
    "beq": ([(5, 5)], [(5, 6)]),
    "bne": ([(5, 6)], [(5, 5)]),
    "blt": ([(MASK64, 0), (TOP, TOP - 1)], [(0, 0), (0, MASK64)]),
    "bge": ([(0, 0), (0, MASK64)], [(TOP, 0)]),
    "bltu": ([(0, MASK64)], [(MASK64, 0), (7, 7)]),
    "bgeu": ([(MASK64, 0), (7, 7)], [(0, MASK64)]),
}


@pytest.mark.parametrize("name", BRANCHES)
@pytest.mark.parametrize("offset", [-4096, -2, 2, 4094])
def test_branches(name: str, offset: int) -> None:
    for taken, pairs in zip((True, False), BRANCHES[name], strict=True):
        for a1, a2 in pairs:
            bench = Bench()
            bench.hart.x[A1], bench.hart.x[A2] = a1, a2
            bench.insn(name, rs1=A1, rs2=A2, offset=offset)
            assert bench["pc"] == CODE + (offset if taken else 4)


@pytest.mark.parametrize("offset", [-(1 << 20), -2, 0, 2, (1 << 20) - 2])
def test_jal_links_and_jumps(offset: int) -> None:
    bench = Bench()
    bench.insn("jal", rd=A0, offset=offset)
    assert (bench["pc"], bench.hart.x[A0]) == (CODE + offset, CODE + 4)


def test_jalr_reads_its_base_before_it_links_and_clears_bit_zero() -> None:
    bench = Bench()
    bench.hart.x[A0] = CODE + 0x100
    bench.insn("jalr", rd=A0, rs1=A0, imm=3)
    assert (bench["pc"], bench.hart.x[A0]) == (CODE + 0x102, CODE + 4)


BYTES = bytes.fromhex("80 ff 7f 81 00 00 00 ff 12 34 56 78")
LOADS = [
    ("lb a0, 0(a1)", MASK64 - 0x7F),
    ("lbu a0, 0(a1)", 0x80),
    ("lh a0, 0(a1)", MASK64 - 0x7F),
    ("lhu a0, 0(a1)", 0xFF80),
    ("lw a0, 0(a1)", 0xFFFF_FFFF_817F_FF80),
    ("lwu a0, 0(a1)", 0x817F_FF80),
    ("ld a0, 0(a1)", 0xFF00_0000_817F_FF80),
    ("lh a0, 1(a1)", 0x7FFF),
    ("lw a0, 3(a1)", 0x81),
    ("ld a0, 4(a1)", 0x7856_3412_FF00_0000),
]


@pytest.mark.parametrize(("text", "expected"), LOADS)
@pytest.mark.parametrize("base", [DATA, DATA + 4096 - 3])
def test_loads_are_little_endian_and_misaligned_ones_work(
    text: str, expected: int, base: int
) -> None:
    bench = Bench()
    bench.ram.write(base, BYTES)
    bench.hart.x[A1] = base
    assert bench.run(int.from_bytes(assemble(rv64, text), "little")) is None
    assert bench.hart.x[A0] == expected


@pytest.mark.parametrize(("name", "size"), [("sb", 1), ("sh", 2), ("sw", 4), ("sd", 8)])
@pytest.mark.parametrize("at", [DATA, DATA + 1, DATA + 4096 - 3])
def test_stores_write_their_bytes_and_no_others(name: str, size: int, at: int) -> None:
    bench = Bench()
    bench.ram.write(at - 8, bytes([0xEE]) * 24)
    bench.hart.x[A1], bench.hart.x[A2] = at + 2048, 0x8877_6655_4433_2211
    assert bench.insn(name, rs2=A2, rs1=A1, imm=-2048) is None
    stored = bytes.fromhex("11 22 33 44 55 66 77 88")[:size]
    assert bench.ram.read(at - 8, 24) == bytes([0xEE]) * 8 + stored + bytes([0xEE]) * (16 - size)


@pytest.mark.parametrize(("mode", "cause"), [(U, 8), (S, 9), (M, 11)])
def test_ecall_says_who_called(mode: int, cause: int) -> None:
    assert Bench().in_mode(mode).insn("ecall") == Trap(M, cause, 0)


def test_ebreak_is_a_breakpoint_at_its_own_address() -> None:
    assert Bench().insn("ebreak") == Trap(M, 3, CODE)


@pytest.mark.parametrize("word", [0x0000_0000, 0xFFFF_FFFF, 0x0400_1013, 0x4000_105B])
def test_a_reserved_word_is_illegal_and_its_own_value(word: int) -> None:
    tval = word if word & 3 == 3 else word & 0xFFFF
    assert Bench().run(word) == Trap(M, ILLEGAL, tval)


@pytest.mark.parametrize("fm", range(16))
def test_a_fence_of_any_kind_is_a_fence(fm: int) -> None:
    for sets in (0x00, 0x33, 0xF0, 0xFF):
        assert Bench().run(fm << 28 | sets << 20 | 5 << 15 | 7 << 7 | 0x0F) is None
