"""Device accesses: what a device must know, answers, refusals, and nothing asked twice."""

import pytest

from auberge.engine.exits import Idle, MmioRead, MmioWrite, Spent
from tests.engine.board import CODE, DEVICE, PAGE, RWX, SV39, Board

LOADS = {"lb": (1, 0xFFFF_FFFF_FFFF_FF88), "lbu": (1, 0x88), "lh": (2, 0xFFFF_FFFF_FFFF_9988),
         "lhu": (2, 0x9988), "lw": (4, 0xFFFF_FFFF_BBAA_9988), "lwu": (4, 0xBBAA_9988),
         "ld": (8, 0xFFEE_DDCC_BBAA_9988)}  # fmt: skip
ANSWER = 0xFFEE_DDCC_BBAA_9988


def asks(engine: str, text: str, **cells: int | str) -> Board:
    b = Board(engine, f"{text}\nwfi\n.balign 4\nhandler: nop", mtvec="handler", **cells)
    b["s1"], b["a1"] = DEVICE, 0x1122_3344_5566_7788
    return b


@pytest.mark.parametrize("name", LOADS)
def test_loads(engine: str, name: str) -> None:
    width, value = LOADS[name]
    b = asks(engine, f"{name} a0, 0x10(s1)")
    assert b.run(100) == MmioRead(DEVICE + 0x10, width)
    assert (b["pc"], b["spent"]) == (CODE, 0)
    b.engine.resume(ANSWER)
    assert b.run(1) == Spent()
    assert (b["a0"], b["pc"], b["spent"]) == (value, CODE + 4, 1)


@pytest.mark.parametrize(("name", "width"), [("sb", 1), ("sh", 2), ("sw", 4), ("sd", 8)])
def test_stores(engine: str, name: str, width: int) -> None:
    b = asks(engine, f"{name} a1, 8(s1)")
    value = 0x1122_3344_5566_7788 & (1 << 8 * width) - 1
    assert b.run(100) == MmioWrite(DEVICE + 8, width, value)
    assert b["spent"] == 0
    b.engine.resume(0)
    assert b.run(100) == Idle(None)
    assert b["spent"] == 2


def test_floating_point_loads_and_stores(engine: str) -> None:
    b = asks(engine, "fld f1, (s1)\nfsw f1, 4(s1)", mstatus=3 << 13)
    assert b.run(100) == MmioRead(DEVICE, 8)
    b.engine.resume(ANSWER)
    assert b.run(100) == MmioWrite(DEVICE + 4, 4, 0xBBAA_9988)
    b.engine.resume(0)
    assert b.run(100) == Idle(None)
    assert b.hart.f[1] == ANSWER


def test_to_x0_is_asked_too(engine: str) -> None:
    b = asks(engine, "lw zero, (s1)")
    assert b.run(100) == MmioRead(DEVICE, 4)
    b.engine.resume(5)
    assert b.run(100) == Idle(None)
    assert b["zero"] == 0


@pytest.mark.parametrize(
    ("text", "cause"), [("lw a0, 4(s1)", 5), ("sw a1, 4(s1)", 7)], ids=["load", "store"]
)
@pytest.mark.parametrize("vectored", [0, 1])
def test_a_refusal_is_a_precise_access_fault(
    engine: str, text: str, cause: int, vectored: int
) -> None:
    b = asks(engine, f"nop\n{text}")
    b["mtvec"] |= vectored
    b["a0"] = 77
    b.run(100)
    b.engine.resume(None)
    assert (b["pc"], b["spent"]) == (b.labels["handler"], 2)
    assert (b["mepc"], b["mcause"], b["mtval"], b["a0"]) == (CODE + 4, cause, DEVICE + 4, 77)
    assert b.run(1) == Spent()
    assert b["pc"] == b.labels["handler"] + 4


def test_the_fault_has_the_virtual_address_and_the_exit_the_physical(engine: str) -> None:
    def setup(board: Board) -> None:
        board.map(CODE, CODE)
        board.map(0x40_0000, DEVICE)

    b = Board(engine, "ld a0, 8(s1)\n.balign 4\nhandler: nop", setup=setup, priv=1, satp=SV39,
              stvec="handler", medeleg=0xB3FF)  # fmt: skip
    b["s1"] = 0x40_0000
    assert b.run(1) == MmioRead(DEVICE + 8, 8)
    b.engine.resume(None)
    assert (b["scause"], b["stval"], b["sepc"]) == (5, 0x40_0008, CODE)
    assert (b["priv"], b["pc"]) == (1, b.labels["handler"])


