"""GDB itself, in batch mode, at the other end: a program of ours and Linux."""

import shutil
import subprocess

import pytest

import auberge
from auberge.image import build
from auberge.machine.outcome import Paused, PoweredOff, Printed
from tests.engine.eager import ENGINES
from tests.machine.debug.client import Running
from tests.machine.debug.guest import AT, machine
from tests.machine.elves import BASE

GDB = "gdb-multiarch"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(280),
    pytest.mark.skipif(
        shutil.which(GDB) is None, reason="no gdb-multiarch here; apt install gdb-multiarch"
    ),
]
FIRST = ["set pagination off", "set confirm off", "set architecture riscv:rv64"]
LOOP, STORE, FUNCTION, DATA = (AT[name] for name in ("loop", "store", "function", "data"))


def gdb(address, *commands):
    """What GDB prints: its answer to each command behind the command itself."""
    lines = [*FIRST, f"target remote {address}"]
    for command in commands:
        lines += [f"echo @@{command}\\n", command]
    words = [GDB, "-nx", "-q", "-batch"]
    for line in lines:
        words += ["-ex", line]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    parts = done.stdout.split("@@")[1:]
    printed = [tuple(part.partition("\n")[::2]) for part in parts]
    assert [command for command, _ in printed] == list(commands), done.stdout + done.stderr
    return [answer.strip() for _, answer in printed]


class Session:
    def __init__(self, opened):
        self.machine = opened
        self.address = opened.gdb("0")
        self.running = Running(opened)

    def close(self):
        self.machine.pause()
        self.running.result()
        self.machine.close()


@pytest.fixture
def debugged(tmp_path):
    opened = []

    def open_(cpus=1, engine="interpreter"):
        opened.append(Session(machine(tmp_path, cpus, engine)))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_program_from_its_first_instruction_to_its_last(debugged, engine):
    it = debugged(engine=engine)
    answers = gdb(
        it.address,
        "p/x $pc",
        "x/i $pc",
        "stepi",
        "p/x $pc",
        f"break *{FUNCTION}",
        "continue",
        "p $a0",
        "p $priv",
        "p/x $misa",
        "continue",
        "p $a0",
        "delete",
        f"watch *(long *){DATA + 8}",
        "continue",
        f"p *(long *){DATA + 8}",
        "p/x $pc",
        "delete",
        f"rwatch *(long *){DATA}",
        "continue",
        "delete",
        f"hbreak *{LOOP}",
        "continue",
        "p/x $pc",
        "delete",
        "set $a0 = 1000",
        "stepi",
        "p $a0",
        "p $ft0 = {double}0",
        "set $ft1.double = 1.5",
        "p $ft1.double",
        f"set *(int *){DATA + 16} = 1",
        "continue",
    )
    said = dict(zip(range(len(answers)), answers, strict=True))
    assert said[0] == f"$1 = {BASE:#x}"
    assert said[1].endswith("csrr\ts1,mhartid")
    assert said[3] == f"$2 = {BASE + 4:#x}"
    assert f"Breakpoint 1, 0x{FUNCTION:016x} in ?? ()" in said[5]
    assert said[6] == "$3 = 1"
    assert said[7] == "$4 = 3"
    assert said[8] == "$5 = 0x800000000014112d"
    assert said[10] == "$6 = 2"
    assert "Hardware watchpoint 2" in said[13]
    assert "Old value = 7" in said[13] and "New value = 8" in said[13]
    assert said[14] == "$7 = 8"
    assert said[15] == f"$8 = {STORE + 4:#x}"
    assert "Hardware read watchpoint 3" in said[18] and "Value = 5" in said[18]
    assert said[22] == f"$9 = {LOOP:#x}"
    assert said[26] == "$10 = 1001"
    assert "1.5" in said[29]
    assert said[31] == "[Inferior 1 (Remote target) exited with code 07]"
    assert it.running.result() == PoweredOff(7)


def test_harts_are_threads(debugged):
    it = debugged(cpus=2)
    answers = gdb(
        it.address,
        "info threads",
        f"break *{FUNCTION} thread 2",
        "continue",
        "thread",
        "p $mhartid",
        "thread 1",
        "p $mhartid",
        "set scheduler-locking on",
        "p $instret",
        "thread 2",
        "stepi",
        "thread 1",
        "p $instret",
        "monitor info",
        "detach",
    )
    assert "Thread 1 (hart 0: in M)" in answers[0] and "Thread 2 (hart 1: in M)" in answers[0]
    assert 'Thread 2 "hart 1' in answers[2] or "Thread 2" in answers[2]
    assert "Current thread is 2" in answers[3]
    assert answers[4].endswith("= 1") and answers[6].endswith("= 0")
    assert answers[8].split("= ")[1] == answers[12].split("= ")[1]  # it stood still
    assert it.running.outcome is None  # and runs on
    it.machine.pause()
    assert it.running.result() == Paused()


@pytest.fixture(scope="module")
def tiny():
    """The image `tiny`, from the cache or built now."""
    try:
        return build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))


def test_linux_on_two_harts(tiny):
    """The trap handler of the running kernel, at the virtual address that stvec has."""
    with auberge.Machine.virt(
        tiny.kernel, tiny.initrd, "console=ttyS0 auberge.report", cpus=2, console=lambda data: None
    ) as opened:
        address = opened.gdb("0")
        booting = Running(opened, until="Brought up 1 node, 2 CPUs", timeout=120)
        gdb(address, "detach")
        assert isinstance(booting.result(), Printed)
        it = Running(opened, timeout=200)
        (stvec,) = gdb(address, "p/x $stvec")
        handler = int(stvec.splitlines()[0].split("= ")[1], 16)
        assert handler >> 63
        answers = gdb(
            address,
            f"hbreak *{handler}",
            "continue",
            "p/x $pc",
            "p $priv",
            "x/2i $pc",
            "info threads",
            "stepi",
            "delete",
            f"hbreak *{handler} thread 2",
            "continue",
            "p/x $pc",
            "p $mhartid",
            "x/4xb $sp",
            "detach",
        )
        assert answers[2].endswith(f"= {handler:#x}")
        assert answers[3] == "$2 = 1"
        assert "csrrw\ttp,sscratch,tp" in answers[4]
        assert "hart 0: in" in answers[5] and "hart 1: in" in answers[5]
        assert answers[10].endswith(f"= {handler:#x}")
        assert answers[11] == "$4 = 1"
        assert it.result() == PoweredOff(0)
        assert "guest says:" in opened.console.output
