"""Fids: as many as are allowed, each used for what it is; a wrong one is an error and no more."""

import errno
import os
from struct import pack

import pytest

from auberge.machine.share import messages as m
from tests.machine.share import client as c


def fails(number, action, *values, **options):
    with pytest.raises(OSError) as error:
        action(*values, **options)
    assert error.value.errno == number


def test_there_are_no_more_than_allowed(world):
    client = world.client(fids=10)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(9):
        client.walk()
    fails(errno.EMFILE, client.walk)
    fails(errno.EMFILE, client.attach, 77)
    fails(errno.EMFILE, client.create, b"file")
    assert os.listdir(world.share) == [] and len(os.listdir("/proc/self/fd")) == before + 9
    client.walk(new=3, fid=3)  # to itself is always possible
    client.clunk(4)
    client.lopen(client.walk(new=4))
    assert len(os.listdir("/proc/self/fd")) == before + 9


def test_an_unknown_fid(world):
    client = world.client()
    for kind in (
        m.TSTATFS, m.TREADLINK, m.TCLUNK, m.TGETATTR, m.TFSYNC, m.TREADDIR, m.TREAD, m.TWRITE,
        m.TLOPEN, m.TSETATTR, m.TWALK, m.TLOCK, m.TREMOVE,
    ):  # fmt: skip
        fails(errno.EBADF, client.call, kind, pack("<I", 99) + bytes(60))
    fails(errno.EBADF, client.lcreate, 99, b"x")
    fails(errno.EBADF, client.rename, b"x", b"y", to=99)
    fails(errno.EBADF, client.link, 99, b"y")
    fails(errno.EBADF, client.link, c.ROOT, b"y", directory=99)


def test_a_fid_in_use_is_not_given_again(world):
    client = world.client()
    fails(errno.EINVAL, client.attach, c.ROOT)
    client.walk(new=5)
    fails(errno.EINVAL, client.walk, new=5)
    fails(errno.EINVAL, client.walk, new=m.NOFID)
    client.clunk(5)
    fails(errno.EBADF, client.clunk, 5)
    client.walk(new=5)


def test_a_fid_is_opened_once(world):
    client = world.client()
    fid = client.create(b"file")
    fails(errno.EINVAL, client.lopen, fid)
    fails(errno.EINVAL, client.lcreate, fid, b"other")
    fails(errno.EINVAL, client.lopen, client.walk(b"file"), 3)  # no way to access
    assert os.listdir(world.share) == ["file"]


def test_a_fid_that_is_not_open_has_no_data(world):
    client = world.client()
    client.create(b"file")
    fid = client.walk(b"file")
    fails(errno.EBADF, client.read, fid)
    fails(errno.EBADF, client.write, fid, b"x")
    fails(errno.EBADF, client.fsync, fid)
    fails(errno.EISDIR, client.read, client.lopen(client.walk()))
    fails(errno.EISDIR, client.lopen, client.walk(), c.O_WRONLY)
    fails(errno.EBADF, client.write, client.lopen(client.walk()), b"x")
    fails(errno.EBADF, client.read, client.lopen(client.walk(b"file"), c.O_WRONLY))


def test_a_host_without_descriptors_is_an_error_and_no_more(world):
    import resource

    client = world.client()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    fillers = []
    try:
        with pytest.raises(OSError):
            while True:
                fillers.append(os.dup(0))
        fails(errno.EMFILE, client.walk)
        fails(errno.EMFILE, client.walk, b"file")
        fails(errno.EMFILE, client.attach, 77)
        fails(errno.EMFILE, client.lcreate, c.ROOT, b"file")
        client.getattr(c.ROOT)
    finally:
        for each in fillers:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    client.create(b"file")
