"""Looking at what lies behind regions takes as long for an old guest as for a young one."""

from auberge.engine.heat import Heat
from auberge.engine.region_record import Region

PAGES = [n.to_bytes(16, "little") for n in range(100)]


def old(pages: list[bytes], entries: int = 10) -> Heat:
    """With that many neighbours in each page."""
    heat = Heat(3)
    for digest in pages:
        heat.note_neighbours(digest, Region(0, 1, b"", 1, tuple(range(0, 2 * entries, 2))))
    return heat


def test_a_look_has_its_limit_and_each_page_its_turn() -> None:
    heat = old(PAGES)
    seen: list[bytes] = []
    for _ in range(10):
        some = heat.some_near(100)
        assert sum(len(entries) for _, entries in some) == 100
        seen += [digest for digest, _ in some]
    assert sorted(seen) == PAGES
    assert [digest for digest, _ in heat.some_near(100)] == seen[:10]


def test_a_page_with_more_than_a_look_may_have_is_looked_at() -> None:
    heat = old(PAGES[:3], entries=1000)
    assert [digest for _ in range(4) for digest, _ in heat.some_near(100)] == [*PAGES[:3], PAGES[0]]


def test_few_are_looked_at_once_each() -> None:
    assert [digest for digest, _ in old(PAGES[:3]).some_near(1000)] == PAGES[:3]
    assert old([]).some_near(1000) == []


def test_a_page_that_is_done_with_comes_no_more() -> None:
    heat = old(PAGES[:2])
    for _, entries in heat.some_near(10):
        entries.clear()
    assert [digest for digest, _ in heat.some_near(1000)] == [PAGES[1]]
    assert list(heat.near) == [PAGES[1]]
    heat.note_neighbours(PAGES[0], Region(0, 1, b"", 1, (4,)))
    assert heat.some_near(1000)[-1] == (PAGES[0], {4})
