"""Random kernels do the same in regions as on the reference; and, for long, as on the interpreter.

They call, branch, loop, trap, patch code that regions were made from, under one address and
another, remap the pages of regions, switch spaces, and are interrupted (`restless`).
"""

import pytest

from auberge.engine.lockstep import Difference, compare, first_difference
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from tests.conformance.generate import generate
from tests.conformance.runs import run_here
from tests.engine import eager, regions
from tests.engine.restless import maker

BUDGET, STRIDE = 3000, 300  # instructions against the reference
SHARDS, KERNELS, LONG, ROUNDS = 8, 4, 320_000, 700
ENGINES = pytest.mark.parametrize("engine", ["interpreter", eager.NAME, regions.NAME])


def difference(engine: str, seed: int, budget: int = BUDGET) -> Difference | None:
    """The first between reference and `engine`."""
    return first_difference(maker("reference", seed), maker(engine, seed), budget, STRIDE)


def agree(engine: str, seeds: range) -> None:
    for seed in seeds:
        wrong = difference(engine, seed)
        assert wrong is None, (
            f"{wrong}\n{wrong.pc:#x}: {disassemble(rv64, wrong.word)}\nagain: python -c 'from "
            f"tests.engine.test_kernels_agree import difference; "
            f"print(difference({engine!r}, {seed}))'"
        )


@pytest.mark.slow
@ENGINES
def test_a_random_kernel(engine: str) -> None:
    agree(engine, range(1))


@pytest.mark.slow
@ENGINES
@pytest.mark.parametrize("first", range(100, 140, 5))
def test_random_kernels(engine: str, first: int) -> None:
    agree(engine, range(first, first + 5))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 206))
def test_a_kernel_that_patches_for_long(seed: int) -> None:
    """Code comes and goes; each version of a page has regions of its own."""
    one, two = maker("interpreter", seed)(), maker(eager.NAME, seed)()
    for _ in range(4):
        one.run(5_000)
        two.run(5_000)
        assert compare(one, two) == {}, f"restless.maker({eager.NAME!r}, {seed})"
    assert two.engine.statistics()["regions"] >= 3


def test_a_run_compares_ten_million_instructions() -> None:
    assert SHARDS * KERNELS * LONG >= 10_000_000


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_ten_million_instructions(shard: int) -> None:
    """After each stretch everything visible and all of memory is the same."""
    slices = slices_in_regions = 0
    for seed in range(shard * KERNELS, (shard + 1) * KERNELS):
        one, two = (maker(engine, seed, False)() for engine in ("interpreter", eager.NAME))
        for stretch in (LONG // 5, LONG // 3, LONG - LONG // 5 - LONG // 3):
            one.run(stretch)
            two.run(stretch)
            assert compare(one, two) == {}, f"restless.maker({eager.NAME!r}, {seed}, False)"
        assert one["spent"] == two["spent"] == LONG
        counted = two.engine.statistics()
        slices += counted["slices"]
        slices_in_regions += counted["slices_in_regions"]
    # Slices end anywhere: their ends are a sample of where instructions were executed.
    assert slices_in_regions > slices // 10


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_user_programs(shard: int) -> None:
    """Every form there is, on values at the edges: the record of each round is the same."""
    program = generate(f"{shard}.regions", 60, ROUNDS)
    ours = run_here(regions.NAME, program)
    assert ours == run_here("interpreter", program)
    assert ours.instructions > 60 * ROUNDS
