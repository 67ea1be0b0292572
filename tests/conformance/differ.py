"""Where engine and QEMU part: `python -m tests.conformance.differ ENGINE SEED [ITEMS [TIMES]]`."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.conformance.generate import generate
from tests.conformance.program import Item, Program, first_difference, operand_values
from tests.conformance.runs import Result, run_here, run_in_qemu

ITEMS, ITERATIONS = 100, 1000


class Difference(AssertionError):
    """An engine did not do what QEMU did. Says how to see it again."""

    def __init__(self, program: Program, ours: Result, theirs: Result, again: str) -> None:
        self.program = program
        iteration, what = -1, f"{ours.end}, should be {theirs.end}"
        if ours.output != theirs.output:
            iteration, what = first_difference(ours.output, theirs.output)
        values = operand_values(program, max(iteration, 0))
        super().__init__(
            f"{what}\n{program.text()}\nwith {values}\n"
            f"iteration {iteration} of {program.iterations}; again: {again}"
        )


def compare(engine: str, program: Program, path: Path, again: str) -> int:
    """The instructions that `engine` ran; raises a Difference with the smallest program we find."""
    ours, theirs = run_here(engine, program), run_in_qemu(program, path)
    if _alike(ours, theirs):
        return ours.instructions

    def differs(candidate: Program) -> bool:
        return not _alike(run_here(engine, candidate), run_in_qemu(candidate, path))

    small = shrink(program, ours, theirs, differs)
    raise Difference(small, run_here(engine, small), run_in_qemu(small, path), again)


def _alike(ours: Result, theirs: Result) -> bool:
    return ours[:2] == theirs[:2]


def shrink(
    program: Program, ours: Result, theirs: Result, differs: Callable[[Program], bool]
) -> Program:
    """One iteration if one is enough, and no instruction that is not needed."""
    iteration = -1
    if ours.output != theirs.output:
        iteration, _ = first_difference(ours.output, theirs.output)
    once = program._replace(iterations=1, first=max(iteration, 0))
    program = once if differs(once) else program
    size = len(program.items)
    while size:
        at = 0
        while at < len(program.items):
            items: list[Item] = [*program.items[:at], *program.items[at + size :]]
            fewer = program._replace(items=items)
            if differs(fewer):
                program = fewer
            else:
                at += size
        size //= 2
    for n, item in enumerate(program.items):
        for step in item.steps:
            rest = tuple(s for s in program.items[n].steps if s is not step)
            items = [*program.items[:n], Item(rest, item.skip), *program.items[n + 1 :]]
            fewer = program._replace(items=items)
            if rest and differs(fewer):
                program = fewer
    return program


def trial(
    engine: str, seed: str, path: Path, items: int = ITEMS, iterations: int = ITERATIONS
) -> int:
    """Compare on the program of that seed; where it ends in `m`, also rounding to max magnitude."""
    again = f"python -m tests.conformance.differ {engine} {seed} {items} {iterations}"
    program = generate(seed, items, iterations, max_magnitude=seed.endswith("m"))
    return compare(engine, program, path, again)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        sizes = [int(argument) for argument in sys.argv[3:]]
        print(trial(sys.argv[1], sys.argv[2], Path(directory) / "program", *sizes), "instructions")
