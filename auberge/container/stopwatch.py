"""Where the time of a command goes: `auberge-oci --stats`."""

import time

_marks: list[tuple[str, float, float]] = []
MOST = 100
"""Marks of one command; a program that runs thousands of containers is not watched for ever."""


def mark(name: str) -> None:
    """What was done until now, since the last mark, was that."""
    if len(_marks) < MOST:
        _marks.append((name, time.perf_counter(), time.process_time()))
        del _marks[MOST:]  # several threads may have found room for one


def lines() -> list[str]:
    """A line for each mark but the first, and their sum: milliseconds by the clock, and of CPU."""
    found = []
    steps = list(zip(_marks, _marks[1:], strict=False))
    for (_, before, cpu_before), (name, after, cpu) in steps:
        found.append(_line(name, after - before, cpu - cpu_before))
    if steps:
        (_, begin, cpu_begin), (_, end, cpu_end) = _marks[0], _marks[-1]
        found.append(_line("all", end - begin, cpu_end - cpu_begin))
    return found


def _line(name: str, seconds: float, cpu: float) -> str:
    return f"{name:24}{seconds * 1000:8.2f} ms {cpu * 1000:8.2f} ms of CPU"
