"""Each message of 9P2000.L does to the folder what its description says."""

import errno
import os
import stat
from struct import pack, unpack_from

import pytest

from auberge.machine.share import messages as m
from auberge.machine.share.owners import Owners
from tests.machine.share import client as c


def test_the_version_is_agreed_on_and_begins_anew(world):
    client = world.client()
    assert client.version(1 << 20) == (512 << 10, b"9P2000.L")
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        client.walk()  # the fids of before are gone
    assert client.version(4096) == (4096, b"9P2000.L")


def test_another_version_is_unknown(world):
    client = world.client(attach=False)
    assert client.version(8192, b"9P2000.u") == (8192, b"unknown")
    with pytest.raises(OSError, match=os.strerror(errno.EPROTO)):
        client.attach()
    with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
        client.version(4095)


def test_a_file_is_created_written_and_read(world):
    client = world.client()
    fid = client.create(b"file", mode=0o640)
    assert client.write(fid, b"hello") == 5
    assert client.write(fid, b"HELLO", 3) == 5
    assert client.read(fid) == b"helHELLO" and client.read(fid, 3, 2) == b"lHE"
    assert client.read(fid, 10, 8) == b""
    assert client.read(fid, 0) == b"" and client.write(fid, b"") == 0
    client.fsync(fid)
    client.clunk(fid)
    made = world.share / "file"
    assert made.read_text() == "helHELLO" and stat.S_IMODE(made.stat().st_mode) == 0o640
    assert client.contents(b"file") == b"helHELLO"
    assert (client.counts.read_bytes, client.counts.written_bytes) == (8 + 3 + 8, 10)


def test_data_is_in_buffers_cut_anywhere(world):
    client = world.client()
    data = bytes(range(256)) * 40
    (world.share / "file").write_bytes(data)
    fid = client.lopen(client.walk(b"file"), c.O_RDWR)
    ring = client.driver.rings[0]
    request = pack("<IBHIQI", 23, m.TREAD, 1, fid, 100, 9000)
    pieces = [request[:3], request[3:9], request[9:]]
    written, answer = ring.request(pieces, [5, 3, 4, 1000, 9000], indirect=True)
    assert (written, answer[7:written]) == (9011, pack("<I", 9000) + data[100:9100])
    request = pack("<IBHIQI", 23 + 600, m.TWRITE, 1, fid, 7, 600) + data[1:601]
    pieces = [request[:22], request[22:24], request[24:500], request[500:]]
    written, answer = ring.request(pieces, [2, 100])
    assert answer[:written] == pack("<IBHI", 11, m.TWRITE + 1, 1, 600)
    assert (world.share / "file").read_bytes()[:700] == data[:7] + data[1:601] + data[607:700]


def test_opening_truncates_and_appends(world):
    client = world.client()
    (world.share / "file").write_text("0123456789")
    fid = client.lopen(client.walk(b"file"), c.O_WRONLY | c.O_APPEND)
    client.write(fid, b"ab", 0)
    assert (world.share / "file").read_text() == "0123456789ab"
    client.lopen(client.walk(b"file"), c.O_WRONLY | c.O_TRUNC)
    assert (world.share / "file").read_text() == ""


def test_create_opens_what_is_there_unless_exclusive(world):
    client = world.client()
    (world.share / "file").write_text("old")
    with pytest.raises(FileExistsError):
        client.create(b"file", c.O_RDWR | c.O_EXCL)
    assert client.read(client.create(b"file", c.O_RDWR)) == b"old"
    client.create(b"file", c.O_RDWR | c.O_TRUNC)
    assert (world.share / "file").read_text() == ""


def test_modes_are_the_guests_whatever_our_umask_is(world):
    client = world.client()
    before = os.umask(0o077)
    try:
        client.create(b"file", mode=0o666)
        client.mkdir(b"dir", 0o1777)
        client.mknod(b"node", stat.S_IFREG | 0o604)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in world.share.iterdir()}
    assert modes == {"file": 0o666, "dir": 0o1777, "node": 0o604}


def test_walking_stops_where_a_name_is_missing(world):
    client = world.client()
    (world.share / "a" / "b").mkdir(parents=True)
    (world.share / "a" / "b" / "c").write_text("")
    body = client.ask(m.TWALK, "II", c.ROOT, 50, after=c.names(b"a", b"b", b"nothing", b"c"))
    assert unpack_from("<H", body)[0] == 2 and len(body) == 2 + 2 * 13
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        client.getattr(50)
    with pytest.raises(FileNotFoundError):
        client.walk(b"nothing", b"a")
    with pytest.raises(NotADirectoryError):
        client.walk(b"d", fid=client.walk(b"a", b"b", b"c"))
    moved = client.walk(b"a", new=50)
    assert client.walk(b"b", fid=moved, new=moved) == moved  # a fid may move itself
    assert client.list(moved) == [b"c"]


