"""Signals as users and images write them."""

import signal

import pytest

from auberge.container.signals import signal_number, stop_number
from auberge.refusal import Refusal


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9), ("64", 64), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN", 34), ("SIGRTMIN+3", 37),
        ("RTMAX-14", 50), ("RTMAX", 64),
    ],
)  # fmt: skip
def test_names_and_numbers(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "0", "65", "\u00b2", "9" * 5000, "SIGNOPE", "SIG", "RTMIN+", "RTMIN+31", "RTMIN--1",
     "RTMAX-\u00b2", "TERM+1", "RTMIN+" + "1" * 5000],
)  # fmt: skip
def test_what_is_none(text):
    with pytest.raises(Refusal) as refusal:
        signal_number(text)
    assert str(refusal.value) == f"{text}: no such signal; write one of signal(7), such as TERM"
    assert stop_number(text) == signal.SIGTERM
