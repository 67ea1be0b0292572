"""`auberge asm` and `auberge disasm`: there and back, and one line for what is wrong."""

import io
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from auberge.cli.main import main

TEXT = """\
    # counts down
    start: addi a0, a0, -1
    bnez a0, start
    ret
"""
LISTING = """\
start:
80000000:  fff50513  addi a0,a0,-1
80000004:  fe051ee3  bnez a0,0x80000000
80000008:  00008067  ret
"""


def run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "count.s"
    path.write_text(TEXT)
    return path


def test_asm_prints_a_listing(capsys, source):
    assert run(capsys, "asm", str(source), "--origin", "0x80000000") == (0, LISTING, "")


def test_asm_reads_stdin(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"nop")))
    assert run(capsys, "asm") == (0, "       0:  00000013  nop\n", "")


def test_what_asm_writes_disasm_reads(capsys, source, tmp_path):
    code = tmp_path / "count.bin"
    assert run(capsys, "asm", str(source), "-o", str(code), "--origin", "0x80000000")[0] == 0
    assert code.read_bytes().hex() == "1305f5ffe31e05fe67800000"
    status, out, err = run(capsys, "disasm", str(code), "--origin", "0x80000000")
    assert (status, out, err) == (0, LISTING.removeprefix("start:\n"), "")


def test_asm_leaves_no_half_file(capsys, tmp_path):
    place = tmp_path / "absent" / "count.bin"
    source = tmp_path / "count.s"
    source.write_text("nop")
    line = f"auberge: {place}.{{}}.new: no such file or directory\n"
    status, out, err = run(capsys, "asm", str(source), "-o", str(place))
    assert (status, out) == (125, "")
    assert err.startswith(line.partition("{}")[0])
    assert err.endswith(line.partition("{}")[2])


def test_disasm_of_words(capsys):
    expected = "       0:  00150513  addi a0,a0,1\n       4:  8082      c.jr ra\n"
    assert run(capsys, "disasm", "00150513", "0x8082") == (0, expected, "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("asm", "absent.s"), "absent.s: no such file or directory"),
        (("disasm", "absent"), "absent: neither a file nor a word in hexadecimal; check it"),
        (("disasm", "123456789"), "123456789: more than 32 bits; separate words by spaces"),
        (
            ("disasm", "13", "--origin", "here"),
            "disasm: argument --origin: 'here' is not a number; write 0x80000000; "
            "see `auberge disasm --help`",
        ),
        (
            ("disasm", "13", "--origin=-1"),
            "disasm: argument --origin: '-1' is not a 64-bit address; see `auberge disasm --help`",
        ),
    ],
)
def test_errors_are_one_line(capsys, words, line):
    assert run(capsys, *words) == (125, "", f"auberge: {line}\n")


def test_asm_names_file_and_line(capsys, tmp_path):
    path = tmp_path / "wrong.s"
    path.write_text("nop\nfrob a0\n")
    line = f"auberge: {path}:2: frob is not an instruction known here\n"
    assert run(capsys, "asm", str(path)) == (125, "", line)


def test_asm_of_what_is_no_text(capsys, tmp_path):
    path = tmp_path / "wrong.s"
    path.write_bytes(b"nop\n\xff")
    line = f"auberge: {path}: not text: byte 4; give assembly in UTF-8\n"
    assert run(capsys, "asm", str(path)) == (125, "", line)


def elf(tmp_path, machine=243):
    """A linked file whose one section of code is TEXT's, with its symbol."""
    code = bytes.fromhex("1305f5ffe31e05fe67800000")
    names = b"\0.text\0.symtab\0.strtab\0start\0"
    symbols = bytes(24) + b"\x17\0\0\0\x12\0\1\0" + (0x80000000).to_bytes(8, "little") + bytes(8)
    body = code + bytes(4) + symbols + names
    at = {"code": 64, "symbols": 80, "names": 128}

    def section(name, kind, flags, address, offset, size, link=0, info=0, entry=0):
        words = [(name, 4), (kind, 4), (flags, 8), (address, 8), (offset, 8), (size, 8)]
        words += [(link, 4), (info, 4), (1, 8), (entry, 8)]
        return b"".join(value.to_bytes(width, "little") for value, width in words)

    table = section(0, 0, 0, 0, 0, 0)
    table += section(1, 1, 6, 0x80000000, at["code"], len(code))
    table += section(7, 2, 0, 0, at["symbols"], 48, link=3, info=1, entry=24)
    table += section(15, 3, 0, 0, at["names"], len(names))
    start = 64 + len(body)
    header = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0" + machine.to_bytes(2, "little")
    header += b"\1\0\0\0" + bytes(16) + start.to_bytes(8, "little") + bytes(4)
    header += b"".join(n.to_bytes(2, "little") for n in (64, 0, 0, 64, 4, 3))
    path = tmp_path / "count.o"
    path.write_bytes(header + body + table)
    return path


def test_disasm_of_an_elf_file(capsys, tmp_path):
    path = elf(tmp_path)
    assert run(capsys, "disasm", str(path)) == (0, ".text:\n" + LISTING, "")


def test_disasm_of_a_foreign_elf_file(capsys, tmp_path):
    path = elf(tmp_path, machine=62)
    line = f"auberge: {path}: an ELF file for x64 (64 bits); give one for 64-bit RISC-V\n"
    assert run(capsys, "disasm", str(path)) == (125, "", line)


@pytest.mark.parametrize("length", range(16, 64 + 16 + 48 + 28 + 4 * 64, 7))
def test_disasm_of_a_truncated_elf_file_is_one_line(capsys, tmp_path, length):
    path = elf(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    status, out, err = run(capsys, "disasm", str(path))
    assert (status, out, err.count("\n")) == (125, "", 1)
    assert err.startswith(f"auberge: {path}: ")


@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-objdump"), reason="no binutils for riscv64")
@pytest.mark.slow
def test_our_elf_file_is_one_to_binutils(tmp_path):
    command = ["riscv64-linux-gnu-objdump", "-d", str(elf(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "<start>:" in done.stdout
