"""Claims about an engine hold on each."""

import pytest

from tests.engine.board import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine."""
    name: str = request.param
    return name
