"""Which of the hot places is worth a region first."""

from auberge.engine.heat import AGAIN, Heat
from auberge.engine.workshop import QUICK, WELL, Order

ONE, TWO, THREE = (Order(bytes([n]) * 16, n) for n in range(3))


def test_nothing_is_hot_with_too_few_samples() -> None:
    heat = Heat(3)
    heat.count(ONE, QUICK, 2)
    heat.count(TWO, WELL, 3 * AGAIN - 1)
    assert heat.hottest() is None
    heat.count(ONE, QUICK, 1)
    assert heat.hottest() == (ONE, QUICK)
    assert heat.hottest() is None, "it has been taken"


def test_the_hottest_comes_first_each_by_what_is_enough() -> None:
    heat = Heat(3)
    heat.count(ONE, QUICK, 4)
    heat.count(TWO, WELL, 4 * AGAIN - 1)
    heat.count(THREE, QUICK, 5)
    assert [heat.hottest() for _ in range(4)] == [(THREE, QUICK), (ONE, QUICK), (TWO, WELL), None]


def test_good_code_of_the_hottest_does_not_wait_for_all_that_is_lukewarm() -> None:
    heat = Heat(3)
    for n in range(100):
        heat.count(Order(b"lukewarm" * 2, 2 * n), QUICK, 5)
    heat.count(ONE, WELL, 1000)
    assert heat.hottest() == (ONE, WELL)


def test_a_place_may_be_hot_for_both() -> None:
    heat = Heat(1)
    heat.count(ONE, QUICK, 1)
    heat.count(ONE, WELL, 10 * AGAIN)
    assert [heat.hottest() for _ in range(3)] == [(ONE, WELL), (ONE, QUICK), None]
