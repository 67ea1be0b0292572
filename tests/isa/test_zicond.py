"""Zicond, on every engine: Volume I, 20240411, chapter 12."""

import pytest

from tests.isa.bench import Bench

pytestmark = pytest.mark.usefixtures("each_engine")

VALUES = [0, 1, 1 << 63, (1 << 64) - 1]


@pytest.mark.parametrize("condition", VALUES)
@pytest.mark.parametrize("value", VALUES)
def test_a_condition_clears_or_keeps(value: int, condition: int) -> None:
    bench = Bench()
    for name, clears in (("czero.eqz", condition == 0), ("czero.nez", condition != 0)):
        for rd in (5, 6, 7):  # also where it is an operand itself
            bench.hart.x[6], bench.hart.x[7] = value, condition
            assert bench.insn(name, rd=rd, rs1=6, rs2=7) is None
            assert bench.hart.x[rd] == (0 if clears else value)
