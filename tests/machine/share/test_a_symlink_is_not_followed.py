"""Symbolic links are the guest's to follow; the host reads them, and goes nowhere by them."""

import errno
import os

import pytest

from tests.machine.share import client as c


@pytest.fixture(params=["absolute", "relative", "magic"])
def client(world, request):
    """`link` leads to the folder outside, `file` to the secret in it."""
    descriptor = os.open(world.outside, os.O_RDONLY)
    outside = {
        "absolute": str(world.outside),
        "relative": "../outside",
        "magic": f"/proc/{os.getpid()}/fd/{descriptor}",
    }[request.param]
    os.symlink(outside, world.share / "link")
    os.symlink(f"{outside}/secret", world.share / "file")
    yield world.client()
    os.close(descriptor)
    assert world.untouched()


def fails(number, action, *values, **options):
    with pytest.raises(OSError) as error:
        action(*values, **options)
    assert error.value.errno == number


def test_it_is_no_directory(client):
    fails(errno.ENOENT, client.walk, b"link", b"secret")  # the walk ends after one name
    link = client.walk(b"link")
    fails(errno.ENOTDIR, client.walk, b"secret", fid=link)
    fails(errno.ENOTDIR, client.lcreate, link, b"new")
    fails(errno.ENOTDIR, client.mkdir, b"new", fid=link)
    fails(errno.ENOTDIR, client.symlink, b"new", b"x", fid=link)
    fails(errno.ENOTDIR, client.unlink, b"secret", fid=link)
    fails(errno.ENOTDIR, client.rename, b"secret", b"stolen", fid=link)
    fails(errno.ENOTDIR, client.rename, b"file", b"planted", to=link)
    fails(errno.ENOTDIR, client.link, client.walk(b"file"), b"planted", directory=link)
    fails(errno.ELOOP, client.lopen, link)


def test_it_is_no_file(client):
    file = client.walk(b"file")
    for flags in (c.O_RDONLY, c.O_WRONLY, c.O_RDWR | c.O_TRUNC):
        fails(errno.ELOOP, client.lopen, file, flags)
    fails(errno.ELOOP, client.setattr, file, c.SIZE, size=0)
    fails(errno.EOPNOTSUPP, client.setattr, file, c.MODE, mode=0o777)


def test_creating_by_its_name_does_not_follow_it(client):
    fails(errno.EEXIST, client.create, b"file", c.O_WRONLY | c.O_TRUNC)
    fails(errno.EEXIST, client.create, b"file", c.O_WRONLY | c.O_EXCL)
    fails(errno.EEXIST, client.mkdir, b"link")
    fails(errno.EEXIST, client.mknod, b"file", 0o100644)


def test_a_link_to_nothing_creates_nothing(client, world):
    client.symlink(b"dangling", os.fsencode(world.outside / "new"))
    fails(errno.EEXIST, client.create, b"dangling")


def test_its_attributes_are_its_own(client, world):
    file = client.walk(b"file")
    assert client.getattr(file)[4] & 0o170000 == 0o120000
    if os.geteuid() == 0:
        client.setattr(file, c.UID | c.GID, uid=7, gid=8)
        assert (world.share / "file").lstat().st_uid == 7
    assert (world.outside / "secret").stat().st_uid == os.geteuid()


def test_unlinking_and_renaming_are_of_the_link(client, world):
    client.rename(b"link", b"moved")
    client.unlink(b"moved")
    client.unlink(b"file")
    assert os.listdir(world.share) == []
