"""A pc that the host set to an odd address, by mistake or from a bad snapshot, ends no process."""

from auberge.engine.exits import Spent
from tests.engine.world import CODE, World, nop


def test_an_odd_pc_runs_as_the_even_one_below() -> None:
    world = World("interpreter", 1, [nop()] * 40)
    world.hart["pc"] = CODE + 1
    assert world.run(4) == Spent()
    assert world.hart["spent"] == 4
