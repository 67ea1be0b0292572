"""What a TLB must not get wrong: pages that change, spaces that take turns, accesses across two."""

from collections.abc import Callable

import pytest

from tests.engine.board import (
    ASID,
    CODE,
    DATA,
    DEVICE,
    PAGE,
    RWX,
    SV39,
    TABLES,
    A,
    Board,
    D,
    R,
    U,
    V,
    W,
    X,
    finished,
)

VA = 0x40_0000
SPACES = TABLES + 0x4_0000  # roots of further address spaces
FIRST = 8 << 60 | SPACES >> 12
SUM, MXR, MPRV = 1 << 18, 1 << 19, 1 << 17
S_MODE = {"priv": 1, "satp": SV39, "stvec": "handler", "medeleg": 0xB3FF}


def spaces(*maps: tuple[int, int, int], level: int = 0) -> Callable[[Board], None]:
    """Code mapped to itself, and these: (virtual, physical, flags)."""

    def setup(board: Board) -> None:
        board.map(CODE, CODE)
        for va, pa, flags in maps:
            entry = board.map(va, pa, flags, level)
            board.map(entry & -PAGE, entry & -PAGE)
            board["s11"] = entry  # of the last
        board["s1"] = VA
        for page in range(4):
            board.put(DATA + page * PAGE, 100 + page)

    return setup


# -- changes of a page --------------------------------------------------------------------------
@pytest.mark.parametrize("fence", ["sfence.vma", "sfence.vma s1", "sfence.vma s1, s2"])
def test_a_page_moves(fence: str) -> None:
    board = finished(
        f"""
        ld a0, (s1)
        li t0, {DATA + PAGE >> 2 | RWX}
        sd t0, (s11)
        {fence}
        ld a1, (s1)
        ld a2, 8(s1)
        handler: wfi
        """,
        setup=spaces((VA, DATA, RWX)),
        **S_MODE,
    )
    assert (board["a0"], board["a1"], board["scause"]) == (100, 101, 0)


def test_a_fence_of_one_page_reaches_stores_and_fetches_too() -> None:
    ret = 0x8067
    board = finished(
        f"""
        li t2, {DATA + PAGE}
        sd zero, (t2)
        li t1, {ret}
        sw t1, (s1)
        fence.i
        jalr s1
        li t0, {DATA + PAGE >> 2 | RWX}
        sd t0, (s11)
        sfence.vma s1
        sw zero, 4(s1)
        jalr s1                 # there is no code in the new page
    handler:
        wfi
        """,
        setup=spaces((DATA + PAGE, DATA + PAGE, RWX), (VA, DATA, RWX)),
        **S_MODE,
    )
    assert (board["scause"], board["sepc"], board["stval"]) == (2, VA, 0)


def test_a_page_goes() -> None:
    board = finished(
        """
        ld a0, (s1)
        sd a0, 8(s1)
        sd zero, (s11)
        sfence.vma s1
        sd a0, 16(s1)
        handler: wfi
        """,
        setup=spaces((VA, DATA, RWX)),
        **S_MODE,
    )
    assert (board["a0"], board["scause"], board["stval"]) == (100, 15, VA + 16)


def test_a_page_that_was_not_mapped_needs_no_memory_of_it() -> None:
    """A failed walk leaves nothing behind that a later mapping could meet."""
    board = finished(
        f"""
        ld a0, (s1)
        wfi
    handler:
        addi s5, s5, 1
        li t0, {DATA >> 2 | RWX}
        sd t0, (s11)
        sfence.vma s1
        sret
        """,
        setup=spaces((VA, DATA, 0)),
        **S_MODE,
    )
    assert (board["a0"], board["s5"]) == (100, 1)


@pytest.mark.parametrize("level", [1, 2])
def test_superpages(level: int) -> None:
    size = PAGE << 9 * level
    reach = [0x80000, 0xFF000]
    va = 5 << 30
    text = "".join(
        f"li t0, {va + at}\nld a{n}, (t0)\nsd a{n}, 8(t0)\n" for n, at in enumerate(reach)
    )

    def setup(board: Board) -> None:
        board.map(CODE, CODE)
        board.map(va, CODE & -size, RWX, level)
        for n, at in enumerate(reach):
            board.put(CODE + at, 7 + n)

    board = finished(f"{text}\nhandler: wfi", setup=setup, **(S_MODE | {"satp": SV39}))
    assert board["scause"] == 0
    assert [board["a0"], board["a1"] - 1] == [7, 7]
    assert board.word(CODE + 0xFF008) == 8


def test_a_superpage_that_is_not_aligned() -> None:
    board = finished("ld a0, (s1)\nhandler: wfi", setup=spaces((VA, DATA, RWX), level=1), **S_MODE)
    assert (board["scause"], board["stval"]) == (13, VA)


