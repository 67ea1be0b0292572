"""`auberge trace --blocks`: what the translator makes of a guest, and how often it is entered."""

import json
import os
import sys
import tempfile

import pytest

from auberge.cli.main import main
from auberge.engine import counting
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from tests.cli.guests import hello, write_elf
from tests.machine.elves import BASE, elf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
PROGRAM = """
        la s0, data
loop:   addi a0, a0, 1
        ld a1, 0(s0)
        add a1, a1, a0
        sd a1, 8(s0)
        call function
        bnez zero, loop
        lw a2, 16(s0)
        beqz a2, loop
        .align 12
function:                       # of another page: a region holds what its own page calls
        addi a3, a3, 2
        ret
        .align 6
data:   .dword 5
        .dword 0
        .dword 0
"""
BUILT = assembly(rv64, PROGRAM, BASE)
AT = BUILT.symbols
LENGTH = 11  # instructions of each way round
COMMAND = ("trace", "--blocks", "--memory", "4M", "--insns", "200000", "--kernel")


def traced(capsys, *words):
    assert main([*COMMAND, *words]) == 0
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


@pytest.fixture
def loop(tmp_path):
    path = tmp_path / "loop"
    path.write_bytes(elf([(BASE, BUILT.code, len(BUILT.code) + 4096)]))
    return str(path)


def test_text(tmp_path, capsys):
    kernel = tmp_path / "kernel"
    names = [("loop", AT["loop"]), ("function", AT["function"])]
    kernel.write_bytes(elf([(BASE, BUILT.code, len(BUILT.code) + 4096)], symbols=names))
    lines, complaint = traced(capsys, str(kernel), "--top", "9")
    assert complaint == ""
    heads = [line for line in lines if line.startswith("region ")]
    assert heads
    assert all(line.startswith(f"region {n} of {len(heads)}: ") for n, line in enumerate(heads, 1))
    at = f"{AT['function']:#x}"
    begin = lines.index(f"virtual address {at}, physical address {at}")
    assert lines[begin - 1].endswith(" times, 2 instructions")
    assert lines[begin + 1 : begin + 5] == [
        "guest code:",
        "  function:",
        f"    {AT['function']:8x}:  00268693  addi a3,a3,2",
        f"    {AT['function'] + 4:8x}:  00008067  ret",
    ]
    assert lines[begin + 5] == "LLVM IR:"
    assert lines[begin + 6].startswith("    define preserve_nonecc void @region(ptr ")
    host = begin + next(n for n, line in enumerate(lines[begin:]) if line.startswith("host code"))
    assert lines[host] in [f"host code ({os.uname().machine}, level {n}):" for n in (1, 2)]
    assert lines[host + 1] == "    region:"
    assert "" in lines[host:]


def shown(capsys, *words):
    return [json.loads(line) for line in traced(capsys, *words, "--json")[0]]


def test_json_in_the_order_of_how_often(loop, capsys):
    regions = shown(capsys, loop, "--top", "9")
    times = [region["entered"] for region in regions]
    assert times == sorted(times, reverse=True)
    (function,) = (r for r in regions if r["gpa"] == hex(AT["function"]))
    assert function["gva"] == function["gpa"]
    assert function["guest"] == [
        {"address": hex(AT["function"]), "word": "00268693", "text": "addi a3,a3,2"},
        {"address": hex(AT["function"] + 4), "word": "00008067", "text": "ret"},
    ]
    assert function["ir"][0].startswith("define preserve_nonecc void @region(")
    assert function["host"]["machine"] == os.uname().machine
    assert function["host"]["level"] in (1, 2)
    assert function["host"]["assembly"][0] == "region:"
    calls = 200_000 // LENGTH
    assert calls // 2 < function["entered"] < calls * 1.1


def test_the_first_ones_of_those(loop, capsys):
    regions = shown(capsys, loop, "--top", "9")
    assert len(regions) > 1
    assert shown(capsys, loop, "--top", "1") == regions[:1]


def test_the_same_command_shows_the_same(loop, capsys):
    command = (loop, "--skip", "100000", "--from", hex(AT["function"]))
    assert traced(capsys, *command) == traced(capsys, *command)


def test_what_was_before_is_not_counted(loop, capsys):
    def times(*words):
        regions = shown(capsys, loop, *words)
        return next(r["entered"] for r in regions if r["gpa"] == hex(AT["function"]))

    later = times("--skip", "200000")
    assert 200_000 // LENGTH <= later < 200_000 // LENGTH * 1.1  # all was translated before
    assert times() < later


def test_a_hart_alone(loop, capsys):
    both = shown(capsys, loop, "--cpus", "2", "--top", "1")
    one = shown(capsys, loop, "--cpus", "2", "--hart", "1", "--top", "1")
    assert both[0]["entered"] > 0
    assert one[0]["entered"] > 0


def test_nothing_is_left_behind(loop, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    traced(capsys, loop)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_guest_that_ends_before(tmp_path, capsys):
    lines, complaint = traced(capsys, write_elf(tmp_path / "kernel", hello(3)))
    assert lines == []
    assert complaint == (
        "auberge: nothing was hot enough to be translated; try more --insns\n"
        "auberge: the guest switched off with 3\n"
    )


def test_a_compiler_that_does_not_work(loop, capsys, monkeypatch):
    monkeypatch.setattr(counting, "EXPLAINER", "auberge.engine.absent")
    lines, complaint = traced(capsys, loop)
    assert lines == []
    why = "the compiler of regions does not work here; `auberge doctor` may say why"
    assert complaint == f"auberge: {why}\n"


def test_an_explanation_that_fails(loop, capsys, monkeypatch):
    class Failing(counting.Counting):
        def explain(self, orders):
            monkeypatch.setattr(counting, "EXPLAINER", "auberge.engine.absent")
            return super().explain(orders)

    monkeypatch.setattr("auberge.cli.trace.Counting", Failing)
    assert main([*COMMAND, loop]) == 125
    said = f"{sys.executable}: No module named auberge.engine.absent"
    line = f"compiler: it ended with status 1 and said: {said}; report this"
    assert capsys.readouterr() == ("", f"auberge: {line}\n")


def test_time_is_up(loop, capsys):
    command = ["trace", "--blocks", "--memory", "4M", "--insns", "1000000000000", "--kernel", loop]
    assert main([*command, "--timeout", "1"]) == 124
    printed = capsys.readouterr()  # of what there was; on a slow host, the compiler just starts
    assert printed.out.startswith("region 1 of ") or "nothing was hot enough" in printed.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--blocks", "--top", "0"], "--top 0: too few; give at least 1"),
        (["--blocks", "--insns", "0"], "--insns 0: too few; give at least 1"),
        (["--top", "2"], "--top: says how many regions; give --blocks too"),
        (
            ["--blocks", "--registers"],
            "--registers: not with --blocks, which shows code; leave out one of them",
        ),
    ],
)
def test_refusals(loop, capsys, words, line):
    assert main(["trace", "--memory", "4M", "--kernel", loop, *words]) == 125
    assert capsys.readouterr().err == f"auberge: {line}\n"
