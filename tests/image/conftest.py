"""What the tests of images share: a signed archive, and a cache of their own."""

import pytest

from tests.image.debian import Archive, Key


@pytest.fixture(scope="session")
def key(tmp_path_factory):
    """The key the archives of these tests are signed with."""
    key = Key(tmp_path_factory.mktemp("gnupg") / "home", "Archive <archive@example.org>")
    yield key
    key.close()


@pytest.fixture
def archive(tmp_path, key):
    """A fresh archive that has what `tiny` is made of."""
    return Archive(tmp_path / "debian", key)
