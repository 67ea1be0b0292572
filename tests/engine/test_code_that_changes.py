"""Code that was just written executes after fence.i, wherever it lies."""

import pytest

from auberge.engine.exits import MmioRead
from tests.engine.board import CODE, DATA, DEVICE, FS, PAGE, RWX, SV39, XL, Board, finished

ADDI_A0_1, ADDI_A0_16 = 0x00150513, 0x01050513  # addi a0, a0, n
C_ADDI_A0_2 = 0x0509


def test_a_program_rewrites_itself() -> None:
    board = finished(f"""
        la t0, here
        li t1, {ADDI_A0_16}
        li s0, 3
    again:
    here:
        addi a0, a0, 1
        sw t1, (t0)
        fence.i
        addi s0, s0, -1
        bnez s0, again
        wfi
    """)
    assert board["a0"] == 1 + 16 + 16


def test_a_loop_executes_what_it_wrote_last() -> None:
    """Each pass stores another instruction, of another length, ahead of itself."""
    board = finished(f"""
        la t0, here
        li t1, {ADDI_A0_1}
        li t2, {C_ADDI_A0_2 | C_ADDI_A0_2 << 16}
        li s0, 40
    again:
        sw t1, (t0)
        fence.i
    here:
        nop
        xor t1, t1, t2
        xor t2, t1, t2
        xor t1, t1, t2
        addi s0, s0, -1
        bnez s0, again
        wfi
    """)
    assert board["a0"] == 20 * 1 + 20 * 4


def test_a_store_to_another_page_of_code() -> None:
    board = finished(f"""
        li s1, {DATA}
        li t1, {ADDI_A0_1}
        sw t1, (s1)
        li t2, 0x8067           # ret
        sw t2, 4(s1)
        jalr s1
        li t1, {ADDI_A0_16}
        sw t1, (s1)
        fence.i
        jalr s1
        wfi
    """)
    assert board["a0"] == 17


def test_code_changes_under_another_virtual_address() -> None:
    def setup(board: Board) -> None:
        for page in range(4):
            board.map(CODE + page * PAGE, CODE + page * PAGE)
        board.map(0x1000, DATA)
        board.map(0x5000, DATA)

    board = finished(
        f"""
        li s1, 0x1000
        li s2, 0x5000
        li t1, {ADDI_A0_1}
        li t2, 0x8067
        sw t1, (s1)
        sw t2, 4(s1)
        fence.i
        jalr s2
        li t1, {ADDI_A0_16}
        sw t1, (s1)
        fence.i
        jalr s2
        jalr s1
        wfi
        """,
        setup=setup,
        priv=1,
        satp=SV39,
    )
    assert board["a0"] == 33


# -- four bytes across two pages ----------------------------------------------------------------
END = DATA + PAGE - 2
HALVES = ADDI_A0_16 & 0xFFFF, ADDI_A0_16 >> 16
RET = 0x8067


def crossing(board: Board) -> None:
    board.put(END, HALVES[0], 2)
    board.put(END + 2, HALVES[1], 2)
    board.put(END + 4, RET, 4)


def test_an_instruction_across_two_pages() -> None:
    text = f"li s1, {END}\n" + "jalr s1\n" * 3 + "wfi"
    assert finished(text, setup=crossing)["a0"] == 48


def test_its_second_half_changes_without_its_first() -> None:
    board = finished(
        f"""
        li s1, {END}
        jalr s1
        li t0, {ADDI_A0_1 >> 16}
        sh t0, 2(s1)
        fence.i
        jalr s1
        wfi
        """,
        setup=crossing,
    )
    assert board["a0"] == 17


def test_two_such_instructions_take_turns() -> None:
    def setup(board: Board) -> None:
        crossing(board)
        board.put(END + PAGE, ADDI_A0_1 & 0xFFFF, 2)
        board.put(END + PAGE + 2, ADDI_A0_1 >> 16, 2)
        board.put(END + PAGE + 4, RET, 4)

    text = f"li s1, {END}\nli s2, {END + PAGE}\n" + "jalr s1\njalr s2\n" * 3 + "wfi"
    assert finished(text, setup=setup)["a0"] == 51


VA = 0x40_0000 - 2  # its second page is of another table


def identity(board: Board) -> None:
    crossing(board)
    board.map(CODE, CODE)
    board.map(VA, DATA)


