"""A guest in a real terminal: tmux shows what it prints, and the shell after it is as before."""

import os
import sys

import pytest

from auberge.image.store import find
from tests.cli.guests import ECHO, write_elf
from tests.cli.tmux import Tmux, needs_tmux

pytestmark = [pytest.mark.slow, needs_tmux]


@pytest.fixture
def tmux(tmp_path):
    server = Tmux(tmp_path)
    yield server
    server("kill-server")


@pytest.fixture
def kernel(tmp_path):
    return write_elf(tmp_path / "echo", "li a0, 0x10000000; li a1, 'E'; sb a1, 0(a0);" + ECHO)


def test_keys_echo_and_the_terminal_is_put_back(tmux, kernel, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    auberge = f"{sys.executable} -m auberge.cli.main boot --engine reference --kernel {kernel}"
    # An empty line, since the last of what was typed may be echoed only now.
    then = f"stty -g > {after}; echo; echo done"
    tmux.type(f"PS1=; clear; stty -g > {before}; {auberge}; {then}", "Enter")
    tmux.expect("E")
    tmux.type("hello", "C-c", "C-z", "C-a", "a", "C-a", "h")
    tmux.expect("Ctrl-A X       leave: stop the guest")
    tmux.type("C-a", "x")
    tmux.expect("done")
    assert before.read_text() == after.read_text()
    tmux.type("clear; stty size", "Enter")
    tmux.expect("28 90")


def test_a_guest_that_ends_leaves_the_shell_as_it_was(tmux, kernel):
    auberge = f"{sys.executable} -m auberge.cli.main boot --engine reference --kernel {kernel}"
    tmux.type(f"PS1=; clear; {auberge}; echo status $?", "Enter")
    tmux.expect("E")
    tmux.type("hallo q")
    tmux.expect("Ehallo qstatus 0")
    tmux.type("echo typed", "Enter")
    tmux.expect("typed")


def test_a_killed_guest_leaves_the_shell_as_it_was(tmux, kernel, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    auberge = f"{sys.executable} -m auberge.cli.main boot --engine reference --kernel {kernel}"
    pid = tmp_path / "pid"
    line = f"sh -c 'echo $$ > {pid}; exec {auberge}'"
    tmux.type(f"PS1=; clear; stty -g > {before}; {line}; stty -g > {after}; echo done", "Enter")
    tmux.expect("E")
    os.kill(int(pid.read_text()), 15)
    tmux.expect("Edone")
    assert before.read_text() == after.read_text()


@pytest.mark.skipif(find("tiny", "riscv64") is None, reason="run `auberge image build tiny` first")
def test_the_shell_in_tiny_knows_its_window(tmux):
    auberge = f"{sys.executable} -m auberge.cli.main boot tiny --append quiet"
    tmux.type(f"PS1=; clear; {auberge}; echo status $?", "Enter")
    tmux.expect("root@tiny:~#", seconds=120)
    tmux.type("stty size; echo $TERM", "Enter")
    tmux.expect("28 90")
    tmux.expect(tmux("show-options", "-gv", "default-terminal").strip())
    tmux.type("echo asleep; sleep 1000; echo awake", "Enter")
    tmux.expect("asleep")
    tmux.type("C-c")
    tmux.expect("root@tiny:~#")
    tmux.type("clear; echo interrupted", "Enter")
    tmux.expect("interrupted")
    tmux.type("exit", "Enter")
    tmux.expect("status 0", seconds=60)
