"""JSON without Python's library for it: what is written is what that would write."""

import json

import pytest

from auberge.container.light import write_json


@pytest.mark.parametrize(
    "text", ["", "/a b", 'a"b', "a\\b", "\x7f", "\n\t\0", "é\ud800", "😀", "~ "]
)
def test_strings_are_written_as_json_has_them(text):
    assert write_json({text: [text, 1, None, True]}) == json.dumps({text: [text, 1, None, True]})
