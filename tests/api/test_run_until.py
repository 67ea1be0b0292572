"""What `run` can wait for, and what it says."""

import re
from typing import assert_never

import pytest

import auberge
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.api.test_machine import ECHO
from tests.machine.debug.guest import AT
from tests.machine.debug.guest import machine as looping
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(200)
RESETS = "li a0, 0x100000\nli a1, 0x7777\nsw a1, 0(a0)\nj ."


def machine(tmp_path, text):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf([(BASE, assemble(rv64, text, BASE))]))
    return auberge.Machine.virt(kernel, memory="4M", console=lambda data: None)


@pytest.fixture
def echo(tmp_path):
    with machine(tmp_path, ECHO) as made:
        assert made.run(until="ready\n") == auberge.Printed("ready\n")
        yield made


@pytest.mark.parametrize(
    ("until", "text"),
    [
        ("b1", "b1"),
        (b"b1", "b1"),
        (re.compile("[a-z][0-9]"), "b1"),
        (re.compile(rb"[A-Z]|\d "), "1 "),
        (re.compile("(?i)B1 ?"), "b1"),
        (re.compile("é$"), "é"),
        (re.compile("^c.", re.MULTILINE), "c2"),
    ],
)
def test_text_and_regular_expressions(echo, until, text):
    echo.console.send("a b1 é\nc2 ")
    assert echo.run(until=until, timeout=60) == auberge.Printed(text)


def test_each_match_is_found_once(echo):
    echo.console.send("k1 k2\nk3")
    found = [echo.run(until=re.compile(r"k\d"), timeout=60) for _ in range(3)]
    assert found == [auberge.Printed(f"k{n}") for n in (1, 2, 3)]
    assert echo.run(until=re.compile(r"k\d"), timeout=0.02) == auberge.TimedOut()


def test_a_regular_expression_is_looked_for_within_a_line(echo):
    echo.console.send("one\ntwo.")
    assert echo.run(until=re.compile(r"one\s+two|\."), timeout=60) == auberge.Printed(".")
    echo.console.send("one\ntwo")
    assert echo.run(until="one\ntwo", timeout=60) == auberge.Printed("one\ntwo")


def test_expect_takes_them_too(echo):
    echo.console.send("uid=1000 $ ")
    assert echo.console.expect(re.compile(r"uid=\d+ "), timeout=60) == "uid=1000 "
    assert echo.console.expect(b"$ ", timeout=60) == "$ "


def test_long_output_is_not_searched_again_and_again(echo):
    """A megabyte in one line is the worst there is; lines of a usual length cost nothing."""
    echo.console.send("word " * 4 + "\n")
    for _ in range(200):
        echo.console.send("a line of some text\n")
    echo.console.send("end")
    assert echo.run(until=re.compile("end"), timeout=60) == auberge.Printed("end")


def test_an_address(tmp_path):
    with looping(tmp_path, cpus=2) as made:
        function = AT["function"]
        for _ in range(3):
            outcome = made.run(until=function, timeout=60)
            assert outcome in (auberge.Reached(0, function), auberge.Reached(1, function))
            assert made.harts[outcome.hartid].pc == function
        assert made.run(until=AT["end"], timeout=0.02) == auberge.TimedOut()
        with pytest.raises(ValueError):
            made.run(until=3)


def test_a_reset(tmp_path):
    with machine(tmp_path, RESETS) as made:
        for _ in range(3):
            assert made.run(until=auberge.Reset, timeout=60) == auberge.Reset()
        assert made.run(timeout=0.05) == auberge.TimedOut()  # they go on, and nobody hears of it


def test_a_machine_that_is_off_stays_off(echo):
    echo.console.send("q")
    for until in (None, "x", re.compile("x"), BASE, auberge.Reset):
        assert echo.run(until=until, timeout=60) == auberge.PoweredOff(0)


def describe(outcome: auberge.Ending) -> str:
    match outcome:
        case auberge.PoweredOff(code):
            return f"off with {code}"
        case auberge.Faulted(message):
            return message
        case auberge.Printed(text) | auberge.Reached(_, text):
            return str(text)
        case auberge.TimedOut() | auberge.Paused() | auberge.Reset():
            return type(outcome).__name__
        case _:
            assert_never(outcome)


def test_outcomes_are_matched_exhaustively(echo):
    echo.console.send("x")
    assert describe(echo.run(until="x")) == "x"
    assert describe(echo.run(timeout=0.01)) == "TimedOut"
    echo.console.send("q")
    assert describe(echo.run()) == "off with 0"
