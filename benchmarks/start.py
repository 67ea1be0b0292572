"""What comes before the first guest instruction, piece by piece, in fresh processes."""

import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial

from harness.guests import AUBERGE
from harness.process import environment, used
from harness.report import Target, interleaved, report, rounds

from auberge.engine import cache
from auberge.engine.interpreter import Library

IMPORT = Target(most=50)

# Python's own start is the difference between what such a process uses and what it prints.
TIMED = """
import time
begin = time.thread_time()
{statements}
print(time.thread_time() - begin)
"""

PIECES = (
    ("start.import_auberge", "import auberge", IMPORT),
    ("start.import_machine", "import auberge; auberge.Machine", None),
    ("start.import_isa", "from auberge.isa.riscv.rv64 import rv64", None),
)


def cpu_of(statements: str) -> float:
    """Milliseconds of CPU that some statements need in a Python that has done nothing else."""
    text = TIMED.format(statements=statements)
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, check=True, env=environment())
    return float(done.stdout) * 1000


def cpu_until_boot() -> float:
    """Milliseconds for all that `auberge boot tiny` does but run the guest."""
    return used([*AUBERGE, "boot", "tiny", "--dumpdtb", "/dev/null"]).cpu * 1000


def load() -> float:
    """Milliseconds to find, verify and map the native interpreter."""
    begin = time.thread_time()
    Library(cache.load())
    return (time.thread_time() - begin) * 1000


def build() -> float:
    """Seconds of CPU for the first start of all: the native interpreter is generated."""
    with tempfile.TemporaryDirectory() as folder:
        statements = "from auberge.engine import cache; cache.load()"
        command = [sys.executable, "-c", statements]
        return used(command, {"AUBERGE_CACHE_DIR": folder}).cpu


def main() -> None:
    """All pieces, in turn."""
    count = rounds(9)
    load()
    for _, text, _ in PIECES:
        cpu_of(text)
    results = interleaved(count, *(partial(cpu_of, text) for _, text, _ in PIECES))
    for (name, _, target), result in zip(PIECES, results, strict=True):
        report(name, statistics.median(result), "ms", target)
    loads, boots = interleaved(count, load, cpu_until_boot)
    report("start.load_interpreter", statistics.median(loads), "ms")
    report("start.before_first_instruction", statistics.median(boots), "ms")
    report("start.build_interpreter", statistics.median(interleaved(min(3, count), build)[0]), "s")


if __name__ == "__main__":
    main()
