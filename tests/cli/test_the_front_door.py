"""`auberge`: finds subcommands by their files, and says what went wrong in one line."""

import os
import subprocess
import sys

import pytest

from auberge import __version__
from auberge.cli import main as front_door
from auberge.cli.main import main
from auberge.refusal import Refusal
from tests.command import AUBERGE


def run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_subcommand_with_its_summary(capsys, words):
    status, out, err = run(capsys, *words)
    assert (status, err) == (0, "")
    assert out.startswith("usage: auberge COMMAND [ARGUMENT]...\n\n")
    assert "  disasm     instruction words, raw code or ELF files into assembly\n" in out


def test_every_file_with_the_first_line_of_a_subcommand_is_one():
    assert {"asm", "disasm", "cache", "image"} <= set(front_door.subcommands())
    assert not {"main", "terminal", "escape", "listing"} & set(front_door.subcommands())


@pytest.mark.parametrize("name", list(front_door.subcommands()))
def test_a_subcommand_explains_itself(capsys, name):
    status, out, err = run(capsys, name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: auberge {name} ")


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"auberge {__version__}\n", "")


@pytest.mark.parametrize("word", ["frobnicate", "--frobnicate", "main", "", ".", "../cli/asm", "é"])
def test_an_unknown_subcommand(capsys, word):
    line = f"auberge: {word}: no such command; see `auberge --help`\n"
    assert run(capsys, word) == (125, "", line)


def test_an_unknown_option_is_one_line(capsys):
    line = "auberge: asm: unrecognized arguments: --frob; see `auberge asm --help`\n"
    assert run(capsys, "asm", "--frob") == (125, "", line)


def test_an_option_is_not_abbreviated(capsys):
    line = "auberge: asm: unrecognized arguments: --orig; see `auberge asm --help`\n"
    assert run(capsys, "asm", "--orig", "3", "x")[2] != "" != line


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (Refusal("disk.img: too small; grow it"), 125, "auberge: disk.img: too small; grow it\n"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 125, "auberge: no space left on device\n"),
        (
            PermissionError(13, "Permission denied", "a.img"),
            125,
            "auberge: a.img: permission denied\n",
        ),
        (
            MemoryError(),
            125,
            "auberge: host: out of memory; give the guest less with --memory\n",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(capsys, monkeypatch, error, status, line):
    def fail(words):
        raise error

    monkeypatch.setattr(front_door, "dispatch", fail)
    assert run(capsys, "boot") == (status, "", line)


@pytest.mark.slow
def test_a_reader_that_went_away_is_no_complaint():
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*AUBERGE, "--help"], stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
def test_closed_standard_streams_are_no_complaint():
    command = f"{' '.join(AUBERGE)} asm <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, check=False, timeout=60).returncode == 0


@pytest.mark.slow
def test_only_the_chosen_subcommand_is_imported():
    code = (
        "import sys; from auberge.cli.main import main; main(['--help']); "
        "print(sorted(m for m in sys.modules if m.startswith('auberge')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]
    assert modules == "['auberge', 'auberge.cli', 'auberge.cli.main', 'auberge.refusal']"
