"""What the translator counted, as a table: each hart's counts are added, shared ones are not."""

from auberge.engine.leaving import COUNTED
from auberge.engine.state import CAUSES as STATE_CAUSES
from auberge.machine.statistics import Statistics
from auberge.machine.translated import CAUSES, translator_rows

COUNTS = {
    "instructions": 1000, "tlb_misses": 3, "deferred": 0, "code_flushes": 0,
    "regions": 12, "regions_loaded": 9, "regions_better": 5, "regions_lost": 0,
    "regions_dropped": 0,
    "region_instructions": 345, "region_bytes": 6789,
    "compiler_cpu_ms": 1234, "compiler_wall_ms": 5678,
    "regions_installed": 20, "slices": 200, "slices_in_regions": 50,
    **{f"exits_{cause}": n for n, cause in enumerate(STATE_CAUSES)},
}  # fmt: skip


def rows(*counted: dict[str, int]) -> dict[str, str]:
    """The translator's part of a table, of harts that counted this."""
    total = Statistics()
    for each in counted:
        total = total.plus(each)
    return dict(translator_rows(total.translator))


def test_one_hart():
    assert rows(COUNTS) == {
        "slices": "200",
        "slices in regions (sampled)": "25.0 %",
        "regions compiled": "3",
        "regions from the cache": "9",
        "cache hits": "75.0 %",
        "regions of better code": "5",
        "regions installed": "20",
        "instructions of regions": "345",
        "bytes of regions": "6,789",
        "compiler CPU": "1.234 s",
        "compiler wall": "5.678 s",
        "left: called by timer or thread": "1",
        "left: a trap": "2",
        "left: a device": "3",
        "left: two pages at once": "4",
        "left: code not in the TLB": "5",
        "left: other floating-point mode": "6",
        "left: for the reference engine": "7",
    }


def test_two_harts_share_regions_and_the_compiler():
    both = rows(COUNTS, COUNTS | {"slices": 400, "slices_in_regions": 400, "regions": 13})
    assert (both["slices"], both["slices in regions (sampled)"]) == ("600", "75.0 %")
    assert (both["regions compiled"], both["regions from the cache"]) == ("4", "9")
    assert (both["regions installed"], both["compiler CPU"]) == ("40", "1.234 s")
    assert both["left: a device"] == "6"


def test_what_seldom_happens_is_shown_when_it_does():
    shown = rows(COUNTS | {"regions_lost": 2, "regions_dropped": 1, "exits_budget": 7})
    assert (shown["regions lost"], shown["arenas dropped"]) == ("2", "1")
    assert shown["left: the slice ended"] == "7"


def test_nothing_was_hot():
    shown = rows(dict.fromkeys(COUNTS, 0))
    assert shown["slices in regions (sampled)"] == shown["cache hits"] == "none"
    assert not any(name.startswith("left") for name in shown)


def test_other_engines_have_no_such_rows():
    assert rows({"instructions": 5, "tlb_misses": 1}) == {}


def test_the_rows_fit_the_table():
    total = Statistics().plus({name: count + 1 for name, count in COUNTS.items()})
    assert all(len(line) == 52 for line in total.lines())


def test_each_cause_is_counted_and_has_a_name():
    assert set(CAUSES) == set(STATE_CAUSES) == {
        *COUNTED.values(), "trap", "device", "crossing", "reference"
    }  # fmt: skip
