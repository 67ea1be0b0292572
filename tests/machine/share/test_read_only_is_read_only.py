"""`:ro` holds on the host, whatever the guest sends: every message that could change anything."""

import errno
import os
from struct import pack

import pytest

from auberge.machine.share import messages as m
from tests.machine.share import client as c


@pytest.fixture
def client(world):
    (world.share / "file").write_text("as it was")
    (world.share / "d").mkdir()
    os.symlink("file", world.share / "link")
    os.chmod(world.share / "file", 0o666)
    before = pictured(world.share)
    yield world.client(read_only=True)
    assert pictured(world.share) == before


def pictured(folder):
    return {
        path.name: (path.lstat().st_mode, path.lstat().st_nlink, path.lstat().st_mtime_ns,
                    path.lstat().st_ctime_ns, path.lstat().st_uid)
        for path in (folder, *folder.rglob("*"))
    }  # fmt: skip


CHANGES = {
    "lopen for writing": lambda k: k.lopen(k.walk(b"file"), c.O_WRONLY),
    "lopen for both": lambda k: k.lopen(k.walk(b"file"), c.O_RDWR),
    "lopen and truncate": lambda k: k.lopen(k.walk(b"file"), c.O_RDONLY | c.O_TRUNC),
    "lcreate": lambda k: k.create(b"new"),
    "lcreate what is there, to read": lambda k: k.create(b"file", c.O_RDONLY),
    "lcreate and truncate": lambda k: k.create(b"file", c.O_RDONLY | c.O_TRUNC),
    "symlink": lambda k: k.symlink(b"new", b"x"),
    "mknod": lambda k: k.mknod(b"new", 0o100644),
    "mkdir": lambda k: k.mkdir(b"new"),
    "link": lambda k: k.link(k.walk(b"file"), b"new"),
    "renameat": lambda k: k.rename(b"file", b"new"),
    "renameat into a directory": lambda k: k.rename(b"file", b"new", to=k.walk(b"d")),
    "unlinkat": lambda k: k.unlink(b"file"),
    "unlinkat of a directory": lambda k: k.unlink(b"d", c.REMOVEDIR),
    "setattr of the mode": lambda k: k.setattr(k.walk(b"file"), c.MODE, mode=0o600),
    "setattr of the owner": lambda k: k.setattr(k.walk(b"file"), c.UID | c.GID),
    "setattr of the size": lambda k: k.setattr(k.walk(b"file"), c.SIZE),
    "setattr of times": lambda k: k.setattr(k.walk(b"file"), c.ATIME | c.MTIME),
    "setattr of given times": lambda k: k.setattr(k.walk(b"file"), c.MTIME | c.MTIME_SET),
    "setattr of nothing": lambda k: k.setattr(k.walk(b"file"), 0),
    "setattr of a link": lambda k: k.setattr(k.walk(b"link"), c.MTIME),
    "setattr of the root": lambda k: k.setattr(c.ROOT, c.MODE, mode=0o777),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_message_changes_anything(client, change):
    with pytest.raises(OSError) as error:
        change(client)
    assert error.value.errno == errno.EROFS


def test_a_file_open_to_be_read_cannot_be_written(client):
    fid = client.lopen(client.walk(b"file"))
    with pytest.raises(OSError) as error:
        client.write(fid, b"changed")
    assert error.value.errno == errno.EBADF


@pytest.mark.parametrize("kind", [m.TXATTRCREATE, m.TXATTRWALK, m.TREMOVE, m.TRENAME])
def test_what_could_change_something_elsewhere_does_not_exist(client, kind):
    with pytest.raises(OSError) as error:
        client.call(kind, pack("<I", client.walk(b"file")) + bytes(30))
    assert error.value.errno == errno.EOPNOTSUPP


def test_all_else_works(client):
    assert client.contents(b"file") == b"as it was"
    assert client.list() == [b"d", b"file", b"link"]
    assert client.readlink(client.walk(b"link")) == b"file"
    fid = client.lopen(client.walk(b"file"))
    client.fsync(fid)
    client.ask(m.TSTATFS, "I", fid)


def test_no_message_was_forgotten(client):
    """Each message that is answered is in this file, or changes nothing by its nature."""
    harmless = {
        m.TATTACH, m.TWALK, m.TGETATTR, m.TCLUNK, m.TREADDIR, m.TREADLINK, m.TSTATFS, m.TFSYNC,
        m.TLOCK, m.TGETLOCK, m.TFLUSH,
    }  # fmt: skip
    tried = {
        m.TLOPEN, m.TLCREATE, m.TSYMLINK, m.TMKNOD, m.TMKDIR, m.TLINK, m.TRENAMEAT, m.TUNLINKAT,
        m.TSETATTR, m.TREMOVE,
    }  # fmt: skip
    assert set(client.session._answers) == harmless | tried
