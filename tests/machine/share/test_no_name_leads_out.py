"""A name is one component of a path: no `..`, no slash, no NUL, nothing empty, nothing endless."""

import errno
import os

import pytest

from tests.machine.share import client as c

NAMES = [
    b"", b".", b"..", b"/", b"../outside", b"../outside/secret", b"a/../../outside", b"a/b",
    b"/etc/passwd", b"x/", b"/..", b"./x", b"..\0", b"x\0../y", b"\0",
]  # fmt: skip


def refused(action, *values, number=errno.EINVAL, **options):
    with pytest.raises(OSError) as error:
        action(*values, **options)
    assert error.value.errno == number


@pytest.mark.parametrize("name", NAMES)
def test_wherever_a_name_is_expected(world, name):
    client = world.client()
    client.mkdir(b"a")
    fid = client.create(b"file")
    refused(client.walk, name)
    refused(client.walk, b"a", name)
    refused(client.create, name)
    refused(client.mkdir, name)
    refused(client.mknod, name, 0o100644)
    refused(client.symlink, name, b"x")
    refused(client.link, fid, name)
    refused(client.rename, name, b"y")
    refused(client.rename, b"file", name)
    refused(client.unlink, name)
    refused(client.unlink, name, c.REMOVEDIR)
    assert sorted(os.listdir(world.share)) == ["a", "file"] and world.untouched()


def test_the_parent_of_the_root_cannot_be_walked_to(world):
    client = world.client()
    refused(client.walk, b"..")
    refused(client.walk, b"..", b"outside")
    refused(client.walk, *[b".."] * 16)
    refused(client.attach, 9, tree=b"/..", number=errno.ENOENT)
    refused(client.attach, 9, tree=b"../outside", number=errno.ENOENT)


def test_a_directory_does_not_tell_who_its_parent_is(world):
    client = world.client()
    fid = client.lopen(client.walk())
    entries = {entry[3]: entry[0][2] for entry in client.readdir(fid)}
    assert entries[b".."] == entries[b"."] == world.share.stat().st_ino


def test_a_name_that_is_too_long(world):
    client = world.client()
    refused(client.walk, b"x" * 256, number=errno.ENAMETOOLONG)
    refused(client.mkdir, b"x" * 5000, number=errno.ENAMETOOLONG)
    refused(client.symlink, b"l", b"x" * 4096, number=errno.ENAMETOOLONG)
    client.symlink(b"l", b"x" * 4095)
    assert client.readlink(client.walk(b"l")) == b"x" * 4095


def test_directories_deeper_than_any_path(world):
    """What the host cannot name is refused, and the tree can be taken down again."""
    client = world.client()
    fids = [c.ROOT]
    with pytest.raises(OSError):
        for _ in range(40):
            client.mkdir(b"x" * 255, fid=fids[-1])
            fids.append(client.walk(b"x" * 255, fid=fids[-1]))
    assert 10 < len(fids) < 20
    for fid in reversed(fids[:-1]):
        client.unlink(b"x" * 255, c.REMOVEDIR, fid)
    assert os.listdir(world.share) == []
