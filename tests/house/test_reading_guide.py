"""The reading guide is the one that the modules give."""

from tests.house.source import ROOT
from tools.reading_guide import guide


def test_the_reading_guide_is_up_to_date():
    advice = "run: python tools/reading_guide.py > docs/reading-guide.md"
    assert (ROOT / "docs" / "reading-guide.md").read_text() == guide(), advice
