"""A session of 9P2000.L: what the driver's requests do to a folder, and their answers."""

import os
import stat
from collections.abc import Callable
from errno import (
    EBADF,
    EINVAL,
    EMFILE,
    EMSGSIZE,
    ENOENT,
    ENOTDIR,
    EOPNOTSUPP,
    EPERM,
    EPROTO,
    ESTALE,
)
from struct import Struct
from typing import NamedTuple

from auberge.machine.share import messages as m
from auberge.machine.share.directory import Reader
from auberge.machine.share.folder import NOW, Change, Folder
from auberge.machine.share.messages import QID, READ, U16, U32, Fields, Qid, refused
from auberge.machine.share.owners import Owner, Owners

VERSION = b"9P2000.L"
LEAST_MSIZE = 4096
MOST_MSIZE = 512 << 10
MOST_NAMES = 16  # of one walk: MAXWELEM
MOST_ENTRIES = 64 << 10  # bytes of a directory at a time

V9FS_MAGIC = 0x0102_1997  # of statfs(2)

# Flags of Tlopen and Tlcreate: those of open(2) on most architectures
_ACCESS = 0o3
_ACCESSES = {0: os.O_RDONLY, 1: os.O_WRONLY, 2: os.O_RDWR}
_EXCL = 0o200
_FLAGS = ((0o1000, os.O_TRUNC), (0o2000, os.O_APPEND), (0o10000, os.O_DSYNC))
_SYNC = 0o4010000

# Tsetattr's `valid`
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _CTIME, _ATIME_SET, _MTIME_SET = (
    1 << bit for bit in range(9)
)

_BASIC = 0x7FF  # Tgetattr's mask: all that stat(2) has
_AT_REMOVEDIR = 0x200
_UNLOCKED = 2  # F_UNLCK
_TYPES = {stat.S_IFDIR: 0x80, stat.S_IFLNK: 0x02}  # of a qid; 0 for all others
_ENTRY_TYPES = {4: 0x80, 10: 0x02}  # by DT_DIR and DT_LNK

_LOPEN = Struct("<II")  # fid, flags
_CREATE = Struct("<III")  # flags, mode, gid
_MKNOD = Struct("<IIII")  # mode, major, minor, gid
_PAIR = Struct("<II")
_GETATTR = Struct("<IQ")
_SETATTR = Struct("<IIIIIQqQqQ")  # fid, valid, mode, uid, gid, size, times: seconds, nanoseconds
_WALK = Struct("<IIH")
_ATTR = Struct("<QBIQ" + "III" + "QQQQQ" + "QQQQQQQQ" + "QQ")
_STATFS = Struct("<IIQQQQQQI")
_DIRENT = Struct("<BIQQBH")  # qid, offset, type, length of the name
_LOCK = Struct("<IBIQQI")  # fid, type, flags, start, length, proc_id
_GETLOCK = Struct("<BQQI")

_MOST_OFFSET = (1 << 63) - 1


class FidState(NamedTuple):
    """A fid: where in the folder its file is (None: nowhere), how it was opened (-1: it is not),
    and for whom."""

    fid: int
    path: bytes | None
    flags: int
    uid: int


class SessionState(NamedTuple):
    """What the driver has negotiated (0: nothing yet), and its fids."""

    msize: int = 0
    fids: tuple[FidState, ...] = ()


RESET = SessionState()


class Fid:
    """What the driver calls by a number: a file, held or (unless `flags` is -1) open."""

    __slots__ = ("descriptor", "flags", "uid")

    def __init__(self, descriptor: int, uid: int, flags: int = -1) -> None:
        self.descriptor = descriptor
        self.uid = uid
        self.flags = flags

    @property
    def is_writable(self) -> bool:
        return self.flags >= 0 and bool(self.flags & (os.O_WRONLY | os.O_RDWR))


