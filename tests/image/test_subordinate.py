"""The ids that /etc/subuid grants: whose lines count, and the maps that they make."""

import os

import pytest

from auberge.image import subordinate
from auberge.image.subordinate import Ids, Line
from auberge.refusal import Refusal


def ranges(tmp_path, monkeypatch, text):
    path = tmp_path / "subuid"
    path.write_text(text)
    monkeypatch.setattr(subordinate, "USERS", str(path))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(subordinate, "user_name", lambda number: "me")
    return subordinate.ranges(str(path))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("me:100000:65536\n", ((100000, 65536),)),
        ("1000:5000:7\nme:100000:65536\n", ((5000, 7), (100000, 65536))),
        ("you:100000:65536\n10000:1:1\n", ()),
        ("me:100000\nme:1:x\nme::\n:::\nme:1:-1\nme:5000:3", ((5000, 3),)),
        ("me:0:65536\n", ()),  # never the host's root
        ("me:900:200\n", ()),  # never one's own
        ("me:100000:0\n", ()),
        ("me:100000:10\nme:100005:10\n", ((100000, 10),)),
        ("me:4294967290:10\n", ()),
        ("me:99999999999:1\n", ()),
        ("me:١:1\n", ()),
    ],
)
def test_lines_that_say_nothing_count_for_nothing(tmp_path, monkeypatch, text, found):
    assert ranges(tmp_path, monkeypatch, text) == found


def test_no_more_ranges_than_a_map_takes(tmp_path, monkeypatch):
    text = "".join(f"me:{number}:1\n" for number in range(5000, 9000, 2))
    assert len(ranges(tmp_path, monkeypatch, text)) == subordinate.MOST_RANGES


def test_a_map_has_the_user_first_and_then_one_range_after_another():
    ids = Ids(((5000, 7), (100000, 65536)), ((9, 1),))
    assert ids.user_map(1000) == (Line(0, 1000, 1), Line(1, 5000, 7), Line(8, 100000, 65536))
    assert ids.group_map(50) == (Line(0, 50, 1), Line(1, 9, 1))
    assert ids.last == (65543, 1)


def test_their_text_is_theirs():
    ids = Ids(((5000, 7), (100000, 65536)), ((9, 1),))
    assert ids.text == "5000+7,100000+65536/9+1"
    assert subordinate.read(ids.text) == ids
    assert subordinate.read("") is None


@pytest.mark.parametrize(
    "text", ["x", "1+2", "1+2/", "1+2/3", "1+2/3+4/5+6", "1+x/3+4", "1+2+3/1+1"]
)
def test_another_text_is_refused(text):
    with pytest.raises(Refusal, match="not the ids of an image; remove it, and import it again"):
        subordinate.read(text)


def test_no_groups_are_no_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(subordinate, "GROUPS", str(tmp_path / "none"))
    assert ranges(tmp_path, monkeypatch, "me:100000:65536\n")
    assert subordinate.granted() is None
