"""What every test may rely on."""

import os

import pytest
from hypothesis import settings

from tests.user import temporary_home

# Deterministic by default; a longer, seeded hunt is `AUBERGE_HUNT=1 pytest ...`.
settings.register_profile("check", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("hunt", deadline=None, print_blob=True, max_examples=5000)
settings.load_profile("hunt" if os.environ.get("AUBERGE_HUNT") else "check")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache directory of this test's own."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(directory))
    return directory


@pytest.fixture
def open_path():
    """A folder that other users may enter. Above pytest's own there is one that each session which
    begins closes to them, of whatever tests, and while these run."""
    with temporary_home() as home:
        yield home
