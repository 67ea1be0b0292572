"""Auberge run by a user: their files are the guest's root's; the host's permissions hold."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from auberge.machine.share.owners import Owners
from tests.machine.share import client as c
from tests.machine.share.conftest import World

USER, GROUP = 54321, 54321

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def world():
    """In a directory that a user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        world = World(Path(path))
        yield world
        for client in world.clients:
            client.close()


@pytest.fixture
def client(world):
    """Of a session that is served by a user, who owns the share; root has a file in it."""
    os.chown(world.share, USER, GROUP)
    theirs = world.share / "root's"
    theirs.write_text("private")
    theirs.chmod(0o600)
    os.setegid(GROUP)
    os.seteuid(USER)
    try:
        yield world.client(owners=Owners(USER, GROUP))
    finally:
        os.seteuid(0)
        os.setegid(0)


def fails(number, action, *values, **options):
    with pytest.raises(OSError) as error:
        action(*values, **options)
    assert error.value.errno == number


def test_what_the_guest_makes_is_the_users_and_seen_as_roots(client, world):
    client.create(b"file")
    status = (world.share / "file").stat()
    assert (status.st_uid, status.st_gid) == (USER, GROUP)
    assert client.getattr(client.walk(b"file"))[5:7] == (0, 0)
    client.setattr(client.walk(b"file"), c.UID | c.GID, uid=0, gid=0)  # as it is


def test_an_open_file_is_truncated_whatever_its_mode_is(client, world):
    fid = client.create(b"file", mode=0o444)
    client.write(fid, b"123456")
    client.setattr(fid, c.SIZE, size=3)
    assert (world.share / "file").read_text() == "123"
    fails(errno.EACCES, client.setattr, client.walk(b"file"), c.SIZE, size=0)


def test_nothing_is_given_away(client):
    client.create(b"file")
    fails(errno.EPERM, client.setattr, client.walk(b"file"), c.UID, uid=1000)
    fails(errno.EPERM, client.setattr, client.walk(b"file"), c.GID, gid=USER)


def test_anothers_file_is_nobodys_and_closed(client, world):
    fid = client.walk(b"root's")
    assert client.getattr(fid)[5:7] == (65534, 65534)
    fails(errno.EACCES, client.lopen, fid)
    fails(errno.EACCES, client.lopen, fid, c.O_WRONLY | c.O_TRUNC)
    fails(errno.EPERM, client.setattr, fid, c.MODE, mode=0o666)
    fails(errno.EACCES, client.setattr, fid, c.SIZE, size=0)
    fails(errno.EACCES, client.lcreate, client.walk(), b"root's", c.O_RDWR)