class Session:
    """Answers requests about `folder`, with at most `most_fids` fids, each a descriptor of ours.

    `answer` is for all requests but Tread and Twrite, whose data is not in the message. Whatever
    the message, nothing is raised but OSError.
    """

    def __init__(self, folder: Folder, owners: Owners, most_fids: int) -> None:
        self._folder = folder
        self._owners = owners
        self._most_fids = most_fids
        self._fids: dict[int, Fid] = {}
        self._devices: dict[int, int] = {}
        self._reader = Reader(MOST_ENTRIES)
        self.msize = 0
        self._answers: dict[int, Callable[[Fields, int], bytes]] = {
            m.TATTACH: self._attach,
            m.TWALK: self._walk,
            m.TGETATTR: self._getattr,
            m.TCLUNK: self._clunk,
            m.TLOPEN: self._lopen,
            m.TREADDIR: self._readdir,
            m.TSETATTR: self._setattr,
            m.TLCREATE: self._lcreate,
            m.TUNLINKAT: self._unlinkat,
            m.TRENAMEAT: self._renameat,
            m.TMKDIR: self._mkdir,
            m.TSYMLINK: self._symlink,
            m.TREADLINK: self._readlink,
            m.TLINK: self._link,
            m.TMKNOD: self._mknod,
            m.TSTATFS: self._statfs,
            m.TFSYNC: self._fsync,
            m.TLOCK: self._lock,
            m.TGETLOCK: self._getlock,
            m.TFLUSH: self._flush,
            m.TREMOVE: self._remove,
        }

    # -- state ----------------------------------------------------------------------------------

    @property
    def state(self) -> SessionState:
        fids = []
        for number, fid in self._fids.items():
            path = None if fid.descriptor < 0 else self._folder.path_to(fid.descriptor)
            fids.append(FidState(number, path, fid.flags, fid.uid))
        return SessionState(self.msize, tuple(fids))

    def restore(self, state: SessionState) -> None:
        """Be in this state. A fid whose file is gone answers ESTALE, and can be clunked."""
        for fid in self._fids.values():
            _close(fid.descriptor)
        self._fids = {each.fid: self._restored(each) for each in state.fids}
        self.msize = state.msize

    def close(self) -> None:
        """Give back all descriptors but the folder's own."""
        self.restore(RESET)

    def _restored(self, state: FidState) -> Fid:
        try:
            descriptor = self._found(state)
        except OSError:
            descriptor = -1
        return Fid(descriptor, state.uid, state.flags)

    def _found(self, state: FidState) -> int:
        if state.path is None:
            raise refused(ESTALE)
        held = os.dup(self._folder.root)
        try:
            for name in filter(None, state.path.split(b"/")):
                below, _ = self._folder.child(held, name)
                os.close(held)
                held = below
            if state.flags >= 0:
                opened = self._folder.open(held, state.flags & ~os.O_TRUNC)
                os.close(held)
                held = opened
        except OSError:
            os.close(held)
            raise
        return held

    # -- requests -------------------------------------------------------------------------------

    def answer(self, kind: int, body: bytes, room: int) -> bytes:
        """The body of the answer to a message; OSError if it failed.

        It is within `room` bytes where it can be less than all.
        """
        fields = Fields(body)
        if kind == m.TVERSION:
            return self._version(fields)
        if not self.msize:
            raise OSError(EPROTO, "no version is agreed on yet")
        handle = self._answers.get(kind)
        if handle is None:
            raise refused(EOPNOTSUPP)
        return handle(fields, room)

    def read(self, header: bytes, views: list[memoryview]) -> int:
        """Carry out a Tread into `views`, which are not longer than it allows; bytes read."""
        fid, offset = self._data(header)
        return os.preadv(fid.descriptor, views, offset) if views else 0

    def write(self, header: bytes, views: list[memoryview]) -> int:
        """Carry out a Twrite of what is in `views`; bytes written."""
        fid, offset = self._data(header)
        if not fid.is_writable:
            raise refused(EBADF)
        return os.pwritev(fid.descriptor, views, offset) if views else 0

    def _data(self, header: bytes) -> tuple[Fid, int]:
        if not self.msize:
            raise OSError(EPROTO, "no version is agreed on yet")
        number, offset, _ = Fields(header).take(READ)
        fid = self._fid(number)
        if fid.flags < 0:
            raise refused(EBADF)
        return fid, _file_offset(offset)

    # -- fids -----------------------------------------------------------------------------------

    def _fid(self, number: int) -> Fid:
        fid = self._fids.get(number)
        if fid is None:
            raise refused(EBADF)
        if fid.descriptor < 0:
            raise refused(ESTALE)
        return fid

    def _check_new(self, number: int) -> None:
        if number in self._fids or number == m.NOFID:
            raise OSError(EINVAL, "the fid is in use")
        if len(self._fids) >= self._most_fids:
            raise refused(EMFILE)

    def _qid(self, status: os.stat_result) -> bytes:
        return QID.pack(*self._qid_of(status))

    def _qid_of(self, status: os.stat_result) -> Qid:
        """Version 0 has Linux read and write files past its cache, so that both sides see one."""
        device = self._devices.setdefault(status.st_dev, len(self._devices))
        path = (status.st_ino ^ device << 48) & (1 << 64) - 1
        return Qid(_TYPES.get(stat.S_IFMT(status.st_mode), 0), 0, path)

    def _owner(self, fid: Fid, gid: int) -> Owner:
        return Owner(fid.uid, gid)

    # -- the session ----------------------------------------------------------------------------

    def _version(self, fields: Fields) -> bytes:
        (msize,) = fields.take(U32)
        version = fields.text()
        if msize < LEAST_MSIZE:
            raise refused(EMSGSIZE)
        self.restore(RESET)
        known = version == VERSION
        msize = min(msize, MOST_MSIZE)
        if known:
            self.msize = msize
        return U32.pack(msize) + _text(VERSION if known else b"unknown")

    def _attach(self, fields: Fields, room: int) -> bytes:
        number, _ = fields.take(_PAIR)
        fields.text()  # the user's name; their number follows
        tree = fields.text()
        (uid,) = fields.take(U32)
        self._check_new(number)
        if tree not in (b"", b"/"):
            raise refused(ENOENT)
        self._fids[number] = Fid(os.dup(self._folder.root), uid)
        return self._qid(os.fstat(self._folder.root))

    def _flush(self, fields: Fields, room: int) -> bytes:
        return b""  # each request is answered before the next is looked at

    def _clunk(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        fid = self._fids.pop(number, None)
        if fid is None:
            raise refused(EBADF)
        _close(fid.descriptor)
        return b""

    def _remove(self, fields: Fields, room: int) -> bytes:
        # "The fid is clunked even if the remove fails"; Linux asks for Tunlinkat first.
        self._clunk(fields, room)
        raise refused(EOPNOTSUPP)

    # -- finding --------------------------------------------------------------------------------

    def _walk(self, fields: Fields, room: int) -> bytes:
        number, new, count = fields.take(_WALK)
        if count > MOST_NAMES:
            raise OSError(EINVAL, "a walk of more than 16 names")
        names = [fields.name() for _ in range(count)]
        fid = self._fid(number)
        if new != number:
            self._check_new(new)
        if count:
            self._folder.check_inside(fid.descriptor)
        held = os.dup(fid.descriptor)
        qids: list[bytes] = []
        try:
            for name in names:
                below, status = self._folder.child(held, name)
                os.close(held)
                held = below
                qids.append(self._qid(status))
        except OSError:
            # "If the first element cannot be walked, Rerror is returned"; else Rwalk says how far
            os.close(held)
            if not qids:
                raise
            return U16.pack(len(qids)) + b"".join(qids)
        if new == number:
            os.close(fid.descriptor)
        self._fids[new] = Fid(held, fid.uid)
        return U16.pack(count) + b"".join(qids)

    def _readdir(self, fields: Fields, room: int) -> bytes:
        number, offset, count = fields.take(READ)
        fid = self._fid(number)
        if fid.flags < 0:
            raise refused(EBADF)
        status = os.fstat(fid.descriptor)
        if not stat.S_ISDIR(status.st_mode):
            raise refused(ENOTDIR)
        self._folder.check_inside(fid.descriptor)
        left = min(count, room - U32.size)
        is_root = os.path.samestat(status, os.fstat(self._folder.root))
        device = self._devices.setdefault(status.st_dev, len(self._devices)) << 48
        found: list[bytes] = []
        for entry in self._reader.read(fid.descriptor, _file_offset(offset), max(left, 512)):
            left -= _DIRENT.size + len(entry.name)
            if left < 0:
                break
            inode = status.st_ino if is_root and entry.name == b".." else entry.inode
            kind = _ENTRY_TYPES.get(entry.type, 0)
            path = (inode ^ device) & (1 << 64) - 1
            found.append(
                _DIRENT.pack(kind, 0, path, entry.offset, entry.type, len(entry.name)) + entry.name
            )
        if left < 0 and not found:
            raise OSError(EINVAL, "no room for one entry")
        data = b"".join(found)
        return U32.pack(len(data)) + data

    def _readlink(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        fid = self._fid(number)
        if not stat.S_ISLNK(os.fstat(fid.descriptor).st_mode):
            raise refused(EINVAL)
        return _text(os.readlink(b"", dir_fd=fid.descriptor))

    # -- attributes -----------------------------------------------------------------------------

    def _getattr(self, fields: Fields, room: int) -> bytes:
        number, _ = fields.take(_GETATTR)
        status = os.fstat(self._fid(number).descriptor)
        owner = self._owners.seen(status.st_uid, status.st_gid)
        times = (
            part
            for time in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
            for part in ((time // 10**9) & (1 << 64) - 1, time % 10**9)
        )
        return _ATTR.pack(
            _BASIC, *self._qid_of(status), status.st_mode, *owner, status.st_nlink,
            status.st_rdev & 0xFFFF_FFFF, status.st_size, status.st_blksize, status.st_blocks,
            *times, 0, 0, 0, 0,
        )  # fmt: skip

    def _setattr(self, fields: Fields, room: int) -> bytes:
        number, valid, mode, uid, gid, size, *times = fields.take(_SETATTR)
        fid = self._fid(number)
        self._folder.change(
            fid.descriptor,
            Change(
                mode if valid & _MODE else None,
                uid if valid & _UID else None,
                gid if valid & _GID else None,
                _file_offset(size) if valid & _SIZE else None,
                _time(valid & _ATIME, valid & _ATIME_SET, *times[:2]),
                _time(valid & _MTIME, valid & _MTIME_SET, *times[2:]),
            ),
            fid.is_writable,
        )
        return b""

    def _statfs(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        status = os.fstatvfs(self._fid(number).descriptor)
        return _STATFS.pack(
            V9FS_MAGIC, status.f_bsize, status.f_blocks, status.f_bfree, status.f_bavail,
            status.f_files, status.f_ffree, status.f_fsid & (1 << 64) - 1, m.LONGEST_NAME,
        )  # fmt: skip

    # -- opening and creating -------------------------------------------------------------------

    def _lopen(self, fields: Fields, room: int) -> bytes:
        number, flags = fields.take(_LOPEN)
        fid = self._fid(number)
        if fid.flags >= 0:
            raise OSError(EINVAL, "the fid is open")
        host_flags = _open_flags(flags)
        opened = self._folder.open(fid.descriptor, host_flags)
        os.close(fid.descriptor)
        fid.descriptor, fid.flags = opened, host_flags
        return self._qid(os.fstat(opened)) + U32.pack(0)

    def _lcreate(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        name = fields.name()
        flags, mode, gid = fields.take(_CREATE)
        fid = self._fid(number)
        if fid.flags >= 0:
            raise OSError(EINVAL, "the fid is open")
        host_flags = _open_flags(flags)
        opened = self._folder.create(
            fid.descriptor, name, host_flags, bool(flags & _EXCL), mode, self._owner(fid, gid)
        )
        os.close(fid.descriptor)
        fid.descriptor, fid.flags = opened, host_flags
        return self._qid(os.fstat(opened)) + U32.pack(0)

    def _mkdir(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        name = fields.name()
        mode, gid = fields.take(_PAIR)
        fid = self._fid(number)
        owner = self._owner(fid, gid)
        return self._qid(self._folder.make_directory(fid.descriptor, name, mode, owner))

    def _symlink(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        name = fields.name()
        target = fields.path()
        (gid,) = fields.take(U32)
        fid = self._fid(number)
        owner = self._owner(fid, gid)
        return self._qid(self._folder.make_symlink(fid.descriptor, name, target, owner))

    def _mknod(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        name = fields.name()
        mode, _, _, gid = fields.take(_MKNOD)
        fid = self._fid(number)
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise refused(EPERM)
        created = self._folder.create(
            fid.descriptor, name, os.O_WRONLY, True, mode, self._owner(fid, gid)
        )
        try:
            return self._qid(os.fstat(created))
        finally:
            os.close(created)

    # -- names ----------------------------------------------------------------------------------

    def _link(self, fields: Fields, room: int) -> bytes:
        directory, number = fields.take(_PAIR)
        name = fields.name()
        self._folder.make_link(self._fid(number).descriptor, self._fid(directory).descriptor, name)
        return b""

    def _renameat(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        name = fields.name()
        (to,) = fields.take(U32)
        new_name = fields.name()
        self._folder.rename(self._fid(number).descriptor, name, self._fid(to).descriptor, new_name)
        return b""

    def _unlinkat(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        name = fields.name()
        (flags,) = fields.take(U32)
        self._folder.remove(self._fid(number).descriptor, name, bool(flags & _AT_REMOVEDIR))
        return b""

    # -- the rest -------------------------------------------------------------------------------

    def _fsync(self, fields: Fields, room: int) -> bytes:
        number, only_data = fields.take(_PAIR)
        fid = self._fid(number)
        if fid.flags < 0:
            raise refused(EBADF)
        if only_data:
            os.fdatasync(fid.descriptor)
        else:
            os.fsync(fid.descriptor)
        return b""

    def _lock(self, fields: Fields, room: int) -> bytes:
        """Granted: locks are among the guest's programs, whose kernel has asked itself before."""
        self._fid(fields.take(_LOCK)[0])
        return b"\0"

    def _getlock(self, fields: Fields, room: int) -> bytes:
        (number,) = fields.take(U32)
        _, start, length, process = fields.take(_GETLOCK)
        client = fields.text()
        self._fid(number)
        return _GETLOCK.pack(_UNLOCKED, start, length, process) + _text(client)


def _open_flags(flags: int) -> int:
    """The host's flags for those of the protocol; what is only advice is left out."""
    if flags & _ACCESS not in _ACCESSES:
        raise refused(EINVAL)
    ours = _ACCESSES[flags & _ACCESS]
    for theirs, flag in _FLAGS:
        if flags & theirs:
            ours |= flag
    if flags & _SYNC == _SYNC:
        ours |= os.O_SYNC
    return ours


def _file_offset(offset: int) -> int:
    if offset > _MOST_OFFSET:
        raise refused(EINVAL)
    return offset


def _time(is_changed: int, is_given: int, seconds: int, nanoseconds: int) -> int | None:
    if not is_changed:
        return None
    if not is_given:
        return NOW
    if nanoseconds >= 10**9:
        raise refused(EINVAL)
    return seconds * 10**9 + nanoseconds


def _text(data: bytes) -> bytes:
    return U16.pack(len(data)) + data


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
