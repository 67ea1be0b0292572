"""A driver's side of 9P2000.L, to a device over a folder: well-behaved, unless told otherwise."""

import errno
import os
from struct import calcsize, pack, unpack_from

from auberge.machine.share import messages as m
from auberge.machine.share.folder import Folder
from auberge.machine.share.owners import Owners
from auberge.machine.share.session import Session
from auberge.machine.virtio.ninep import Counts, Ninep
from tests.machine.devices.driver import Driver, Memory

ROOT = 0
O_RDONLY, O_WRONLY, O_RDWR, O_EXCL, O_TRUNC, O_APPEND = 0, 1, 2, 0o200, 0o1000, 0o2000
MODE, UID, GID, SIZE, ATIME, MTIME, CTIME, ATIME_SET, MTIME_SET = (1 << bit for bit in range(9))
REMOVEDIR = 0x200
MSIZE = 0x8000


def text(data):
    return pack("<H", len(data)) + data


def names(*parts):
    return pack("<H", len(parts)) + b"".join(map(text, parts))


def ours():
    return Owners(os.geteuid(), os.getegid())


class Client:
    """Is attached to the folder `path`, whose root is fid 0."""

    def __init__(self, path, read_only=False, fids=64, owners=None, attach=True):
        owners = owners or ours()
        self.folder = Folder(str(path), read_only, owners)
        self.session = Session(self.folder, owners, fids)
        self.counts = Counts()
        self.device = Ninep(self.session, b"/share", self.counts, lambda: 0)
        self.driver = Driver(self.device, Memory(0x40000))
        self.next_fid = 1
        if attach:
            self.version()
            self.attach()

    def close(self):
        self.session.close()
        self.folder.close()

    def raw(self, message, room=MSIZE):
        """The answer to the bytes of one message."""
        written, data = self.driver.rings[0].request([message], [room])
        return data[:written]

    def call(self, kind, body=b"", room=MSIZE, tag=7):
        """The body of the answer; raises OSError if it is Rlerror."""
        answer = self.raw(pack("<IBH", 7 + len(body), kind, tag) + body, room)
        size, answered, its_tag = unpack_from("<IBH", answer)
        assert size == len(answer) and its_tag == tag
        if answered == m.RLERROR:
            (number,) = unpack_from("<I", answer, 7)
            assert size == 11
            raise OSError(number, os.strerror(number))
        assert answered == kind + 1
        return answer[7:]

    def ask(self, kind, layout, *values, after=b"", **options):
        return self.call(kind, pack("<" + layout, *values) + after, **options)

    # -- one method for each message ------------------------------------------------------------

    def version(self, msize=MSIZE, version=b"9P2000.L"):
        body = self.call(m.TVERSION, pack("<I", msize) + text(version), tag=0xFFFF)
        return unpack_from("<I", body)[0], body[6:]

    def attach(self, fid=ROOT, uid=0, tree=b""):
        body = pack("<II", fid, m.NOFID) + text(b"") + text(tree) + pack("<I", uid)
        return unpack_from("<BIQ", self.call(m.TATTACH, body))

    def walk(self, *parts, fid=ROOT, new=None):
        """A new fid for what these names lead to; FileNotFoundError if that is not all the way."""
        if new is None:
            new, self.next_fid = self.next_fid, self.next_fid + 1
        body = self.ask(m.TWALK, "II", fid, new, after=names(*parts))
        if unpack_from("<H", body)[0] < len(parts):
            raise FileNotFoundError(errno.ENOENT, "the walk ends before the last name")
        return new

    def lopen(self, fid, flags=O_RDONLY):
        self.ask(m.TLOPEN, "II", fid, flags)
        return fid

    def lcreate(self, fid, name, flags=O_RDWR, mode=0o644, gid=0):
        body = pack("<I", fid) + text(name) + pack("<III", flags, mode, gid)
        self.call(m.TLCREATE, body)
        return fid

    def create(self, name, *rest, **options):
        return self.lcreate(self.walk(), name, *rest, **options)

    def read(self, fid, count=4096, offset=0, **options):
        body = self.ask(m.TREAD, "IQI", fid, offset, count, **options)
        assert unpack_from("<I", body)[0] == len(body) - 4
        return body[4:]

    def write(self, fid, data, offset=0):
        body = self.ask(m.TWRITE, "IQI", fid, offset, len(data), after=data)
        return unpack_from("<I", body)[0]

    def contents(self, *parts):
        return self.read(self.lopen(self.walk(*parts)))

    def clunk(self, fid):
        self.ask(m.TCLUNK, "I", fid)

    def getattr(self, fid):
        """valid, qid (3), mode, uid, gid, nlink, rdev, size, blksize, blocks, times..."""
        return unpack_from("<QBIQIIIQQQQQQQQQQQQQQQ", self.ask(m.TGETATTR, "IQ", fid, 0x7FF))

    def setattr(self, fid, valid, mode=0, uid=0, gid=0, size=0, atime=(0, 0), mtime=(0, 0)):
        self.ask(m.TSETATTR, "IIIIIQqQqQ", fid, valid, mode, uid, gid, size, *atime, *mtime)

    def readdir(self, fid, offset=0, count=8000):
        """[(qid, offset, type, name)]"""
        body = self.ask(m.TREADDIR, "IQI", fid, offset, count)
        assert unpack_from("<I", body)[0] == len(body) - 4 <= count
        at, found = 4, []
        while at < len(body):
            *qid, offset, kind, size = unpack_from("<BIQQBH", body, at)
            at += calcsize("<BIQQBH") + size
            found.append((tuple(qid), offset, kind, body[at - size : at]))
        return found

    def list(self, fid=ROOT):
        fid = self.lopen(self.walk(fid=fid))
        return sorted(entry[3] for entry in self.readdir(fid) if entry[3] not in (b".", b".."))

    def mkdir(self, name, mode=0o755, fid=ROOT):
        self.call(m.TMKDIR, pack("<I", fid) + text(name) + pack("<II", mode, 0))

    def symlink(self, name, target, fid=ROOT):
        self.call(m.TSYMLINK, pack("<I", fid) + text(name) + text(target) + pack("<I", 0))

    def readlink(self, fid):
        return self.ask(m.TREADLINK, "I", fid)[2:]

    def link(self, fid, name, directory=ROOT):
        self.call(m.TLINK, pack("<II", directory, fid) + text(name))

    def mknod(self, name, mode, major=0, minor=0, fid=ROOT):
        body = pack("<I", fid) + text(name) + pack("<IIII", mode, major, minor, 0)
        self.call(m.TMKNOD, body)

    def rename(self, name, new_name, fid=ROOT, to=ROOT):
        self.call(m.TRENAMEAT, pack("<I", fid) + text(name) + pack("<I", to) + text(new_name))

    def unlink(self, name, flags=0, fid=ROOT):
        self.call(m.TUNLINKAT, pack("<I", fid) + text(name) + pack("<I", flags))

    def fsync(self, fid):
        self.ask(m.TFSYNC, "II", fid, 0)
