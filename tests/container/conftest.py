"""Bundles for every test, removed with all that their containers leave."""

import pytest

from tests.container.bundles import ROOT, Bundle


@pytest.fixture
def bundle(tmp_path):
    """A bundle of this test's own."""
    if not ROOT:
        pytest.skip("only root may do that")
    made = Bundle(tmp_path)
    yield made
    made.remove("ours")


@pytest.fixture(params=["ours", "runc"])
def runtime(request):
    """The runtime, and the reference: what the reference does not hold is no claim of the spec."""
    return request.param
