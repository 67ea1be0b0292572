"""The host moves a directory out of the share while the guest has fids in it, and they are over."""

import errno
import os

import pytest

from auberge.machine.share import messages as m
from tests.machine.share import client as c


@pytest.fixture
def moved(world):
    """A client and fids, by name, of what was in the share; `d` is outside now."""
    (world.share / "d" / "e").mkdir(parents=True)
    (world.share / "d" / "file").write_text("in the share")
    client = world.client()
    fids = {name: client.walk(*name.split(b"/")) for name in (b"d", b"d/e", b"d/file")}
    fids[b"open file"] = client.lopen(client.walk(b"d", b"file"))
    fids[b"open d"] = client.lopen(client.walk(b"d"))
    os.rename(world.share / "d", world.outside / "d")
    (world.outside / "d" / "later").write_text("a secret")
    return client, fids


def stale(action, *values, **options):
    with pytest.raises(OSError) as error:
        action(*values, **options)
    assert error.value.errno == errno.ESTALE


def test_nothing_can_be_found_or_opened_there(moved):
    client, fids = moved
    for name in (b"d", b"d/e"):
        stale(client.walk, b"later", fid=fids[name])
        stale(client.lopen, fids[name])
    stale(client.lopen, fids[b"d/file"])
    stale(client.readdir, fids[b"open d"])
    stale(client.lopen, client.walk(fid=fids[b"d"]))  # a copy is no better


def test_nothing_can_be_changed_there(moved, world):
    client, fids = moved
    stale(client.lcreate, fids[b"d"], b"new")
    stale(client.mkdir, b"new", fid=fids[b"d"])
    stale(client.symlink, b"new", b"x", fid=fids[b"d/e"])
    stale(client.mknod, b"new", 0o100644, fid=fids[b"d"])
    stale(client.unlink, b"later", fid=fids[b"d"])
    stale(client.rename, b"later", b"stolen", fid=fids[b"d"])
    (world.share / "x").write_text("")
    stale(client.rename, b"x", b"planted", to=fids[b"d"])
    stale(client.link, client.walk(b"x"), b"planted", directory=fids[b"d"])
    stale(client.link, fids[b"d/file"], b"linked back")
    stale(client.setattr, fids[b"d/file"], c.SIZE, size=0)
    stale(client.setattr, fids[b"d"], c.MODE, mode=0o777)
    assert sorted(os.listdir(world.outside / "d")) == ["e", "file", "later"]
    assert os.listdir(world.share) == ["x"]


def test_a_file_that_was_open_stays_open(moved):
    """As for any program of the host that had it open."""
    client, fids = moved
    assert client.read(fids[b"open file"]) == b"in the share"
    client.clunk(fids[b"open file"])


def test_it_counts_where_a_directory_is_not_what_it_is_called(world):
    (world.share / "d").mkdir()
    client = world.client()
    fid = client.walk(b"d")
    beside = world.share.parent / "share-not"
    os.rename(world.share / "d", beside)
    stale(client.mkdir, b"new", fid=fid)


def test_the_share_itself_may_be_moved(world):
    client = world.client()
    client.mkdir(b"d")
    fid = client.walk(b"d")
    os.rename(world.share, world.outside / "moved")
    client.mkdir(b"new", fid=fid)
    assert client.list() == [b"d"]
    world.share.mkdir()  # another of the old name is not it
    os.rename(world.outside / "moved" / "d", world.share / "d")
    stale(client.mkdir, b"newer", fid=fid)


def test_what_comes_back_is_there_again(moved, world):
    client, fids = moved
    os.rename(world.outside / "d", world.share / "d")
    assert client.list(fids[b"d"]) == [b"e", b"file", b"later"]


def test_a_stale_fid_can_be_copied_and_clunked(moved):
    client, fids = moved
    client.clunk(client.walk(fid=fids[b"d"]))
    client.clunk(fids[b"d"])
    client.ask(m.TGETATTR, "IQ", fids[b"d/e"], 0x7FF)
