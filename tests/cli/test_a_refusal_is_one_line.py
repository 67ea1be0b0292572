"""Files that cannot be booted, with names that are no names: one line each, and no host crash."""

import pytest

from auberge.cli.main import main, one_line
from tests.machine.elves import BASE, elf
from tests.machine.fakes import image


def refused(capsys, *words):
    assert main(["boot", *words, "--timeout", "1"]) == 125
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_an_odd_entry_is_refused(tmp_path, capsys):
    kernel = tmp_path / "odd"
    kernel.write_bytes(elf(entry=BASE + 1))
    line = f"auberge: {kernel}: its entry 0x80000001 is odd, where no instruction is; rebuild it\n"
    assert refused(capsys, "--kernel", str(kernel)) == line


def test_an_empty_initrd_is_refused(tmp_path, capsys):
    kernel, initrd = tmp_path / "Image", tmp_path / "initrd"
    kernel.write_bytes(image())
    initrd.touch()
    line = f"auberge: {initrd}: empty; give an initramfs\n"
    assert refused(capsys, "--kernel", str(kernel), "--initrd", str(initrd)) == line


def test_a_name_with_a_newline_does_not_break_the_line(capsys):
    line = "auberge: no\\nsuch: no such file or directory; check the path\n"
    assert refused(capsys, "--kernel", "no\nsuch") == line


@pytest.mark.parametrize(
    ("text", "line"), [("a b é", "a b é"), ("\x1b[2J", "\\x1b[2J"), ("\udcff", "\\udcff")]
)
def test_what_steers_a_terminal_is_escaped(text, line):
    assert one_line(text) == line