def test_fids_of_the_same_file_have_the_same_qid(world):
    client = world.client()
    (world.share / "a").write_text("")
    os.link(world.share / "a", world.share / "b")
    (world.share / "d").mkdir()
    os.symlink("a", world.share / "l")
    qids = {name: client.getattr(client.walk(name))[1:4] for name in (b"a", b"b", b"d", b"l")}
    assert qids[b"a"] == qids[b"b"] != qids[b"d"]
    assert [qids[name][0] for name in (b"a", b"d", b"l")] == [0, 0x80, 0x02]
    # what Linux takes as "do not cache"
    assert {qid[1] for qid in qids.values()} == {0}
    fid = client.lopen(client.walk())
    assert {entry[3]: entry[0] for entry in client.readdir(fid) if entry[3] in qids} == qids


def test_a_directory_is_read_in_pieces_from_any_offset(world):
    client = world.client()
    wanted = {b"%04d" % number + b"x" * (number % 60) for number in range(700)}
    for name in wanted:
        (world.share / os.fsdecode(name)).write_text("")
    fid = client.lopen(client.walk())
    entries, offset = [], 0
    while piece := client.readdir(fid, offset, 999):
        entries += piece
        offset = piece[-1][1]
    names = [entry[3] for entry in entries]
    assert set(names) == wanted | {b".", b".."} and len(names) == len(set(names))
    middle = client.readdir(fid, entries[350][1], 999)
    assert [entry[3] for entry in middle] == names[351 : 351 + len(middle)]
    again = client.readdir(fid, 0, 999)
    assert [entry[3] for entry in again] == names[: len(again)]
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        client.readdir(fid, 0, 20)
    with pytest.raises(NotADirectoryError):
        client.readdir(client.lopen(client.walk(b"0000")))
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        client.readdir(client.walk())


def test_attributes_are_the_files(world):
    client = world.client()
    path = world.share / "file"
    path.write_bytes(bytes(5000))
    os.utime(path, ns=(1_000_000_007, -5))
    status = path.stat()
    found = client.getattr(client.walk(b"file"))
    assert found[0] == 0x7FF
    assert found[4:] == (
        status.st_mode, 0, 0, 1, 0, 5000, status.st_blksize, status.st_blocks,
        1, 7, (1 << 64) - 1, 999_999_995, status.st_ctime_ns // 10**9, status.st_ctime_ns % 10**9,
        0, 0, 0, 0,
    )  # fmt: skip


def test_attributes_change(world):
    client = world.client()
    path = world.share / "file"
    path.write_text("0123456789")
    fid = client.walk(b"file")
    client.setattr(fid, c.MODE, mode=0o100600)
    client.setattr(fid, c.SIZE, size=4)
    client.setattr(fid, c.ATIME | c.ATIME_SET | c.MTIME | c.MTIME_SET, atime=(5, 6), mtime=(-7, 8))
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), path.read_text()) == (0o600, "0123")
    assert (status.st_mtime_ns) == -7 * 10**9 + 8
    client.setattr(fid, c.ATIME | c.ATIME_SET, atime=(9, 1))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (9 * 10**9 + 1, -7 * 10**9 + 8)
    client.setattr(fid, c.MTIME)
    assert path.stat().st_atime_ns == 9 * 10**9 + 1 and path.stat().st_mtime_ns > 10**18
    client.setattr(fid, c.ATIME | c.MTIME | c.CTIME)
    assert path.stat().st_atime_ns > 10**18
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        client.setattr(fid, c.MTIME | c.MTIME_SET, mtime=(0, 10**9))
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        client.setattr(fid, c.SIZE, size=1 << 63)


def test_an_open_file_is_truncated_even_if_its_mode_would_not_let_it(world):
    client = world.client()
    fid = client.create(b"file", mode=0o444)
    client.write(fid, b"123456")
    client.setattr(fid, c.SIZE, size=3)
    assert (world.share / "file").read_text() == "123"


def test_the_times_of_a_symbolic_link_are_its_own(world):
    client = world.client()
    (world.share / "file").write_text("")
    client.symlink(b"link", b"file")
    before = (world.share / "file").stat().st_mtime_ns
    client.setattr(client.walk(b"link"), c.MTIME | c.MTIME_SET, mtime=(1, 2))
    assert (world.share / "link").lstat().st_mtime_ns == 10**9 + 2
    assert (world.share / "file").stat().st_mtime_ns == before