# -- what a translation depends on --------------------------------------------------------------
def test_two_address_spaces_take_turns() -> None:
    """The same address in two roots, with and without ASIDs, without a fence between."""

    def setup(board: Board) -> None:
        other = SPACES
        for root, page in ((TABLES, DATA), (other, DATA + PAGE)):
            board.map(CODE, CODE, root=root)
            board.map(VA, page, root=root)
        board.put(DATA, 100)
        board.put(DATA + PAGE, 101)
        board["s1"] = VA
        board["s2"] = SV39 | 1 << ASID
        board["s3"] = 8 << 60 | other >> 12 | 2 << ASID

    board = finished(
        """
        li s4, 20
    again:
        csrw satp, s2
        ld t0, (s1)
        add a0, a0, t0
        sd t0, 8(s1)
        csrw satp, s3
        ld t0, (s1)
        add a1, a1, t0
        sd t0, 8(s1)
        addi s4, s4, -1
        bnez s4, again
        handler: wfi
        """,
        setup=setup,
        **S_MODE,
    )
    assert (board["a0"], board["a1"]) == (2000, 2020)
    assert (board.word(DATA + 8), board.word(DATA + PAGE + 8)) == (100, 101)


def test_more_address_spaces_than_banks() -> None:
    def setup(board: Board) -> None:
        for n in range(12):
            root = SPACES + n * PAGE
            board.map(CODE, CODE, root=root)
            board.map(VA, DATA + n * PAGE, root=root)
            board.put(DATA + n * PAGE, n)
        board["s1"] = VA
        board["s2"] = FIRST

    board = finished(
        """
        li s4, 5
    round:
        mv t0, s2
        li t1, 12
    again:
        csrw satp, t0
        ld t2, (s1)
        add a0, a0, t2
        addi t0, t0, 1
        addi t1, t1, -1
        bnez t1, again
        addi s4, s4, -1
        bnez s4, round
        handler: wfi
        """,
        setup=setup,
        **(S_MODE | {"satp": FIRST}),
    )
    assert (board["a0"], board["scause"]) == (5 * 66, 0)


def test_a_fence_reaches_spaces_that_are_not_in_force() -> None:
    def setup(board: Board) -> None:
        spaces((VA, DATA, RWX))(board)
        other = SPACES
        board.map(CODE, CODE, root=other)
        entry = board["s11"] & -PAGE
        board.map(entry, entry, root=other)
        board["s2"], board["s3"] = SV39, 8 << 60 | other >> 12

    board = finished(
        f"""
        ld a0, (s1)
        csrw satp, s3
        li t0, {DATA + PAGE >> 2 | RWX}
        sd t0, (s11)
        sfence.vma s1
        csrw satp, s2
        ld a1, (s1)
        handler: wfi
        """,
        setup=setup,
        **S_MODE,
    )
    assert (board["a0"], board["a1"]) == (100, 101)


@pytest.mark.parametrize(
    ("flags", "bit"), [(V | R | W | U | A | D, SUM), (V | X | A | D, MXR)], ids=["SUM", "MXR"]
)
def test_the_same_load_on_both_sides_of_a_change(flags: int, bit: int) -> None:
    board = finished(
        f"""
        li t0, {bit}
        li s3, 4
    again:
        csrs sstatus, t0
        ld a0, (s1)
        csrc sstatus, t0
        ld a1, (s1)
    handler:
        csrr a2, scause
        add s4, s4, a2
        addi s3, s3, -1
        bnez s3, again
        wfi
        """,
        setup=spaces((VA, DATA, flags)),
        **S_MODE,
    )
    assert (board["a0"], board["a1"], board["s4"]) == (100, 0, 4 * 13)


def test_mprv_loads_and_stores_as_mpp_but_fetches_as_itself() -> None:
    board = finished(
        f"""
        li t0, {MPRV | 1 << 11}     # MPP = S
        li t1, {SV39}
        csrw satp, t1
        csrs mstatus, t0
        ld a0, (s1)                 # translated
        sd a0, 8(s1)
        csrc mstatus, t0
        li s2, {DATA}
        ld a1, 8(s2)                # not translated
        csrs mstatus, t0
        ld a2, (s2)                 # not mapped in S
        wfi
    handler:
        csrr a3, mcause
        wfi
        """,
        setup=spaces((VA, DATA, RWX)),
        mtvec="handler",
    )
    assert (board["a0"], board["a1"], board["a2"], board["a3"]) == (100, 100, 0, 13)


# -- accessed and dirty -------------------------------------------------------------------------
ADUE = 1 << 61


def test_a_and_d_are_set_by_what_needs_them() -> None:
    board = finished(
        """
        ld a0, (s1)
        ld a1, (s11)
        sd a0, 8(s1)
        ld a2, (s11)
        handler: wfi
        """,
        setup=spaces((VA, DATA, V | R | W)),
        menvcfg=ADUE,
        **S_MODE,
    )
    entry = DATA >> 2 | V | R | W
    assert (board["a1"], board["a2"]) == (entry | A, entry | A | D)


