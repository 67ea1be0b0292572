"""`auberge boot --gdb`: the command line, signals, resets and the clock of instructions."""

import signal
import subprocess

import pytest

import auberge
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.outcome import PoweredOff
from tests.command import AUBERGE
from tests.machine.debug.client import Client, Running
from tests.machine.debug.guest import AT, write
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(60)
READY = "auberge: GDB can connect: target remote "

# Resets the machine until s0, which a debugger sets, is not zero; memory does not survive a reset.
RESETS = """
        nop
here:   li t0, 0x100000
        li t1, 0x7777
        beqz s0, there
        li t1, 0x5555
there:  sw t1, 0(t0)
end:    j end
"""


def boot(path, *words):
    command = [*AUBERGE, "boot", "--memory", "4M"]
    return subprocess.Popen(
        [*command, "--kernel", write(path / "program"), *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def address(process):
    line = process.stderr.readline()
    assert line.startswith(READY)
    return line.removeprefix(READY).strip()


@pytest.mark.slow
def test_what_is_no_address_is_one_line(tmp_path):
    with boot(tmp_path, "--gdb", "here") as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (125, "")
    assert errors == "auberge: gdb: 'here' is not an address; write PORT or HOST:PORT\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_machine_that_stands_still(tmp_path, number):
    with boot(tmp_path, "--gdb", "0") as process:
        with Client(address(process)) as client:
            assert client.ask(b"qC") == b"QC1"
            process.send_signal(number)
            assert process.wait(20) == 128 + number
            assert client.closed()


@pytest.mark.slow
def test_time_runs_out_for_a_machine_that_stands_still(tmp_path):
    with boot(tmp_path, "--gdb", "0", "--timeout", "0.5") as process:
        assert process.wait(20) == 124


@pytest.mark.slow
def test_killed_by_the_client_with_statistics(tmp_path):
    with boot(tmp_path, "--gdb", "0", "--stats") as process:
        with Client(address(process)) as client:
            client.ask(b"Z0,%x,4" % AT["function"])
            assert client.ask(b"c") == b"T05thread:1;"
            client.send(b"k")
        assert process.wait(20) == 0
        assert "Breakpoint" in process.stderr.read()


def test_breakpoints_survive_a_reset(tmp_path):
    built = assembly(rv64, RESETS, BASE)
    kernel = tmp_path / "resets"
    kernel.write_bytes(elf([(BASE, built.code)]))
    here = built.symbols["here"]
    with (
        auberge.Machine.virt(kernel, memory="4M", console=print) as machine,
        Client(machine.gdb("0")) as client,
    ):
        running = Running(machine)
        client.ask(b"Z0,%x,4" % here)
        for _ in range(3):
            assert client.ask(b"c") == b"T05thread:1;"
            assert client.ask(b"p20") == here.to_bytes(8, "little").hex().encode()
            for _ in range(20):  # over the reset, step by step
                client.ask(b"s")
                if client.ask(b"p20") == BASE.to_bytes(8, "little").hex().encode():
                    break
            else:
                raise AssertionError("it is not reset")
        assert client.ask(b"c") == b"T05thread:1;"
        client.ask(b"P8=0100000000000000")
        assert client.ask(b"z0,%x,4" % here) == b"OK"
        assert client.ask(b"c") == b"W00"
        assert running.result() == PoweredOff(0)


def test_instructions_as_the_clock(tmp_path):
    """Where a debugger only looks, the same run is the same run."""
    seen = []
    for looks in (0, 3):
        with (
            auberge.Machine.virt(
                write(tmp_path / "program"), memory="4M", icount=True, console=print
            ) as machine,
            Client(machine.gdb("0")) as client,
        ):
            running = Running(machine)
            client.ask(b"Z0,%x,4" % AT["function"])
            for _ in range(5):
                assert client.ask(b"c") == b"T05thread:1;"
                for _ in range(looks):
                    client.ask(b"g")
                    client.ask(b"p%x" % (65 + 0x341))
                client.ask(b"s")
            seen.append([client.ask(b"p%x" % (65 + number)) for number in (0xC01, 0xC02)])
            client.send(b"k")
            running.result()
    assert seen[0] == seen[1]
