"""Two harts that compute: how much longer that takes than one of them, by the clock."""

import statistics
from functools import partial

from harness.guests import QEMU, QEMU_PACKAGE, qemu_is_here, qemu_run_program, run_program
from harness.process import used
from harness.programs import elf_file
from harness.report import interleaved, median_ratio, missing, report, rounds

# Each hart does all of it; they share nothing but the end.
COUNTING = """
        li      s1, 200000000
1:      add     a0, a0, s1
        xor     a1, a1, a0
        slli    a2, a1, 3
        sub     a0, a0, a2
        addi    s1, s1, -1
        bnez    s1, 1b
"""

# Both add to one word, as often as they can.
ATOMICS = """
        li      s1, 40000000
        li      s0, 0x81000000
        li      t1, 1
1:      amoadd.d a0, t1, (s0)
        addi    s1, s1, -1
        bnez    s1, 1b
"""


def main() -> None:
    """The time of two harts over that of one.

    By the clock, 1 is perfect and 2 is no gain, on a host that has two processors to spare; in CPU,
    2 is perfect, and what is more is spent on each other.
    """
    count = rounds(3)
    runners = [("auberge", run_program)]
    if qemu_is_here():
        runners.append(("qemu", qemu_run_program))
    else:
        missing(QEMU, QEMU_PACKAGE)
    for name, text in (("counting", COUNTING), ("atomics", ATOMICS)):
        with elf_file(text) as one, elf_file(text, harts=2) as two:
            commands = [command for _, run in runners for command in (run(one), run(two, 2))]
            found = interleaved(count, *(partial(used, command) for command in commands))
            for n, (runner, _) in enumerate(runners):
                alone, both = found[2 * n : 2 * n + 2]
                for kind, one_hart, two_harts in (
                    ("wall", [u.wall for u in alone], [u.wall for u in both]),
                    ("cpu", [u.cpu for u in alone], [u.cpu for u in both]),
                ):
                    middle = statistics.median(one_hart)
                    report(f"harts.{name}.one_{kind}.{runner}", middle, "s")
                    ratio = median_ratio(two_harts, one_hart)
                    report(f"harts.{name}.two_over_one_{kind}.{runner}", ratio, "x")


if __name__ == "__main__":
    main()