def test_a_load_does_not_let_a_store_pass() -> None:
    """D is clear and nobody updates it: the load is good, the store to the same page faults."""
    board = finished(
        "ld a0, (s1)\nld a0, (s1)\nsd a0, 8(s1)\nhandler: wfi",
        setup=spaces((VA, DATA, V | R | W | A)),
        **S_MODE,
    )
    assert (board["a0"], board["scause"], board["stval"]) == (100, 15, VA + 8)


# -- across two pages ---------------------------------------------------------------------------
EDGE = VA + PAGE - 4


def test_across_two_pages_that_are_not_neighbours() -> None:
    board = finished(
        f"""
        li s2, {EDGE}
        li t0, 0x1122334455667788
        sd t0, (s2)
        ld a0, (s2)
        lw a1, (s2)
        lwu a2, 2(s2)
        lh a3, 3(s2)
        sw t0, 1(s2)
        ld a4, (s2)
        sh t0, 3(s2)
        ld a5, (s2)
        handler: wfi
        """,
        setup=spaces((VA, DATA, RWX), (VA + PAGE, DATA + 2 * PAGE, RWX)),
        **S_MODE,
    )
    assert board["a0"] == 0x1122334455667788
    assert (board["a1"], board["a2"], board["a3"]) == (0x55667788, 0x33445566, 0x4455)
    assert (board["a4"], board["a5"]) == (0x1122335566778888, 0x1122337788778888)
    assert board.word(DATA + PAGE - 4, 4) == 0x88778888
    assert board.word(DATA + 2 * PAGE, 4) == 0x11223377


@pytest.mark.parametrize(
    ("access", "cause"), [("ld a0, (s2)", 13), ("sd a0, (s2)", 15), ("sw a0, 2(s2)", 15)]
)
def test_the_second_page_faults_and_the_first_is_untouched(access: str, cause: int) -> None:
    board = finished(
        f"li s2, {EDGE}\nli a0, -1\n{access}\nhandler: wfi",
        setup=spaces((VA, DATA, RWX)),
        **S_MODE,
    )
    assert (board["scause"], board["stval"]) == (cause, VA + PAGE)
    assert (board["a0"], board.word(DATA + PAGE - 4, 4)) == (2**64 - 1, 0)


@pytest.mark.parametrize(("access", "cause"), [("ld a0, (s2)", 13), ("sd a0, (s2)", 15)])
def test_the_first_page_faults(access: str, cause: int) -> None:
    board = finished(
        f"li s2, {EDGE}\nli a0, -1\n{access}\nhandler: wfi",
        setup=spaces((VA + PAGE, DATA, RWX)),
        **S_MODE,
    )
    assert (board["scause"], board["stval"]) == (cause, EDGE)


def test_a_store_across_into_a_read_only_page() -> None:
    board = finished(
        f"li s2, {EDGE}\nli a0, -1\nld a1, (s2)\nsd a0, (s2)\nhandler: wfi",
        setup=spaces((VA, DATA, RWX), (VA + PAGE, DATA + PAGE, V | R | A | D)),
        **S_MODE,
    )
    assert (board["scause"], board["stval"], board.word(DATA + PAGE - 4, 4)) == (15, VA + PAGE, 0)


@pytest.mark.parametrize(
    ("access", "cause"), [("ld a0, (s2)", 5), ("sd a0, (s2)", 7)], ids=["load", "store"]
)
def test_the_second_page_is_a_device(access: str, cause: int) -> None:
    """No device has the middle of an access: an access fault at the device's first byte."""
    board = finished(
        f"li s2, {EDGE}\n{access}\nhandler: wfi",
        setup=spaces((VA, DATA, RWX), (VA + PAGE, DEVICE, RWX)),
        **S_MODE,
    )
    assert (board["scause"], board["stval"]) == (cause, VA + PAGE)


def test_misaligned_in_a_page() -> None:
    board = finished(
        "li t0, 0x1122334455667788\nsd t0, 1(s1)\nld a0, 1(s1)\nlw a1, 3(s1)\nhandler: wfi",
        setup=spaces((VA, DATA, RWX)),
        **S_MODE,
    )
    assert (board["a0"], board["a1"]) == (0x1122334455667788, 0x33445566)


@pytest.mark.parametrize(
    ("access", "cause"),
    [
        ("amoadd.w a0, a1, (s2)", 6),
        ("amoswap.d a0, a1, (s2)", 6),
        ("lr.w a0, (s2)", 4),
        ("lr.d a0, (s2)", 4),
        ("sc.w a0, a1, (s2)", 6),
    ],
)
@pytest.mark.parametrize("offset", [1, 2, 6, PAGE - 2])
def test_misaligned_atomics_trap_though_the_page_is_remembered(
    access: str, cause: int, offset: int
) -> None:
    warm = access.replace("s2", "s1")
    board = finished(
        f"{warm}\nli s2, {VA + offset}\n{warm}\nli a0, 9\n{access}\nhandler: wfi",
        setup=spaces((VA, DATA, RWX), (VA + PAGE, DATA + PAGE, RWX)),
        **S_MODE,
    )
    assert (board["scause"], board["stval"], board["a0"]) == (cause, VA + offset, 9)