def test_names_come_and_go(world):
    client = world.client()
    client.mkdir(b"d")
    directory = client.walk(b"d")
    client.create(b"file")
    client.link(client.walk(b"file"), b"hard", directory)
    client.rename(b"file", b"moved", c.ROOT, directory)
    assert client.list(directory) == [b"hard", b"moved"]
    assert (world.share / "d" / "hard").samefile(world.share / "d" / "moved")
    client.unlink(b"moved", fid=directory)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        client.unlink(b"d", c.REMOVEDIR)
    client.unlink(b"hard", fid=directory)
    with pytest.raises(IsADirectoryError):
        client.unlink(b"d")
    client.unlink(b"d", c.REMOVEDIR)
    assert client.list() == []
    client.symlink(b"link", b"../anything")
    assert client.readlink(client.walk(b"link")) == b"../anything"
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        client.readlink(client.walk())


def test_a_removed_file_lives_as_long_as_its_fid(world):
    client = world.client()
    fid = client.create(b"file")
    client.unlink(b"file")
    client.write(fid, b"still here")
    assert client.read(fid) == b"still here" and client.getattr(fid)[7] == 0


def test_the_file_system_is_the_hosts(world):
    client = world.client()
    kind, size, blocks, *_, longest = unpack_from("<IIQQQQQQI", client.ask(m.TSTATFS, "I", 0))
    host = os.statvfs(world.share)
    assert (kind, size, blocks, longest) == (0x01021997, host.f_bsize, host.f_blocks, 255)


def test_locks_are_granted_and_nobody_holds_one(world):
    client = world.client()
    fid = client.create(b"file")
    lock = pack("<IBIQQI", fid, 1, 0, 0, 100, 42) + c.text(b"tiny")
    assert client.call(m.TLOCK, lock) == b"\0"
    body = pack("<IBQQI", fid, 1, 5, 100, 42) + c.text(b"tiny")
    assert client.call(m.TGETLOCK, body) == b"\2" + body[5:]


@pytest.mark.parametrize(
    "kind", [m.TAUTH, m.TXATTRWALK, m.TXATTRCREATE, m.TRENAME, 0, 6, 77, 108 - 2, 113, 255]
)
def test_what_there_is_not_is_not_supported(world, kind):
    with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
        world.client().call(kind, bytes(40))


def test_remove_clunks_though_it_fails(world):
    client = world.client()
    fid = client.create(b"file")
    with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
        client.ask(m.TREMOVE, "I", fid)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        client.clunk(fid)
    assert (world.share / "file").exists()


def test_flush_comes_too_late_for_anything(world):
    assert world.client().ask(m.TFLUSH, "H", 3) == b""


def test_the_tag_is_the_configuration(world):
    driver = world.client().driver
    assert bytes(driver.read(0x100 + at, 1) for at in range(8)) == b"\x06\0/share"
    assert driver.offered() & 0xFF_FFFF == 1
    assert driver.read(8) == 9


def test_owners_as_root_are_the_hosts(world):
    owners = Owners(0, 0)
    assert owners.seen(5, 6) == (5, 6)
    assert owners.meant(7, None) == (7, -1)
    with pytest.raises(PermissionError):
        owners.meant(0xFFFF_FFFF, None)


def test_owners_of_a_user_are_root_and_nobody(world):
    owners = Owners(1000, 100)
    assert owners.seen(1000, 100) == (0, 0)
    assert owners.seen(0, 0) == (65534, 65534)
    assert owners.meant(0, 0) == (1000, 100) and owners.meant(None, None) == (-1, -1)
    with pytest.raises(PermissionError):
        owners.meant(1000, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_gives_a_guests_users_their_files(world):
    client = world.client()
    client.attach(20, uid=1234)
    client.lcreate(client.walk(fid=20), b"file", gid=99)
    client.mkdir(b"d", fid=20)
    client.symlink(b"l", b"x", fid=20)
    client.setattr(client.walk(b"file"), c.GID, gid=98)
    owners = {path.name: path.lstat().st_uid for path in world.share.iterdir()}
    assert owners == {"file": 1234, "d": 1234, "l": 1234}
    assert (world.share / "file").stat().st_gid == 98


def test_a_state_is_restored(world):
    client = world.client()
    (world.share / "d").mkdir()
    fid = client.walk(b"d")
    opened = client.create(b"file")
    client.write(opened, b"before")
    held = client.walk(b"file")
    gone = client.create(b"gone")
    client.unlink(b"gone")
    state = client.device.state
    assert [each.path for each in state.fids] == [b"", b"d", b"file", b"file", None]
    twin = world.client(attach=False)
    twin.session.restore(state)
    assert twin.device.state == state
    assert twin.read(opened) == b"before" and twin.write(opened, b"after") == 5
    twin.mkdir(b"inside", fid=fid)
    assert (world.share / "d" / "inside").is_dir()
    twin.lopen(held)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        twin.getattr(gone)
    twin.clunk(gone)


def test_a_reset_gives_all_descriptors_back(world):
    before = len(os.listdir("/proc/self/fd"))
    client = world.client()
    for _ in range(20):
        client.walk()
    client.driver.write(0x70, 0)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    client.driver.start()
    client.version()
    client.attach()
