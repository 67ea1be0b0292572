"""C: each form does what its full form does; hints do nothing, reserved words trap."""

import pytest

from auberge.isa.assembler import assemble
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Form
from tests.isa.bench import CODE, DATA, ILLEGAL, Bench, M, Trap
from tests.isa.one import bench as one
from tests.isa.test_tables import words

COMPRESSED = [form for form in rv64.forms if form.length == 2]
NOP = 0x0001


def state_after(word: int, length: int) -> tuple[list[int], list[int], int, bytes]:
    """Registers, pc relative to what follows, and memory, after one instruction at CODE."""
    bench = one()
    bench["pc"], bench["priv"], bench["mstatus"] = CODE, M, 1 << 13
    bench.ram.write(CODE, word.to_bytes(length, "little") + NOP.to_bytes(2, "little") * 2)
    for n in range(1, 32):
        bench.hart.x[n], bench.hart.f[n] = DATA + 512 + 8 * n, 0x4000_0000_0000_0000 + n
    bench.ram.write(DATA, bytes(n * 7 & 255 for n in range(2048)))
    bench.engine.run(1)
    if bench["pc"] == bench["mtvec"]:
        return [], [], bench["mcause"], b""
    pc = bench["pc"]
    return list(bench.hart.x), list(bench.hart.f), pc, bench.ram.read(DATA, 2048)


@pytest.mark.parametrize("form", COMPRESSED, ids=lambda form: form.encoding.text)
def test_a_compressed_instruction_does_what_its_expansion_does(form: Form) -> None:
    own = form.insn.encoding.operands
    for word in words(form, 3):
        values = form.values(word)
        signed_values = {
            n: v - (1 << own[n].width) if own[n].signed and v >> own[n].width - 1 else v
            for n, v in values.items()
        }
        short = state_after(word, 2)
        full = state_after(form.insn.encode(**signed_values), 4)
        if form.name in ("c.jalr", "c.ebreak"):
            full = ([*full[0][:1], *[CODE + 2 for _ in full[0][1:2]], *full[0][2:]], *full[1:])
        elif full[2] == CODE + 4:
            full = (*full[:2], CODE + 2, full[3])
        assert short == full, disassemble(rv64, word, CODE)


def test_c_jalr_links_to_what_follows_it() -> None:
    bench = Bench()
    bench.hart.x[5] = CODE + 0x100
    bench.ram.write(CODE, assemble(rv64, "c.jalr t0"))
    bench.step()
    assert (bench["pc"], bench.hart.x[1]) == (CODE + 0x100, CODE + 2)


HINTS = {
    "c.nop 5": 0x0015,
    "c.addi a0, 0": 0x0501,
    "c.li zero, 3": 0x400D,
    "c.lui zero, 1": 0x6005,
    "c.mv zero, a0": 0x802A,
    "c.add zero, a0": 0x902A,
    "c.slli zero, 4": 0x0012,
    "c.slli a0, 0": 0x0502,
    "c.srli s0, 0": 0x8001,
    "c.srai s0, 0": 0x8401,
}


@pytest.mark.parametrize(("text", "word"), HINTS.items())
def test_a_hint_does_nothing(text: str, word: int) -> None:
    assert assemble(rv64, text) == word.to_bytes(2, "little")
    assert state_after(word, 2) == state_after(NOP, 2)


RESERVED = {
    "all zero": 0x0000,
    "c.addi4spn, zero": 0x0004,
    "quadrant 0, 100": 0x8000,
    "c.addiw, rd 0": 0x2005,
    "c.addi16sp, zero": 0x6101,
    "c.lui, zero": 0x6281,
    "c.subw's row, 10": 0x9C41,
    "c.subw's row, 11": 0x9C61,
    "c.lwsp, rd 0": 0x4002,
    "c.ldsp, rd 0": 0x6002,
    "c.jr, rs1 0": 0x8002,
}


@pytest.mark.parametrize("word", RESERVED.values(), ids=RESERVED)
def test_a_reserved_word_is_illegal_and_tval_has_its_16_bits(word: int) -> None:
    assert Bench().run(word | 0xABCD << 16) == Trap(M, ILLEGAL, word)
