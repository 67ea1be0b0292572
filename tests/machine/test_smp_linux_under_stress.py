"""Debian's stress-ng on Debian's kernel, on several harts: what it verifies holds; Linux complains
of nothing. A dose; minutes of it by hand: `python -m tests.machine.test_smp_linux_under_stress 8
SEED SECONDS ENGINE`.
"""

import base64
import io
import sys
import tempfile

import pytest

import auberge
from auberge.image import build
from auberge.image.cpio import Cpio
from tests.machine.stress_image import initrd_with_stress_ng

GROUPS = (
    "--futex 1 --switch 1 --sem 1 --pthread 1 --mutex 1",
    "--membarrier 2 --tlb-shootdown 2 --mremap 1 --mprotect 1",
    "--cpu 1 --vm 1 --vm-bytes 16m --mmap 1 --mmap-bytes 16m --fork 1",
    "--clone 1 --signal 1 --sigq 1 --kill 1 --pipe 1",
    "--sem-sysv 1 --affinity 2 --hrtimers 1 --timer 1 --yield 1",
    "--pathological --cpu-online 1 --vfork 1 --atomic 1 --icache 1",
    "--schedpolicy 1 --nanosleep 1 --msg 1 --madvise 1 --fp 1",
)
COMPLAINTS = "BUG|Oops|stall|lockup|hung|WARNING|Call Trace"
SCRIPT = """
for group in {groups}; do
    stress-ng --seed {seed} --verify --oom-avoid --timeout {seconds}s $group 2>&1
done | grep -E 'passed:|failed:|fail:|untrustworthy:'
echo @complaints
dmesg | grep -E '{complaints}'
echo @end
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280, method="thread")]


def stress(
    cpus: int, seed: int, seconds: int, engine: str, groups: tuple[str, ...], folder: str
) -> str:
    """What the stressors said and what Linux complained of."""
    tiny = build("tiny", "riscv64")
    names = " ".join(f"'{group}'" for group in groups)
    script = SCRIPT.format(groups=names, seed=seed, seconds=seconds, complaints=COMPLAINTS)
    more = io.BytesIO()
    cpio = Cpio(more)
    cpio.file("stress.sh", script.encode(), 0o755)
    cpio.close()
    initrd = f"{folder}/initrd"
    with open(initrd_with_stress_ng(tiny), "rb") as whole, open(initrd, "wb") as out:
        out.write(whole.read() + more.getvalue())
    word = base64.b64encode(b"sh /stress.sh").decode()
    append = f"console=ttyS0 quiet auberge.run={word}"
    with auberge.Machine.virt(
        tiny.kernel,
        initrd,
        append,
        memory="1G",
        cpus=cpus,
        engine=engine,
        console=lambda data: None,
    ) as machine:
        outcome = machine.run(timeout=60 + 20 * seconds * len(groups))
        assert outcome == auberge.PoweredOff(0), machine.console.output[-3000:]
        return machine.console.output.replace("\r", "")


@pytest.mark.parametrize(
    ("cpus", "first", "engine"),
    [(2, 0, "auto"), (4, 2, "translator"), (8, 4, "auto"), (2, 4, "translator")],
)
def test_what_stress_ng_verifies_holds(cpus, first, engine, tmp_path):
    groups = GROUPS[first : first + 3]
    try:
        output = stress(cpus, cpus, 3, engine, groups, str(tmp_path))
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))
    said, _, complaints = output.partition("@complaints\n")
    assert said.count("passed: ") == said.count("failed: 0\n") == len(groups), said
    assert said.count("untrustworthy: 0\n") == len(groups), said
    assert complaints.startswith("@end\n"), complaints


if __name__ == "__main__":
    harts, start, length = map(int, sys.argv[1:4])
    with tempfile.TemporaryDirectory() as place:
        print(stress(harts, start, length, sys.argv[4], GROUPS, place))