def test_its_second_page_is_not_mapped() -> None:
    board = finished(
        f"""
        li s1, {VA}
        jr s1
    handler:
        wfi
        """,
        setup=identity,
        priv=1,
        satp=SV39,
        stvec="handler",
        medeleg=0xB3FF,
    )
    assert (board["scause"], board["sepc"], board["stval"]) == (12, VA, VA + 2)
    assert board["a0"] == 0


def test_its_second_page_is_mapped_elsewhere_later() -> None:
    def setup(board: Board) -> None:
        identity(board)
        entry = board.map(VA + 2, DATA + PAGE)
        board.map(entry & -PAGE, entry & -PAGE)
        board["s2"], board["s3"] = entry, DATA + 2 * PAGE >> 2 | RWX
        board.put(DATA + 2 * PAGE, ADDI_A0_1 >> 16, 2)
        board.put(DATA + 2 * PAGE + 2, RET, 4)

    board = finished(
        f"""
        li s1, {VA}
        jalr s1
        sd s3, (s2)
        li t0, {VA + 2}
        sfence.vma t0
        jalr s1
        wfi
        """,
        setup=setup,
        priv=1,
        satp=SV39,
    )
    assert board["a0"] == 17


def test_its_second_half_is_not_ram() -> None:
    board = finished(
        """
        li s1, 0x800ffffe
        li t0, 0x0513
        sh t0, (s1)
        fence.i
        jr s1
    handler:
        wfi
        """,
        mtvec="handler",
    )
    assert (board["mcause"], board["mepc"], board["mtval"]) == (1, 0x800F_FFFE, 0x8010_0000)


def test_a_jump_to_the_last_two_bytes_of_the_address_space() -> None:
    board = finished("li s1, -2\njr s1\nhandler: wfi", mtvec="handler")
    assert (board["mcause"], board["mtval"]) == (1, 2**64 - 2)


# -- any instruction may be the one across two pages ---------------------------------------------
AROUND = f"""
    li s1, {DATA}
    li a1, 5
    li s3, 3
    jal here
    wfi
    .org {CODE + PAGE - 2 - 4 * 4}
back:
    addi s4, s4, 1
    addi s3, s3, -1
    beqz s3, out
    nop
here:
    INSTRUCTION
    addi a2, a2, 1
    bnez s3, back
out:
    wfi
    .balign 4
handler:
    csrr s5, mcause
    csrr s6, mepc
    csrr s7, mtval
    wfi
"""


@pytest.mark.parametrize(
    "instruction",
    [
        "lw a0, (s1)", "sd a1, (s1)", "amoadd.d a0, a1, (s1)", "lr.w a0, (s1)", "lui a0, 1",
        "auipc a0, 0", "jal a0, out", "jal a0, back", "beq zero, zero, back", "bne a1, zero, out",
        "bnez zero, back", "csrrw a0, mscratch, a1", "csrrs a0, mcycle, zero", "ecall", "ebreak",
        ".word 0xffffffff", "fence.i", "sfence.vma", "fadd.d f1, f2, f3", "ld a0, 3(zero)",
        "csrrwi a0, mstatus, 8", "csrr a0, 0x123", "wfi", "mul a0, a1, a1", "jalr a0, (ra)",
    ],
)  # fmt: skip
def test_any_instruction_lies_across_two_pages(instruction: str) -> None:
    board = finished(AROUND.replace("INSTRUCTION", instruction), mtvec="handler", mstatus=XL | FS)
    assert board.labels["here"] == CODE + PAGE - 2


def test_one_that_asks_a_device(engine: str) -> None:
    text = AROUND.replace("INSTRUCTION", "lw a0, 4(s8)")
    for answer in (None, 77):
        board = Board(engine, text, mtvec="handler")
        board["s8"] = DEVICE
        assert board.exit() == MmioRead(DEVICE + 4, 4)
        assert board["pc"] == CODE + PAGE - 2
        board.engine.resume(answer)
        out = board.exit()
        if answer is None:
            assert (board["mcause"], board["mepc"]) == (5, CODE + PAGE - 2)
            assert board["mtval"] == DEVICE + 4
        else:
            assert (out, board["a0"], board["a2"]) == (MmioRead(DEVICE + 4, 4), 77, 1)


@pytest.mark.parametrize("budget", range(1, 30))
def test_a_budget_that_ends_around_it(budget: int) -> None:
    text = AROUND.replace("INSTRUCTION", "addi a0, a0, 1")
    one, two = Board("reference", text), Board("interpreter", text)
    for board in (one, two):
        board.run(budget)
    assert (one["pc"], one["spent"], one["a0"]) == (two["pc"], two["spent"], two["a0"])
