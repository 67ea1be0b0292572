"""The translator by itself: what is hot becomes regions, and nobody can tell but by the clock."""

from pathlib import Path

import pytest

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import Breakpoint, Idle, MmioRead, Spent
from auberge.engine.region_file import RegionFile
from auberge.engine.translations import Translations
from auberge.engine.translator import Translator
from auberge.engine.workshop import Workshop
from tests.engine import regions
from tests.engine.board import CODE, DATA, DEVICE, FS, Board

pytestmark = pytest.mark.slow

LOOP = """
        li      s0, 2000
again:  addi    a0, a0, 3
        sd      a0, (s1)
        ld      a1, (s1)
        add     a2, a2, a1
        addi    s0, s0, -1
        bnez    s0, again
        wfi
"""
SILENT = Workshop(("-c", "raise SystemExit(1)"))  # compiles nothing


def translating(text: str, file: RegionFile | None = None, **cells: int | str) -> Board:
    """A board whose translator looks at each sample, and waits for each region."""
    return board(text, Translations(Workshop(), file, heat=1, waits=True), **cells)


def board(text: str, translations: Translations, **cells: int | str) -> Board:
    b = Board("interpreter", text, **cells)
    b.hart.x[9] = DATA
    kind = choose("translator")
    library = kind._library  # type: ignore[attr-defined]
    b.engine = Translator(library, translations, b.hart, b.ram, ManualClock())
    return b


def plain(text: str, **cells: int | str) -> Board:
    b = Board("interpreter", text, **cells)
    b.hart.x[9] = DATA
    return b


def test_a_hot_loop_is_translated_and_does_the_same() -> None:
    one, two = plain(LOOP), translating(LOOP)
    assert one.exit() == two.exit() == Idle(None)
    assert one.hart.visible() == two.hart.visible()
    assert one["spent"] == two["spent"]
    counted = two.engine.statistics()
    assert counted["regions"] >= 1
    assert counted["regions_installed"] >= 1
    assert counted["slices_in_regions"] > 10
    assert counted["regions_better"] >= 1, "forty slices have ended in it"
    assert counted["regions_better"] < counted["regions"]


def test_a_second_start_needs_no_compiler(tmp_path: Path) -> None:
    path = str(tmp_path / "regions")
    first = translating(LOOP, RegionFile(path))
    assert first.exit() == Idle(None)
    second = board(LOOP, Translations(SILENT, RegionFile(path)))
    assert second.exit() == Idle(None)
    assert second.hart.visible() == first.hart.visible()
    assert second.engine.statistics()["regions_loaded"] >= 1
    assert SILENT.starts == 0


def test_a_damaged_file_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "regions"
    first = translating(LOOP, RegionFile(str(path)))
    assert first.exit() == Idle(None)
    whole = bytearray(path.read_bytes())
    for at in range(0, len(whole), 97):
        whole[at] ^= 0x55
    path.write_bytes(whole)
    second = board(LOOP, Translations(SILENT, RegionFile(str(path))))
    assert second.exit() == Idle(None)
    assert second.hart.visible() == first.hart.visible()
    assert second.engine.statistics()["regions_loaded"] == 0


def test_a_compiler_that_always_fails() -> None:
    failing = Workshop(("-c", "raise SystemExit(1)"))
    b = board(LOOP, Translations(failing, None, heat=1, waits=True))
    assert b.exit() == Idle(None)
    assert b.hart.visible() == plain_result(LOOP)
    assert b.engine.statistics()["regions"] == 0
    assert (failing.starts, failing.lost) == (1, 1)  # each place is asked for once


def plain_result(text: str) -> dict[str, int]:
    b = plain(text)
    assert b.exit() == Idle(None)
    return b.hart.visible()


def test_budgets_are_exact_with_regions() -> None:
    one, two = plain(LOOP), translating(LOOP)
    for budget in (1, 2, 500, 7, 3000, 1, 1, 64, 63, 129, 4000):
        assert one.engine.run(budget) == two.engine.run(budget) == Spent()
        assert one.hart.visible() == two.hart.visible()
        assert one["spent"] == two["spent"]


