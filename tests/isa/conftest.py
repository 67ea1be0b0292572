"""The privileged tests hold on every engine."""

from collections.abc import Iterator

import pytest

from tests.engine import regions
from tests.isa.bench import Bench


@pytest.fixture(params=["reference", "interpreter", regions.ALONE])
def each_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have every `Bench` of the test run on this engine."""
    before, Bench.engine_name = Bench.engine_name, request.param
    yield
    Bench.engine_name = before
