"""A guest links only what it holds, under names in the share; never what a link points to."""

import errno
import os

import pytest


def test_a_link_to_a_symbolic_link_is_the_link(world):
    os.symlink(world.outside / "secret", world.share / "link")
    client = world.client()
    client.link(client.walk(b"link"), b"hard")
    assert os.readlink(world.share / "hard") == str(world.outside / "secret")
    assert (world.outside / "secret").stat().st_nlink == 1


def test_a_directory_is_not_linked(world):
    client = world.client()
    client.mkdir(b"d")
    for fid in (client.walk(b"d"), client.walk()):
        with pytest.raises(PermissionError):
            client.link(fid, b"d2")


def test_a_special_file_is_not_linked(world):
    os.mkfifo(world.share / "fifo")
    client = world.client()
    with pytest.raises(PermissionError):
        client.link(client.walk(b"fifo"), b"fifo2")


def test_an_existing_name_is_not_replaced(world):
    client = world.client()
    (world.share / "a").write_text("a")
    (world.share / "b").write_text("b")
    with pytest.raises(OSError) as error:
        client.link(client.walk(b"a"), b"b")
    assert error.value.errno == errno.EEXIST and (world.share / "b").read_text() == "b"


def test_a_removed_file_does_not_come_back(world):
    client = world.client()
    fid = client.create(b"file")
    client.unlink(b"file")
    with pytest.raises(OSError):
        client.link(fid, b"back")
    assert os.listdir(world.share) == []
