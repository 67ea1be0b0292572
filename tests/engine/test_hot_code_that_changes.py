"""Regions of code that changes, by whatever way: the next fence is the end of them."""

from collections.abc import Callable

import pytest

from auberge.engine.exits import Idle, MmioWrite
from auberge.engine.lockstep import compare
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.engine import eager
from tests.engine.board import ASID, CODE, DATA, DEVICE, PAGE, SV39, TABLES, Board

pytestmark = pytest.mark.slow

ADDI_1, ADDI_16, ADDI_256 = 0x00150513, 0x01050513, 0x10050513  # addi a0, a0, n
ROUNDS = 600
VA, ALIAS, OTHER = 0x40_0000, 0x60_0000, TABLES + 0x4_0000
S_MODE = {"priv": 1, "satp": SV39, "stvec": "handler", "medeleg": 0xB3FF}
LOOP = f"""
    li s0, {ROUNDS}
0:  addi a0, a0, 1
    addi s0, s0, -1
    bnez s0, 0b
    ret
"""
ADDI = 4  # where in the loop the instruction is that changes


def function(board: Board, at: int, word: int) -> None:
    """Have the loop stand there, with that instruction in it."""
    code = bytearray(assemble(rv64, LOOP, at))
    code[ADDI : ADDI + 4] = word.to_bytes(4, "little")
    board.ram.write(at, code)


def paged(board: Board) -> None:
    """Two functions in pages; the first at VA and ALIAS."""
    board.map(CODE, CODE)
    board["s11"] = board.map(VA, DATA)
    board.map(ALIAS, DATA)
    board.map(board["s11"] & -PAGE, board["s11"] & -PAGE)
    function(board, DATA, ADDI_1)
    function(board, DATA + PAGE, ADDI_16)


def same(
    text: str,
    setup: Callable[[Board], None],
    serve: Callable[[Board], None] = lambda board: None,
    least: int = 1,
    **cells: int | str,
) -> Board:
    """A board of the translator at its end, which is that of the interpreter."""
    boards = []
    for engine in ("interpreter", eager.NAME):
        board = Board(engine, text, setup=setup, **cells)
        while isinstance(out := board.exit(), MmioWrite):
            serve(board)
            board.engine.resume(0)
        assert out == Idle(None)
        boards.append(board)
    one, two = boards
    assert compare(one, two) == {}
    assert two.engine.statistics()["regions"] >= least
    return two


@pytest.mark.parametrize("asked", [False, True], ids=["by-the-guest", "by-the-host"])
def test_a_device_writes_code(asked: bool) -> None:
    """Direct memory access; then a `fence.i` of the guest, or a request by its host."""
    words = {}

    def serve(board: Board) -> None:
        words[board] = words.get(board, 0) + 1
        board.put(DATA + ADDI, (ADDI_16, ADDI_256, ADDI_1)[words[board] % 3], 4)
        if asked:
            board.hart.request("fence_i")

    text = f"""
        li s1, {DATA}
        li s2, {DEVICE}
        li s3, 6
    again:
        jalr s1
        sw zero, (s2)
        {"nop" if asked else "fence.i"}
        addi s3, s3, -1
        bnez s3, again
        wfi
    """
    board = same(text, lambda b: function(b, DATA, ADDI_1), serve, 3)
    assert board["a0"] == ROUNDS * (1 + 256 + 1 + 16 + 256 + 1)


def test_a_store_by_another_address() -> None:
    text = f"""
        li s1, {VA}
        li s2, {ALIAS + ADDI}
        li s3, 5
        li t1, {ADDI_1}
        li t2, {ADDI_1 ^ ADDI_256}
    again:
        jalr s1
        xor t1, t1, t2
        sw t1, (s2)
        fence.i
        addi s3, s3, -1
        bnez s3, again
    handler:
        wfi
    """
    board = same(text, paged, least=2, **S_MODE)
    assert board["a0"] == ROUNDS * (3 * 1 + 2 * 256)


def test_data_in_the_page_of_the_code_that_writes_it() -> None:
    """Each store is into a page that has regions; what it stores is read back by the next."""
    text = f"""
        li s0, {ROUNDS}
        la s1, data
        li s2, 100
    again:
        ld a0, (s1)
        addi a0, a0, 3
        sd a0, (s1)
        sw a0, 12(s1)
        lw a1, 12(s1)
        add a2, a2, a1
        addi s2, s2, -1
        bnez s2, next
        li s2, 100
        fence.i
    next:
        addi s0, s0, -1
        bnez s0, again
        wfi
        .balign 8
    data: .dword 0, 0
    """
    board = same(text, lambda b: None)
    assert board["a0"] == 3 * ROUNDS


@pytest.mark.parametrize("fence", ["sfence.vma", "sfence.vma s1", "sfence.vma s1, zero"])
def test_a_page_of_code_is_mapped_elsewhere_and_back(fence: str) -> None:
    text = f"""
        li s1, {VA}
        ld t1, (s11)
        li t2, {(DATA ^ DATA + PAGE) >> 2}
        li s3, 6
    again:
        jalr s1
        xor t1, t1, t2
        sd t1, (s11)
        {fence}
        addi s3, s3, -1
        bnez s3, again
    handler:
        wfi
    """
    board = same(text, paged, least=2, **S_MODE)
    assert board["a0"] == ROUNDS * 3 * 17


def test_a_page_of_code_goes() -> None:
    text = f"""
        li s1, {VA}
        jalr s1
        sd zero, (s11)
        sfence.vma s1
        jalr s1
    handler:
        wfi
    """
    board = same(text, paged, **S_MODE)
    assert (board["scause"], board["sepc"], board["stval"]) == (12, VA, VA)
    assert board["a0"] == ROUNDS


@pytest.mark.parametrize("asids", [(1, 2), (0, 0)], ids=["of-their-own", "none"])
def test_two_spaces_have_other_code_at_one_address(asids: tuple[int, int]) -> None:
    """Without a fence where each has an ASID; else with one after each switch."""

    def setup(board: Board) -> None:
        paged(board)
        board.map(CODE, CODE, root=OTHER)
        board.map(VA, DATA + PAGE, root=OTHER)
        board["s5"] = SV39 | asids[0] << ASID
        board["s6"] = 8 << 60 | OTHER >> 12 | asids[1] << ASID

    fence = "" if any(asids) else "sfence.vma"
    text = f"""
        li s1, {VA}
        li s3, 4
    again:
        csrw satp, s5
        {fence}
        jalr s1
        csrw satp, s6
        {fence}
        jalr s1
        addi s3, s3, -1
        bnez s3, again
    handler:
        wfi
    """
    board = same(text, setup, least=2, **S_MODE)
    assert board["a0"] == ROUNDS * 4 * 17
