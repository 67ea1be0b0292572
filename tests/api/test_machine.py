"""`auberge.Machine`: what can be asked of it, what it refuses, and in which words."""

import subprocess
import sys

import pytest

import auberge
from auberge.api.machine import memory_size, repeatable_entropy
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from tests.machine.elves import BASE, elf
from tests.machine.fakes import image

pytestmark = pytest.mark.timeout(200)

ECHO = """
    li s0, 0x10000000
    li s1, 0x100000
    la s2, text
greet: lbu a0, 0(s2)
    beqz a0, next
    sb a0, 0(s0)
    addi s2, s2, 1
    j greet
next: lbu a0, 5(s0)
    andi a0, a0, 1
    beqz a0, next
    lbu a0, 0(s0)
    sb a0, 0(s0)
    li a1, 113
    bne a0, a1, next
    li a0, 0x5555
    sw a0, 0(s1)
text: .asciz "ready\\n"
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(elf([(BASE, assembly(rv64, ECHO, BASE).code)]))
    return path


@pytest.fixture
def quiet():
    """Takes the output, and shows it nowhere."""
    return lambda data: None


def test_a_conversation(program, quiet):
    with auberge.Machine.virt(program, memory="4M", console=quiet) as machine:
        assert machine.run(until="ready\n") == auberge.Printed("ready\n")
        machine.console.send("one two\n")
        assert machine.console.expect("two", timeout=60) == "one two"
        machine.console.send(b"three q")
        assert machine.console.expect("q", timeout=60) == "\nthree q"
        assert machine.run() == auberge.PoweredOff(0)
        assert machine.console.output == "ready\none two\nthree q"


def test_expect_says_what_came_instead(program, quiet):
    with auberge.Machine.virt(program, memory="4M", console=quiet) as machine:
        with pytest.raises(TimeoutError) as timeout:
            machine.console.expect("login:", timeout=0.05)
        line = "'login:' was not printed in 0.05 s; the output ends 'ready\\n'"
        assert str(timeout.value) == line
        machine.console.send("q")
        with pytest.raises(EOFError) as end:
            machine.console.expect("login:", timeout=60)
    line = "'login:' was not printed before PoweredOff(code=0); the output ends 'ready\\nq'"
    assert str(end.value) == line


def test_two_machines_do_not_see_each_other(program, quiet):
    machines = [auberge.Machine.virt(program, memory="4M", console=quiet) for _ in range(2)]
    for n, machine in enumerate(machines):
        machine.run(until="ready\n")
        machine.console.send(f"{n}q")
    assert [machine.run() for machine in machines] == [auberge.PoweredOff(0)] * 2
    assert [machine.console.output for machine in machines] == ["ready\n0q", "ready\n1q"]
    for machine in machines:
        machine.close()


def test_without_a_console_it_is_on_stdin_and_stdout(program):
    script = f"import auberge; print(auberge.Machine.virt({str(program)!r}, memory='4M').run())"
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"keys q", capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"ready\nkeys qPoweredOff(code=0)\n"


@pytest.mark.parametrize(
    "memory, size",
    [
        ("512M", 512 << 20),
        ("1g", 1 << 30),
        ("2GiB", 2 << 30),
        ("4096K", 4 << 20),
        (1 << 20, 1 << 20),
    ],
)
def test_sizes(memory, size):
    assert memory_size(memory) == size


@pytest.mark.parametrize(
    "memory, line",
    [
        ("", "memory: '' is not a size; write it as 512M or 2G"),
        ("lots", "memory: 'lots' is not a size; write it as 512M or 2G"),
        ("-1M", "memory: '-1M' is not a size; write it as 512M or 2G"),
        ("0.5G", "memory: '0.5G' is not a size; write it as 512M or 2G"),
        ("1KM", "memory: '1KM' is not a size; write it as 512M or 2G"),
        ("9" * 99 + "T", f"memory: '{'9' * 99}T' is not a size; write it as 512M or 2G"),
        ("512", "memory: 512 is not possible; choose 1M to 1024G"),
        ("2000T", "memory: 2000T is not possible; choose 1M to 1024G"),
        (1234567, "memory: 1234567 is not a whole number of pages; choose a multiple of 4K"),
    ],
)
def test_what_is_no_size(memory, line):
    with pytest.raises(auberge.Refusal) as refusal:
        memory_size(memory)
    assert str(refusal.value) == line


@pytest.mark.parametrize(
    "options, line",
    [
        ({"cpus": 0}, "cpus: 0 is not possible; choose 1 to 8"),
        ({"cpus": 9}, "cpus: 9 is not possible; choose 1 to 8"),
        (
            {"cpus": 2, "icount": True},
            "icount: 2 harts cannot be repeated exactly; use one",
        ),
        ({"append": "a\0b"}, "append: a NUL character; leave it out"),
        ({"append": "\udc80"}, "append: not text in UTF-8; leave the other bytes out"),
        ({"append": "x" * 1024}, "append: 1024 bytes; the kernel reads no more than 1023"),
        ({"disks": ["d"] * 7}, "disks: there are 7; at most 6 are possible"),
        (
            {"memory": "2M"},
            "K: needs 3 MiB of memory and there are 2; give the machine 4M or more",
        ),
        ({"initrd": "nothing"}, "nothing: no such file or directory; check the path"),
    ],
)
def test_what_cannot_be(tmp_path, monkeypatch, quiet, options, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "K").write_bytes(image(1 << 20))
    with pytest.raises(auberge.Refusal) as refusal:
        auberge.Machine.virt("K", console=quiet, **options)
    assert str(refusal.value) == line


def test_an_engine_that_there_is_not(program, quiet):
    with pytest.raises(auberge.Refusal, match="there is no such engine"):
        auberge.Machine.virt(program, engine="warp", console=quiet)


def test_entropy_that_repeats():
    one, two = repeatable_entropy(), repeatable_entropy()
    assert one(8) == two(8)
    assert one(8) == two(8) != repeatable_entropy()(8)


def test_importing_auberge_imports_nothing():
    script = (
        "import sys; before = set(sys.modules); import auberge; print(set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "{'auberge'}\n"


def test_the_public_names():
    for name in auberge.__all__:
        assert getattr(auberge, name).__name__ == name
    with pytest.raises(AttributeError) as error:
        auberge.Nothing  # noqa: B018
    assert str(error.value) == "module 'auberge' has no attribute 'Nothing'"
