"""The PLIC: gateways, priorities, thresholds, claim and completion."""

import pytest

from auberge.machine.devices.plic import Plic

PENDING, ENABLE, CONTEXT = 0x1000, 0x2000, 0x200000
M0, S0, M1, S1 = range(4)


class Bench:
    """A PLIC with four contexts, whose lines are a list of levels."""

    def __init__(self, **state):
        self.levels = [False] * 4
        self.plic = Plic([self.line(context) for context in range(4)], **state)

    def line(self, context):
        def set_level(level):
            self.levels[context] = level

        return set_level

    def read(self, offset):
        return self.plic.read(offset, 4)

    def write(self, offset, value):
        self.plic.write(offset, 4, value)

    def enable(self, context, *sources):
        for word in range(3):
            bits = sum(1 << source % 32 for source in sources if source // 32 == word)
            self.write(ENABLE + 0x80 * context + 4 * word, bits)

    def priority(self, source, value):
        self.write(4 * source, value)

    def threshold(self, context, value):
        self.write(CONTEXT + 0x1000 * context, value)

    def claim(self, context):
        return self.read(CONTEXT + 0x1000 * context + 4)

    def complete(self, context, source):
        self.write(CONTEXT + 0x1000 * context + 4, source)


@pytest.fixture
def bench():
    return Bench()


def test_a_source_reaches_the_contexts_that_enable_it(bench):
    bench.priority(10, 1)
    bench.enable(S0, 10)
    bench.plic.source(10)(True)
    assert bench.levels == [False, True, False, False]
    assert bench.read(PENDING) == 1 << 10


def test_claim_and_complete(bench):
    uart = bench.plic.source(10)
    bench.priority(10, 1)
    bench.enable(S0, 10)
    uart(True)
    assert bench.claim(S0) == 10
    assert bench.levels[S0] is False
    assert bench.read(PENDING) == 0
    assert bench.claim(S0) == 0
    uart(False)
    bench.complete(S0, 10)
    assert bench.levels[S0] is False


def test_a_level_that_stays_interrupts_again_after_completion(bench):
    bench.priority(95, 7)
    bench.enable(M1, 95)
    bench.plic.source(95)(True)
    assert bench.claim(M1) == 95
    bench.plic.source(95)(True)
    assert bench.levels[M1] is False
    bench.complete(M1, 95)
    assert bench.levels[M1] is True
    assert bench.claim(M1) == 95


def test_a_request_once_forwarded_stays_pending(bench):
    bench.priority(3, 1)
    bench.enable(M0, 3)
    bench.plic.source(3)(True)
    bench.plic.source(3)(False)
    assert bench.claim(M0) == 3
    bench.complete(M0, 3)
    assert bench.claim(M0) == 0


def test_the_highest_priority_first_then_the_lowest_number(bench):
    for source, priority in ((5, 2), (40, 7), (64, 7), (7, 2)):
        bench.priority(source, priority)
        bench.plic.source(source)(True)
    bench.enable(S1, 5, 7, 40, 64)
    assert [bench.claim(S1) for _ in range(5)] == [40, 64, 5, 7, 0]


def test_priority_zero_never_interrupts(bench):
    bench.enable(M0, 1)
    bench.plic.source(1)(True)
    assert bench.levels[M0] is False
    assert bench.claim(M0) == 0
    bench.priority(1, 1)
    assert bench.levels[M0] is True


def test_the_threshold_masks_but_does_not_hinder_a_claim(bench):
    bench.priority(1, 3)
    bench.enable(M0, 1)
    bench.threshold(M0, 3)
    bench.plic.source(1)(True)
    assert bench.levels[M0] is False
    bench.threshold(M0, 2)
    assert bench.levels[M0] is True
    bench.threshold(M0, 7)
    assert bench.claim(M0) == 1


def test_only_one_context_gets_a_claim(bench):
    bench.priority(1, 1)
    bench.enable(M0, 1)
    bench.enable(S0, 1)
    bench.plic.source(1)(True)
    assert bench.levels[:2] == [True, True]
    assert bench.claim(S0) == 1
    assert bench.levels[:2] == [False, False]
    assert bench.claim(M0) == 0


def test_a_completion_by_a_context_that_does_not_enable_it_is_ignored(bench):
    bench.priority(1, 1)
    bench.enable(M0, 1)
    bench.plic.source(1)(True)
    bench.claim(M0)
    bench.complete(S0, 1)
    bench.complete(M0, 0)
    bench.complete(M0, 96)
    bench.complete(M0, 0xFFFF_FFFF)
    assert bench.levels[M0] is False
    bench.complete(M0, 1)
    assert bench.levels[M0] is True


def test_registers_keep_what_exists(bench):
    bench.write(0, 7)
    assert bench.read(0) == 0, "source 0 does not exist"
    bench.priority(1, 0xFF)
    assert bench.read(4) == 7
    bench.priority(96, 1)
    assert bench.read(4 * 96) == 0
    bench.write(ENABLE, 0xFFFF_FFFF)
    assert bench.read(ENABLE) == 0xFFFF_FFFE
    bench.write(ENABLE + 12, 1)
    assert bench.read(ENABLE + 12) == 0
    bench.write(PENDING, 0xFFFF_FFFF)
    assert bench.read(PENDING) == 0
    bench.threshold(S1, 0xFF)
    assert bench.read(CONTEXT + 0x1000 * S1) == 7
    bench.write(CONTEXT + 0x1000 * 4, 1)
    assert bench.read(CONTEXT + 0x1000 * 4) == 0
    assert bench.read(CONTEXT + 8) == 0


@pytest.mark.parametrize("number", [0, 96, -1])
def test_a_board_cannot_wire_a_source_that_does_not_exist(bench, number):
    with pytest.raises(ValueError) as error:
        bench.plic.source(number)
    assert str(error.value) == f"plic: no source {number}; choose one of 1 to 95"


def test_a_restored_plic_goes_on(bench):
    for source in (1, 2, 3):
        bench.priority(source, source)
        bench.plic.source(source)(True)
    bench.enable(S0, 1, 2, 3)
    bench.threshold(S0, 1)
    assert bench.claim(S0) == 3
    again = Bench(state=bench.plic.state)
    assert again.levels == bench.levels
    assert again.plic.state == bench.plic.state
    for each in bench, again:
        assert each.claim(S0) == 2
        each.complete(S0, 3)
        assert each.claim(S0) == 3
    assert again.plic.state == bench.plic.state
