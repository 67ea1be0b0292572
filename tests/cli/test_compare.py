"""`auberge compare`: agreement in a sentence, or the first difference with its instruction."""

import pytest

from auberge.cli import compare
from auberge.cli.main import main
from auberge.engine.lockstep import Difference
from tests.cli.guests import hello, write_elf


@pytest.mark.slow
def test_engines_that_agree(capsys, tmp_path):
    kernel = write_elf(
        tmp_path / "k", "li sp, 0x80001000; 1: amoadd.d a0, a1, (sp); addi a1, a1, 3; j 1b"
    )
    assert main(["compare", "--kernel", kernel, "--memory", "1M", "--insns", "5000"]) == 0
    assert capsys.readouterr() == ("reference and interpreter agree on 5,000 instructions\n", "")


@pytest.mark.slow
def test_a_program_that_ends_before(capsys, tmp_path):
    kernel = write_elf(tmp_path / "k", hello())
    assert main(["compare", "--kernel", kernel, "--memory", "1M"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("reference and interpreter agree on ")
    assert (out.endswith(" instructions\n"), err) == (True, "")


def test_a_difference_is_shown_with_its_instruction(capsys, tmp_path, monkeypatch):
    values = {"x10": (1, 2), "exit": ("Spent()", "Stopped()")}
    found = Difference(1234, 0x8000_0004, 0x00150513, values)

    def differ(one, two, budget, stride):
        one(), two()
        return found

    monkeypatch.setattr(compare, "first_difference", differ)
    kernel = write_elf(tmp_path / "k", hello())
    words = ["--kernel", kernel, "--memory", "1M", "--engines", "reference,reference"]
    assert main(["compare", *words]) == 1
    assert capsys.readouterr() == (
        "reference and reference differ after 1,234 instructions, in\n"
        "    0x80000004: addi a0,a0,1\n"
        "    x10                  reference 0x1                  reference 0x2\n"
        "    exit                 reference Spent()              reference Stopped()\n",
        "",
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "boot: nothing to boot; name an IMAGE, as tiny, or give --kernel FILE"),
        (
            ("tiny", "--engines", "reference"),
            "--engines reference: that is not two names; write reference,interpreter",
        ),
        (("tiny", "--insns", "0"), "--insns 0: nothing to compare; give at least 1"),
        (
            ("--kernel", "k", "--engines", "reference,fast"),
            "--engine fast: there is no such engine;"
            " it is one of auto, interpreter, reference, translator",
        ),
    ],
)
def test_what_is_wrong_is_one_line(capsys, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    write_elf(tmp_path / "k", hello())
    assert main(["compare", *words]) == 125
    assert capsys.readouterr() == ("", f"auberge: {line}\n")
