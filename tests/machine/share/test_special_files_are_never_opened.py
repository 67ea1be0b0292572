"""A pipe, a socket or a device in the share is seen and removed; the host never opens it."""

import errno
import os
import socket
import stat

import pytest

from auberge.machine.share.folder import Folder
from tests.machine.share import client as c


def fails(number, action, *values, **options):
    with pytest.raises(OSError) as error:
        action(*values, **options)
    assert error.value.errno == number


@pytest.fixture(params=["fifo", "socket", "device"])
def client(world, request):
    """`special` is one; a wrong step would hang, and the time limit of tests ends it."""
    path = world.share / "special"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    elif os.geteuid() == 0:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        pytest.skip("only root makes devices")
    yield world.client()


def test_it_is_not_opened(client):
    for flags in (c.O_RDONLY, c.O_WRONLY, c.O_RDWR, c.O_RDWR | c.O_TRUNC):
        fails(errno.ENXIO, client.lopen, client.walk(b"special"), flags)


def test_creating_by_its_name_does_not_open_it(client):
    fails(errno.EEXIST, client.create, b"special", c.O_RDONLY)
    fails(errno.EEXIST, client.create, b"special", c.O_WRONLY | c.O_TRUNC)
    fails(errno.EEXIST, client.create, b"special", c.O_RDWR | c.O_EXCL)


def test_it_is_not_changed(client, world):
    mode = (world.share / "special").lstat().st_mode
    fid = client.walk(b"special")
    for valid in (c.MODE, c.UID, c.SIZE, c.MTIME, c.MTIME | c.MTIME_SET, c.CTIME):
        fails(errno.EPERM, client.setattr, fid, valid, mode=0o777)
    assert (world.share / "special").lstat().st_mode == mode


def test_it_is_seen_renamed_and_removed(client, world):
    status = (world.share / "special").lstat()
    found = client.getattr(client.walk(b"special"))
    assert (found[4], found[8]) == (status.st_mode, status.st_rdev)
    client.rename(b"special", b"other")
    client.unlink(b"other")
    assert os.listdir(world.share) == []


@pytest.mark.parametrize(
    "kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, 0o150000]
)
def test_none_is_made(world, kind):
    client = world.client()
    fails(errno.EPERM, client.mknod, b"new", kind | 0o666, 1, 3)
    fails(errno.EPERM, client.mknod, b"new", stat.S_IFDIR | 0o777)
    assert os.listdir(world.share) == []


def test_a_pipe_that_takes_the_place_of_a_file_is_noticed(world, monkeypatch):
    """Between a look at a name and the opening: the descriptor is of what was looked at."""
    client = world.client()
    (world.share / "file").write_text("a file")
    fid = client.walk(b"file")
    os.unlink(world.share / "file")
    os.mkfifo(world.share / "file")
    client.lopen(fid)  # the file that it was
    assert client.read(fid) == b"a file"
    fails(errno.ENXIO, client.lopen, client.walk(b"file"))


def test_a_pipe_that_comes_while_a_file_is_created(world, monkeypatch):
    client = world.client()
    (world.share / "file").write_text("a file")
    child = Folder.child

    def late(folder, directory, name):
        os.unlink(world.share / "file")
        os.mkfifo(world.share / "file")
        return child(folder, directory, name)

    monkeypatch.setattr(Folder, "child", late)
    fails(errno.EEXIST, client.lcreate, client.walk(), b"file", c.O_RDONLY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only owners take leases, and root")
def test_a_lease_is_not_waited_for(world):
    """fcntl(2), F_SETLEASE: the host's programs may hold an opener up for 45 seconds."""
    import fcntl

    (world.share / "file").write_text("leased")
    client = world.client()
    fid = client.walk(b"file")
    descriptor = os.open(world.share / "file", os.O_RDONLY)
    before = signal_ignored()
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fails(errno.EAGAIN, client.lopen, fid, c.O_WRONLY)
        fails(errno.EAGAIN, client.setattr, fid, c.SIZE, size=0)
    finally:
        os.close(descriptor)
        before()


def signal_ignored():
    """SIGIO tells the holder of a lease that somebody wants it; returns what undoes that."""
    import signal

    old = signal.signal(signal.SIGIO, signal.SIG_IGN)
    return lambda: signal.signal(signal.SIGIO, old)
