"""A container that exchanges its files while they are saved gains nothing by it."""

import os

import pytest

from auberge.image.oci import merge
from auberge.image.oci.changes import Walk
from auberge.image.oci.merge import readable
from auberge.refusal import Refusal


@pytest.fixture
def tree(tmp_path):
    """A container's folder, open, and a file of the host's beside it."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    (tmp_path / "upper").mkdir()
    directory = os.open(tmp_path / "upper", os.O_RDONLY)
    yield tmp_path, directory
    os.close(directory)


def exchanged(monkeypatch, at, when):
    """Once a file that may not be read was asked for, a link to the host's has its name."""
    real, asked = os.open, []

    def opened(path, flags, *more, **options):
        if path == "file":
            asked.append(path)
            if len(asked) == 1:
                if when == 1:
                    at()
                raise PermissionError(13, "permission denied")
            found = real(path, flags, *more, **options)
            if when == 2:
                at()
            return found
        return real(path, flags, *more, **options)

    monkeypatch.setattr(merge.os, "open", opened)


@pytest.mark.parametrize("when", [1, 2])
def test_a_link_in_the_place_of_a_file_that_may_not_be_read(tree, monkeypatch, when):
    path, directory = tree
    file = path / "upper/file"
    file.write_text("mine")
    file.chmod(0)

    def exchange():
        file.rename(path / "upper/moved")
        file.symlink_to(path / "secret")

    exchanged(monkeypatch, exchange, when)
    if when == 1:
        with pytest.raises(OSError):
            readable(directory, "file", 0)
    else:
        found = readable(directory, "file", 0)
        assert os.read(found, 100) == b"mine"
        os.close(found)
    assert os.stat(path / "secret").st_mode & 0o7777 == 0o600
    assert os.stat(path / "upper/moved").st_mode & 0o7777 == 0


@pytest.mark.timeout(20)
def test_a_fifo_in_the_place_of_a_file(tree, monkeypatch):
    path, _ = tree
    file = path / "upper/file"
    file.write_text("mine")
    real = os.stat

    def seen(name, **options):
        found = real(name, **options)
        if name == "file":
            file.unlink()
            os.mkfifo(file)
        return found

    monkeypatch.setattr("auberge.image.oci.changes.os.stat", seen)
    with pytest.raises(Refusal) as refusal:
        list(Walk(str(path / "upper"), True))
    assert str(refusal.value) == "'file': is exchanged while it is saved; pause the container"
