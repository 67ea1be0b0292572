"""The page of the documentation is what the description says now."""

from pathlib import Path

from auberge.isa.manual import page
from auberge.isa.riscv.rv64 import rv64

PAGE = Path(__file__).parents[2] / "docs" / "isa.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(rv64), "run: python -m auberge.isa.manual > docs/isa.md"


def test_the_page_has_every_mnemonic() -> None:
    text = PAGE.read_text()
    for form in rv64.forms:
        assert f"| `{form.name}" in text
