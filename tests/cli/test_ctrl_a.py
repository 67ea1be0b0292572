"""Ctrl-A X leaves, Ctrl-A A is Ctrl-A, and nothing else that is typed is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auberge.cli.escape import HELP, LEAVE, Escape


@pytest.mark.parametrize(
    ("typed", "guest", "ours"),
    [
        (b"ls\r", b"ls\r", b""),
        (b"\x01x", b"", bytes([LEAVE])),
        (b"\x01X", b"", bytes([LEAVE])),
        (b"a\x01ab", b"a\x01b", b""),
        (b"\x01\x01x", b"\x01x", b""),
        (b"1\x01h2", b"12", bytes([HELP])),
        (b"1\x01z2", b"12", b""),
    ],
)
def test_keys(typed, guest, ours):
    assert Escape().split(typed) == (guest, ours)


@settings(max_examples=40)
@given(st.binary(max_size=30), st.integers(0, 20))
def test_it_does_not_matter_where_a_read_ends(typed, cut):
    whole, halves = Escape(), Escape()
    first, second = halves.split(typed[:cut]), halves.split(typed[cut:])
    assert whole.split(typed) == (first[0] + second[0], first[1] + second[1])


@given(st.binary())
def test_keys_without_ctrl_a_are_the_guests(typed):
    plain = typed.replace(b"\x01", b"")
    assert Escape().split(plain) == (plain, b"")