def test_a_breakpoint_inside_a_region_is_heard() -> None:
    b = translating(LOOP)
    assert b.engine.run(3000) == Spent()
    assert b.engine.statistics()["regions_installed"] >= 1
    inside = b.labels["again"] + 8
    b.engine.debug([inside], ())
    for _ in range(3):
        assert b.engine.run(1000) == Breakpoint()
        assert b["pc"] == inside
        b.engine.debug([], ())
        assert b.engine.run(1) == Spent()
        b.engine.debug([inside], ())
    b.engine.debug([], ())
    assert b.exit() == Idle(None)
    assert b.hart.visible() == plain_result(LOOP)


def test_translated_code_that_is_rewritten() -> None:
    text = f"""
        li      s2, 4
round:  li      s0, 700
here:   addi    a0, a0, 1
        addi    s0, s0, -1
        bnez    s0, here
        la      t0, here
        lw      t1, (t0)
        li      t2, {1 << 20}           # the immediate of addi, one more
        add     t1, t1, t2
        sw      t1, (t0)
        fence.i
        addi    s2, s2, -1
        bnez    s2, round
        wfi
    """
    b = translating(text)
    assert b.exit() == Idle(None)
    assert b["a0"] == 700 * (1 + 2 + 3 + 4)
    assert b.engine.statistics()["regions"] >= 4


def test_floating_point_of_another_mode_is_not_taken_for_granted() -> None:
    """A region rounds to nearest; where frm says otherwise, or FS is off, it is not entered."""
    text = """
        li      s0, 600
        li      t0, 3
        fcvt.d.w f1, t0
        li      t0, 1
        fcvt.d.w f2, t0
again:  fdiv.d  f3, f2, f1
        fadd.d  f4, f4, f3
        addi    s0, s0, -1
        bnez    s0, again
        csrr    a1, frm
        li      a2, 2
        csrw    frm, a2                 # down
        li      s0, 600
        beqz    a1, again
        wfi
    """
    one, two = plain(text, mstatus=FS), translating(text, mstatus=FS)
    assert one.exit() == two.exit() == Idle(None)
    assert one.hart.visible() == two.hart.visible()
    assert two.engine.statistics()["regions"] >= 1


def test_a_region_that_spans_the_end_of_its_page() -> None:
    text = f"""
        li      s0, 1000
        j       again
        .space  {4096 - 40}
again:  addi    a0, a0, 1
        addi    a1, a1, 2
        addi    a2, a2, 3
        addi    a3, a3, 4
        addi    a4, a4, 5
        addi    a5, a5, 6
        addi    s0, s0, -1
        addi    a6, a6, 7
        bnez    s0, again
        wfi
    """
    b = translating(text)
    assert b.exit() == Idle(None)
    assert [b[f"a{n}"] for n in range(7)] == [1000 * (n + 1) for n in range(7)]
    assert CODE + 4096 < b["pc"]


@pytest.mark.parametrize("distance", [1 << 62, (1 << 62) + 8, (1 << 62) - 4096, -1 << 63, 1 << 33])
def test_no_known_distance_leads_out_of_the_guest(distance: int) -> None:
    """The region knows how far the second access is from the first, which is not in the TLB."""
    text = f"""
        csrr    s3, mhartid             # zero, and nobody knows
        li      s0, 700
        li      s4, {DEVICE}
again:  addi    s0, s0, -1
        add     a0, s1, s3
        bnez    s0, look
        mv      a0, s4                  # a page that is in no TLB
look:   ld      a1, (a0)
        li      t1, {distance}
        add     a2, a0, t1
        ld      a3, (a2)
        addi    a5, a5, 1
        bnez    s0, again
        wfi
    """

    def run(b: Board) -> Board:
        for _ in range(2000):
            out = b.engine.run(1 << 20)
            if out == Idle(None):
                return b
            assert isinstance(out, MmioRead)
            b.engine.resume(5)
        raise AssertionError("it does not end")

    everywhere = Board(regions.NAME, text)
    everywhere.hart.x[9] = DATA
    one, two = run(plain(text)), run(everywhere)
    assert one.hart.visible() == two.hart.visible()
    assert two.engine.statistics()["regions"] >= 1
