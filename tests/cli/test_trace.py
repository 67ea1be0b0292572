"""`auberge trace`: each instruction of a hart, from a place, with what it changes; and refusals."""

import json
import os
import shutil
import subprocess

import pytest

from auberge.cli.main import main
from tests.cli.guests import hello, write_elf
from tests.machine.debug.guest import AT, BUILT, write
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(200)
MEMORY = ("--memory", "4M")


@pytest.fixture
def loop(tmp_path):
    return str(write(tmp_path / "loop"))


def traced(capsys, *words):
    assert main(["trace", *MEMORY, *words]) == 0
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


def test_lines(loop, capsys):
    lines, complaint = traced(capsys, "--kernel", loop, "--insns", "7")
    data = AT["data"]
    load, store = f"load {data:#x}:8=0x5", f"store {data + 8:#x}:8=0x6"
    assert lines == [
        "0 M 0x0000000080000000 f14024f3  csrr s1,mhartid              s1=0x0",
        "0 M 0x0000000080000004 00000417  auipc s0,0x0                 s0=0x80000004",
        "0 M 0x0000000080000008 07c40413  addi s0,s0,124               s0=0x80000080",
        "0 M 0x000000008000000c 00150513  addi a0,a0,1                 a0=0x1",
        f"0 M 0x0000000080000010 00043583  ld a1,0(s0)                  a1=0x5 {load}",
        "0 M 0x0000000080000014 00a585b3  add a1,a1,a0                 a1=0x6",
        f"0 M 0x0000000080000018 00b43423  sd a1,8(s0)                  {store}",
    ]
    assert complaint == ""


def test_json(loop, capsys):
    lines, _ = traced(capsys, "--kernel", loop, "--insns", "7", "--json")
    shown = [json.loads(line) for line in lines]
    assert shown[4] == {
        "hart": 0,
        "pc": hex(BASE + 16),
        "privilege": "M",
        "word": "00043583",
        "text": "ld a1,0(s0)",
        "written": {"a1": "0x5"},
        "loads": [{"address": hex(AT["data"]), "size": 8, "value": "0x5"}],
        "stores": [],
    }
    assert shown[6]["stores"] == [{"address": hex(AT["data"] + 8), "size": 8, "value": "0x6"}]


def pcs(lines):
    return [int(json.loads(line)["pc"], 16) for line in lines]


def test_a_place_and_a_number_to_begin_at(loop, capsys):
    command = ["--kernel", loop, "--json", "--insns"]
    whole = pcs(traced(capsys, *command, "200")[0])
    assert len(whole) == 200
    for skip in (1, 3, 50, 131):
        assert pcs(traced(capsys, *command, "9", "--skip", str(skip))[0]) == whole[skip:][:9]
    at = whole.index(AT["function"])
    start = hex(AT["function"])
    assert pcs(traced(capsys, *command, "9", "--from", start)[0]) == whole[at:][:9]
    later = traced(capsys, *command, "9", "--from", start, "--skip", "20")[0]
    assert pcs(later) == whole[at + 20 :][:9]


def test_symbols(tmp_path, capsys):
    kernel = tmp_path / "kernel"
    names = [("loop", AT["loop"]), ("function", AT["function"])]
    kernel.write_bytes(elf([(BASE, BUILT.code, len(BUILT.code) + 4096)], symbols=names))
    lines, _ = traced(capsys, "--kernel", str(kernel), "--from", "function", "--insns", "6")
    assert lines[0] == "function:"
    assert lines[1].startswith(f"0 M {AT['function']:#018x} ")
    assert lines[6] == "loop:"


def test_registers_first_and_last(loop, capsys):
    lines, _ = traced(capsys, "--kernel", loop, "--insns", "4", "--registers")
    assert len(lines) == 8 + 4 + 8
    assert lines[0].startswith("  pc 0x0000000080000000    ra 0x0000000000000000  ")
    assert lines[12].startswith("  pc 0x0000000080000010  ")
    assert "  a0 0x0000000000000001" in "\n".join(lines[12:])
    lines, _ = traced(capsys, "--kernel", loop, "--insns", "4", "--registers", "--json")
    assert json.loads(lines[0])["registers"]["pc"] == hex(BASE)
    assert json.loads(lines[-1])["registers"]["a0"] == "0x1"


def test_traps_have_lines_of_their_own(tmp_path, capsys):
    text = """
        la t0, handler
        csrw mtvec, t0
        ld a0, 1(zero)
        li t1, 0x02004000       # mtimecmp
        csrwi mie, 0
        li t2, 0x80
        csrw mie, t2
        csrsi mstatus, 8
        sd zero, 0(t1)
        nop
        .align 4
    handler: j handler
    """
    kernel = write_elf(tmp_path / "kernel", text)
    handler = 0x80000030
    lines, _ = traced(capsys, "--kernel", kernel, "--insns", "5")
    assert lines[3] == (
        "0 M exception 5: load access fault at 0x8000000c value 0x1, handler " + hex(handler)
    )
    assert lines[4].startswith(f"0 M {handler:#018x} ")
    kernel = write_elf(tmp_path / "kernel", text.replace("ld a0, 1(zero)", "nop"))
    lines, _ = traced(capsys, "--kernel", kernel, "--insns", "14", "--json")
    (trap,) = [each for each in map(json.loads, lines) if "interrupt" in each]
    assert trap["interrupt"] == "machine timer interrupt"
    assert (trap["code"], trap["handler"]) == (7, hex(handler))