def test_each_access_is_asked_once(engine: str) -> None:
    """Also across budgets of one, and with an interrupt pending in between."""
    b = asks(engine, "lw t0, (s1)\nadd a0, a0, t0\nlw t0, (s1)\nadd a0, a0, t0\nsw a0, (s1)")
    seen = []
    for _ in range(20):
        out = b.run(1)
        if isinstance(out, Idle):
            break
        if not isinstance(out, Spent):
            seen.append(out)
            b.hart.set_line(3, True)  # pending, not enabled
            b.engine.resume(len(seen) * 10)
    assert seen == [MmioRead(DEVICE, 4), MmioRead(DEVICE, 4), MmioWrite(DEVICE, 4, 30)]
    assert b["spent"] == 6


def test_an_interrupt_waits_for_the_access_to_complete(engine: str) -> None:
    b = asks(engine, "lw a0, (s1)\nnop", mie=8)
    b["mstatus"] |= 8
    assert b.run(10) == MmioRead(DEVICE, 4)
    b.hart.set_line(3, True)
    b.engine.resume(9)
    assert b.run(1) == Spent()
    assert (b["a0"], b["mcause"]) == (9, 0)
    assert b.run(1) == Spent()
    assert (b["mcause"], b["mepc"]) == (1 << 63 | 3, CODE + 4)


def test_a_refused_store_is_not_asked_again(engine: str) -> None:
    b = asks(engine, "sw a1, (s1)")
    assert isinstance(b.run(10), MmioWrite)
    b.engine.resume(None)
    assert b.run(1) == Spent()
    assert (b["mcause"], b["pc"]) == (7, b.labels["handler"] + 4)


@pytest.mark.parametrize(
    ("text", "cause", "at"),
    [
        ("lh a0, 1(s1)", 5, 1),
        ("lw a0, 2(s1)", 5, 2),
        ("ld a0, 4(s1)", 5, 4),
        ("sh a1, 1(s1)", 7, 1),
        ("sd a1, 1(s1)", 7, 1),
    ],
)
def test_misaligned_is_an_access_fault_and_nobody_is_asked(
    engine: str, text: str, cause: int, at: int
) -> None:
    b = asks(engine, text)
    assert b.run(1) == Spent()
    assert (b["mcause"], b["mtval"], b["mepc"]) == (cause, DEVICE + at, CODE)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("amoadd.w a0, a1, (s1)", 7),
        ("amoswap.d a0, a1, (s1)", 7),
        ("lr.w a0, (s1)", 5),
        ("sc.d a0, a1, (s1)", 7),
    ],
)
def test_atomics_are_not_for_devices(engine: str, text: str, cause: int) -> None:
    b = asks(engine, text)
    assert b.run(1) == Spent()
    assert (b["mcause"], b["mtval"], b["mepc"]) == (cause, DEVICE, CODE)


def test_a_device_is_nothing_to_execute(engine: str) -> None:
    b = asks(engine, "jr s1")
    assert b.run(2) == Spent()
    assert (b["mcause"], b["mtval"], b["mepc"]) == (1, DEVICE, DEVICE)


@pytest.mark.parametrize("at", [-8, -1, 0])
def test_the_edges_of_ram(engine: str, at: int) -> None:
    """The last bytes are RAM; what lies across its end is an access fault; beyond are devices."""
    end = 0x8010_0000
    b = asks(engine, "ld a0, (s1)")
    b["s1"] = end + at
    out = b.run(1)
    if at == -8:
        assert (out, b["mcause"]) == (Spent(), 0)
    elif at == -1:
        assert (out, b["mcause"], b["mtval"]) == (Spent(), 5, end)
    else:
        assert out == MmioRead(end, 8)


def test_the_page_of_a_device_is_not_remembered_as_ram(engine: str) -> None:
    def setup(board: Board) -> None:
        board.map(CODE, CODE)
        entry = board.map(0x40_0000, DEVICE)
        board.map(entry & -PAGE, entry & -PAGE)
        board["s2"], board["s3"], board["s1"] = entry, CODE + PAGE >> 2 | RWX, 0x40_0000

    b = Board(engine, "lw a0, (s1)\nsd s3, (s2)\nsfence.vma\nlw a1, (s1)\nwfi", setup=setup,
              priv=1, satp=SV39)  # fmt: skip
    b.put(CODE + PAGE, 6)
    assert b.run(100) == MmioRead(DEVICE, 4)
    b.engine.resume(5)
    assert b.run(100) == Idle(None)
    assert (b["a0"], b["a1"]) == (5, 6)
