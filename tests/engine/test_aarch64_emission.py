"""Code for AArch64 hosts is emitted from the same text, by any host."""

import struct
from collections.abc import Iterator

import pytest

from auberge.bits.bits import signed
from auberge.engine.describe import layout_of
from auberge.engine.host import Host
from auberge.engine.module import module
from auberge.engine.workshop import QUICK, WELL
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64

LOOP = """
again:  ld      a1, 8(a0)
        sd      a1, (a0)
        amoadd.w a2, a1, (a0)
        fadd.d  f1, f1, f2
        fmul.s  f3, f3, f4
        addi    a0, a0, 8
        bne     a0, a3, again
        ret
"""
RET = b"\xc0\x03\x5f\xd6"


def addresses(words: tuple[int, ...]) -> Iterator[int]:
    """What pairs of adrp and add make, which follow each other somewhere."""
    pages: dict[int, int] = {}
    for at, word in enumerate(words):
        if word & 0x9F00_0000 == 0x9000_0000:  # adrp
            distance = signed(word >> 3 & 0x1F_FFFC | word >> 29 & 3, 21)
            pages[word & 31] = (4 * at & ~0xFFF) + (distance << 12)
        elif word & 0xFFC0_0000 == 0x9100_0000 and word >> 5 & 31 in pages:  # add, 64 bits
            yield pages.pop(word >> 5 & 31) + (word >> 10 & 0xFFF)


@pytest.mark.slow
def test_the_interpreter_compiles_for_aarch64() -> None:
    from auberge.engine.compiler import EXPORTS, compile_text  # LLVM, in this test alone

    host = Host("aarch64", "generic", ("lse",))
    code = compile_text(module(rv64, layout_of(rv64), host), host)
    assert set(EXPORTS) <= set(code.symbols)
    assert len(code.text) % 4 == 0
    assert RET in code.text
    words = struct.unpack(f"<{len(code.text) // 4}I", code.text)
    assert any(word & 0x3FA0_7C00 == 0x08A0_7C00 for word in words), "CAS, which LSE has"
    targets = list(addresses(words))
    assert len(targets) > 100
    assert set(targets) <= set(code.symbols.values()), "only beginnings of functions"


@pytest.mark.slow
@pytest.mark.parametrize("level", [QUICK, WELL])
def test_regions_compile_for_aarch64(level: int) -> None:
    from auberge.engine.compiler import Regions  # LLVM, in this test alone

    regions = Regions(Host("aarch64", "generic", ("lse",)))
    page = assemble(rv64, LOOP).ljust(4096, b"\0")
    region = regions.compile(page, 0, level=level)
    assert region is not None
    code, instructions, _ = region
    assert instructions == LOOP.count("\n") - 1
    assert len(code) % 4 == 0
    words = struct.unpack(f"<{len(code) // 4}I", code)
    assert any(word & 0xFF20_0C00 == 0x1E20_0800 for word in words), "arithmetic of the FPU"
    assert any(word & 0xFFFF_FC1F == 0xD61F_0000 for word in words), "br: on to other records"
