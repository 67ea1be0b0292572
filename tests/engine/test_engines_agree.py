"""Random programs in random worlds do the same on the native interpreter as on the reference."""

import pytest

from auberge.engine.lockstep import Difference, first_difference
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from tests.engine import regions
from tests.engine.world import CODE, World, maker, program

BUDGET, STRIDE = 150, 50


def difference(seed: int, at: int = CODE, engine: str = "interpreter") -> Difference | None:
    """The first, unless the program changed its own code: what executes then is not defined."""
    words = program(seed)
    makers = maker("reference", seed, words, at), maker(engine, seed, words, at)
    wrong = first_difference(*makers, BUDGET, STRIDE)
    if wrong is not None:
        world = World("reference", seed, words, at)
        world.run(BUDGET)
        if not world.code_is_whole():
            return None
    return wrong


def complaint(seed: int, at: int, engine: str, wrong: Difference) -> str:
    """What a person needs who is to find the reason."""
    values = "\n".join(
        f"  {name}: {one:#x} and {two:#x}"
        if isinstance(one, int) and isinstance(two, int)
        else f"  {name}: {one} and {two}"
        for name, (one, two) in wrong.values.items()
    )
    return (
        f"seed {seed}: after {wrong.instructions} instructions, at {wrong.pc:#x} "
        f"{disassemble(rv64, wrong.word)}, reference and {engine} have\n{values}\n"
        f"again: python -c 'from tests.engine.test_engines_agree import difference; "
        f"print(difference({seed}, {at:#x}, {engine!r}))'"
    )


def agree(seeds: range, at: int = CODE, engine: str = "interpreter") -> None:
    for seed in seeds:
        wrong = difference(seed, at, engine)
        assert wrong is None, complaint(seed, at, engine, wrong)


def test_few_random_programs() -> None:
    agree(range(4))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1400, 50))
def test_random_programs(first: int) -> None:
    agree(range(first, first + 50))


@pytest.mark.slow
@pytest.mark.parametrize("before", [2, 42, 82, 122])
def test_random_programs_across_the_end_of_a_page(before: int) -> None:
    """Every instruction of four bytes may be the one that lies across."""
    agree(range(1400, 1425), CODE + 4096 - before)


def test_few_random_programs_in_regions() -> None:
    agree(range(4), CODE, regions.NAME)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(2000, 2200, 25))
def test_random_programs_in_regions(first: int) -> None:
    agree(range(first, first + 25), CODE, regions.NAME)
