"""The stub runs a table as it says: results in slots, ways on 0 and on errors, and a report."""

import fcntl
import os
import struct
import subprocess
import sys

import pytest

from auberge.container import stub
from auberge.container.mold import program
from auberge.container.table import LIMIT, Label, Slot, Table
from auberge.container.talk import DATA, ROWS, Descriptors
from auberge.refusal import Refusal

MACHINE = os.uname().machine
pytestmark = pytest.mark.skipif(MACHINE not in stub.SYSCALL, reason="the stub is for others")


def run(table, report=None):
    """Run a table to its end: its status, and what it has written to its standard output."""
    if report is None:
        report = Label()
        table.place(report)
        table.call("exit_group", 99)
    image = stub.image(stub.code(), MACHINE, *table.finish(report))
    fd = stub.sealed(image)
    read, write = os.pipe()
    try:
        pid = os.posix_spawn(
            f"/proc/self/fd/{fd}", ["stub"], {},
            file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
        )  # fmt: skip
    finally:
        os.close(fd)
        os.close(write)
    with os.fdopen(read, "rb") as said:
        output = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


@pytest.fixture
def table():
    return Table(MACHINE)


def test_a_row_is_a_system_call(table):
    table.call("write", 1, table.text("hello"), 5)
    table.call("exit_group", 7)
    assert run(table) == (7, b"hello")


def test_a_result_is_an_argument_of_another_row(table):
    file = table.keep("openat", -100, table.text("/dev/null"), 0, 0)
    table.call("exit_group", file)
    status, _ = run(table)
    assert 3 <= status < 20


def test_slots_are_read_when_the_row_is_run(table):
    slot = table.slot(5)
    table.call("choose", 6, store=slot)
    table.call("exit_group", slot)
    assert run(table)[0] == 6


def test_zero_an_error_and_the_usual_go_different_ways(table):
    zero, error, after = Label(), Label(), Label()
    table.call("choose", 0, zero=zero)
    table.call("exit_group", 1)
    table.place(zero)
    table.call("close", 999, error=error)
    table.call("exit_group", 2)
    table.place(error)
    table.call("choose", 5, zero=zero, error=error, next=after)
    table.call("exit_group", 3)
    table.place(after)
    table.call("exit_group", 4)
    assert run(table)[0] == 4


def test_an_error_that_nobody_expects_is_reported_with_its_row(table):
    report = Label()
    table.call("choose", 1)
    table.call("close", 999)
    table.call("exit_group", 1)
    table.place(report)
    table.call("write", 1, DATA, 16)
    table.call("exit_group", 9)
    status, output = run(table, report)
    row, number = struct.unpack("<QQ", output)
    assert (status, row, number) == (9, ROWS + 96, 9)  # EBADF, of the second row


def test_an_attempt_may_fail(table):
    table.attempt("close", 999)
    table.call("exit_group", 5)
    assert run(table)[0] == 5


def test_a_clone_goes_on_at_its_label_with_memory_of_its_own(table):
    child, slot = Label(), table.slot(1)
    arguments = table.words(0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
    pid = table.keep("clone3", arguments, 88, zero=child)
    table.call("wait4", pid, 0, 0, 0)
    table.call("exit_group", slot)
    table.place(child)
    table.call("choose", 2, store=slot)
    table.call("exit_group", slot)
    assert run(table)[0] == 1


def test_rows_and_code_cannot_be_written_and_data_not_executed(table):
    """The executable says so, and the kernel keeps to it."""
    for address in (0x400000, ROWS):
        fresh = Table(MACHINE)
        fresh.call("read", 0, address, 8, error=(error := Label()))
        fresh.place(error)
        fresh.call("choose", 1, store=Slot(address))
        fresh.call("exit_group", 0)
        assert run(fresh)[0] == -11  # SIGSEGV, by the store


def test_a_table_that_is_too_long_is_refused_whole(table):
    for _ in range(LIMIT + 1):
        table.call("choose", 1)
    with pytest.raises(Refusal):
        table.finish(Label())


def test_the_program_is_sealed():
    fd = stub.sealed(b"anything")
    try:
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == stub.SEALS
        with pytest.raises(OSError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(OSError):
            os.ftruncate(fd, 100)
    finally:
        os.close(fd)


@pytest.mark.slow
def test_code_is_kept_checked_and_made_anew(cache, monkeypatch):
    monkeypatch.setattr(stub, "_code", None)
    code = stub.code()
    (kept,) = (cache / "code").glob("stub-*")
    whole = kept.read_bytes()
    assert whole.endswith(code)
    for damage in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        kept.write_bytes(damage)
        monkeypatch.setattr(stub, "_code", None)
        assert stub.code() == code
        assert kept.read_bytes() == whole


@pytest.mark.slow
def test_neither_llvm_nor_what_is_slow_is_imported():
    heavy = ("llvmlite", "typing", "json", "re", "enum", "subprocess", "argparse", "dataclasses")
    code = f"import sys; sys.path.insert(0, {os.getcwd()!r}); import auberge.cli.oci_life; "
    code += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_another_architecture_is_refused(monkeypatch):
    class Machine:
        machine = "sparc64"

    monkeypatch.setattr(os, "uname", Machine)
    with pytest.raises(Refusal) as caught:
        program((), Descriptors())
    assert str(caught.value) == (
        "sparc64: containers need x86_64 or aarch64; run it in a machine instead"
    )


def test_the_stub_for_aarch64_is_text_that_says_svc():
    assert 'asm sideeffect "svc #0"' in stub.llvm_text("aarch64")
