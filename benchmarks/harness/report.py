"""Results: a line `name value unit host` on stdout, and a record where they are kept."""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

Measured = TypeVar("Measured")

RECORDS = "AUBERGE_BENCH_RECORDS"
"""The environment variable that names a file to which records are added, one JSON object a line."""


class Target:
    """What a figure should be: a least or a greatest value."""

    def __init__(self, least: float | None = None, most: float | None = None) -> None:
        self.least, self.most = least, most

    def met(self, value: float) -> bool:
        """Whether `value` is in bounds."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def __str__(self) -> str:
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"


def report(name: str, value: float, unit: str, target: Target | None = None) -> None:
    """Print one result, and keep it."""
    remark = ""
    if target is not None:
        remark = f"  # target {target}: {'met' if target.met(value) else 'MISSED'}"
    print(f"{name} {value:.4g} {unit} {host()}{remark}", flush=True)
    path = os.environ.get(RECORDS)
    if path:
        record: dict[str, object] = {"name": name, "value": float(f"{value:.5g}"), "unit": unit}
        if target is not None:
            record["target"] = str(target)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def missing(what: str, package: str) -> None:
    """Say that a peer is not installed, and how to get it."""
    print(f"# {what} is not installed: nothing to compare with; apt install {package}", flush=True)


def host() -> str:
    """The kind of machine, as one word: cores and processor."""
    return f"{os.cpu_count()}x{processor().replace(' ', '-')}"


def processor() -> str:
    """The processor, as /proc/cpuinfo names it; a virtual machine may hide which model it is."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
        fields = dict(line.split(":", 1) for line in info.read().split("\n\n")[0].splitlines())
    found = {name.strip(): value.strip() for name, value in fields.items()}
    name = found.get("model name", found.get("CPU implementer", "unknown"))
    family, model = found.get("cpu family"), found.get("model")
    words = [word for word in name.replace("(R)", "").replace("(TM)", "").split() if word != "CPU"]
    return " ".join(words) + (f" {family}/{model}" if family and model else "")


def rounds(default: int) -> int:
    """How often to measure: `--rounds N` of the command line, or `default`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=default, help="how often to measure")
    return max(1, int(parser.parse_args().rounds))


def interleaved(count: int, *measures: Callable[[], Measured]) -> list[list[Measured]]:
    """Call the measures in turn, A B A B ..., so that a machine that slows down slows them all."""
    results: list[list[Measured]] = [[] for _ in measures]
    for _ in range(count):
        for measure, result in zip(measures, results, strict=True):
            result.append(measure())
    return results


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: Target | None = None,
    ratio_target: Target | None = None,
) -> None:
    """Report medians of ours and, if there are any, of QEMU's, and their ratio."""
    report(f"{name}.auberge", statistics.median(ours), unit, target)
    if theirs:
        report(f"{name}.qemu", statistics.median(theirs), unit)
        report(f"{name}.ratio", median_ratio(ours, theirs), "x", ratio_target)