def test_the_same_command_shows_the_same(loop, capsys):
    command = ("--kernel", loop, "--insns", "50", "--skip", "100000")
    assert traced(capsys, *command) == traced(capsys, *command)


@pytest.mark.slow
def test_another_hart(loop, capsys):
    lines, _ = traced(capsys, "--kernel", loop, "--insns", "5", "--cpus", "2", "--hart", "1")
    assert lines[0] == "1 M 0x0000000080000000 f14024f3  csrr s1,mhartid              s1=0x1"
    lines, _ = traced(
        capsys, "--kernel", loop, "--insns", "3", "--cpus", "4", "--hart", "2",
        "--from", hex(AT["function"]),
    )  # fmt: skip
    assert lines[0].startswith(f"2 M {AT['function']:#018x} ")
    lines, _ = traced(
        capsys, "--kernel", loop, "--insns", "3", "--cpus", "4", "--from", hex(AT["function"])
    )
    assert {line[0] for line in lines} in ({"0"}, {"1"}, {"2"}, {"3"})


@pytest.mark.parametrize("extra", [(), ("--skip", "3"), ("--from", "0x80000004")])
def test_a_guest_that_ends_before(tmp_path, capsys, extra):
    kernel = write_elf(tmp_path / "kernel", hello(3))
    lines, complaint = traced(capsys, "--kernel", kernel, "--insns", "100000", *extra)
    assert "store 0x100000:4=0x33333" in lines[-1]
    assert complaint == "auberge: the guest switched off with 3\n"


def test_a_start_that_never_comes(tmp_path, capsys):
    kernel = write_elf(tmp_path / "kernel", hello(0))
    lines, complaint = traced(capsys, "--kernel", kernel, "--from", "0x80000f00")
    assert (lines, complaint) == ([], "auberge: the guest switched off with 0\n")
    kernel = write_elf(tmp_path / "kernel", "j .")
    command = ["trace", *MEMORY, "--kernel", kernel, "--from", "0x80000f00", "--timeout", "0.1"]
    assert main(command) == 124


def test_a_reset_ends_it(tmp_path, capsys):
    text = "li a0, 0x100000\nli a1, 0x7777\nsw a1, 0(a0)\nj ."
    # The store that resets completes on no hart: there are new ones.
    for extra, count in (((), 3), (("--skip", "2"), 1), (("--from", "0x80000f00"), 0)):
        kernel = write_elf(tmp_path / "kernel", text)
        lines, complaint = traced(capsys, "--kernel", kernel, *extra)
        assert len(lines) == count
        assert complaint == "auberge: the guest was reset\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--insns", "0"], "--insns 0: too few; give at least 1"),
        (["--skip", "-1"], "--skip -1: too few; give at least 0"),
        (["--cpus", "0"], "--cpus 0: not possible; choose 1 to 8"),
        (["--hart", "1"], "--hart 1: there is none; the first is 0 of 1"),
        (["--hart", "-1"], "--hart -1: there is none; the first is 0 of 1"),
        (
            ["--from", "main"],
            "main: neither an address nor a symbol of {kernel}; write it as 0x80000000",
        ),
        (["--from", "-1"], "-1: not a 64-bit address; write it as 0x80000000"),
        (["--from", hex(1 << 64)], f"{1 << 64:#x}: not a 64-bit address; write it as 0x80000000"),
    ],
)
def test_refusals(loop, capsys, words, line):
    assert main(["trace", *MEMORY, "--kernel", loop, *words]) == 125
    assert capsys.readouterr().err == f"auberge: {line.format(kernel=loop)}\n"


NOTHING = "boot: nothing to boot; name an IMAGE, as tiny, or give --kernel FILE"


@pytest.mark.parametrize("command", ["trace", "compare"])
def test_nothing_to_run(capsys, command):
    assert main([command]) == 125
    assert capsys.readouterr().err.startswith(f"auberge: {NOTHING}")


@pytest.mark.slow
def test_a_firmware(capsys):
    firmware = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_jump.elf"
    if not os.path.exists(firmware):
        pytest.skip("no OpenSBI: apt install opensbi")
    lines, _ = traced(capsys, "--firmware", firmware, "--insns", "500", "--memory", "64M")
    assert any(line.startswith("0 M 0x0000000080000000 ") for line in lines[:2])


QEMU = shutil.which("qemu-system-riscv64")


@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="qemu-system-riscv64 is not installed")
def test_the_instructions_are_those_that_qemu_executes(tmp_path, capsys):
    kernel = write_elf(tmp_path / "kernel", hello(0))
    ours = pcs(traced(capsys, "--kernel", kernel, "--insns", "1000", "--json")[0])
    log = tmp_path / "log"
    subprocess.run(
        [QEMU, "-M", "virt", "-bios", kernel, "-nographic", "-singlestep",
         "-d", "nochain,cpu", "-D", log],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    theirs = [
        int(line.split()[1], 16) for line in log.read_text().splitlines() if "pc " in line[:6]
    ]
    theirs = [pc for pc in theirs if pc >= BASE]  # before, it is in a ROM
    assert theirs[: len(ours)] == ours
    assert len(ours) > 30


@pytest.mark.slow
def test_a_kernel(capsys):
    from auberge.image import find

    if find("tiny", "riscv64") is None:
        pytest.skip("no image tiny: `auberge image build tiny`")
    assert main(["trace", "tiny", "--skip", "3000000", "--insns", "3000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("0 S 0xffffffff8") for line in lines) > 2900
