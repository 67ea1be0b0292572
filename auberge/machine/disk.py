"""Disks: what a guest's block device is on the host.

What is read may be a raw disk or an image of another program; what is written, raw or an overlay.
"""

import fcntl
import os
import stat
from collections.abc import Sequence
from errno import EISDIR, EOPNOTSUPP, EROFS
from typing import Literal, NamedTuple, Protocol

from auberge.image.disk_format import FORMATS, HEAD_SIZE, RAW, image_format
from auberge.machine.host_file import HostFile
from auberge.machine.overlay import (
    LARGEST,
    Base,
    Overlay,
    file_size,
    header_of,
    read_header,
    write_header,
)
from auberge.refusal import Refusal, reason

SECTOR = 512

Mode = Literal["overlay", "temporary", "rw", "ro"]


class Disk(Protocol):
    """`size` bytes, a multiple of 512; callers keep to them. Methods may raise OSError."""

    @property
    def size(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    def readv(self, offset: int, views: Sequence[memoryview]) -> None: ...
    def writev(self, offset: int, views: Sequence[memoryview]) -> None: ...
    def flush(self) -> None:
        """Return when all that was written survives a loss of power."""
        ...

    def discard(self, offset: int, size: int) -> None: ...
    def zero(self, offset: int, size: int) -> None: ...
    def close(self) -> None: ...


class ReadOnly:
    """A disk over what can only be read."""

    __slots__ = ("size", "readv", "close")

    read_only = True

    def __init__(self, base: Base) -> None:
        self.size = base.size
        self.readv = base.readv
        self.close = base.close

    def writev(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fail."""
        raise OSError(EROFS, os.strerror(EROFS))

    def flush(self) -> None:
        """Return at once."""

    def discard(self, offset: int, size: int) -> None:
        """Fail."""
        raise OSError(EROFS, os.strerror(EROFS))

    def zero(self, offset: int, size: int) -> None:
        """Fail."""
        raise OSError(EROFS, os.strerror(EROFS))


class _Original(NamedTuple):
    """A disk as the host has it, and what an overlay over it must agree with."""

    disk: Base
    mtime_ns: int
    format: str


def open_disk(path: str, mode: Mode = "overlay", format: str | None = None) -> Disk:
    """Open the disk image or block device at `path`; raises Refusal if that cannot be.

    "rw" writes through to it; "overlay" writes beside it, to PATH.overlay, and goes on from there
    the next time; "temporary" writes to a file without a name, which is gone with the machine; "ro"
    does not write. A disk that is written, itself or beside it, has one machine at a time.

    Without a `format` ("raw", "qcow2", "vmdk", "vdi" or "vhdx") the name says it: see disk_format.
    Formats other than raw are only read, so "rw" is not for them.
    """
    path = os.path.realpath(path)
    try:
        original = _open_original(path, mode, format)
    except OSError as error:
        raise _refusal(path, error, "unmount it if it is mounted") from error
    disk = original.disk
    if isinstance(disk, HostFile) and mode in ("rw", "ro"):
        return disk
    if mode == "ro":
        return ReadOnly(disk)
    try:
        if disk.size > LARGEST:
            raise Refusal(
                f"{path}: {disk.size} bytes are too many to be written beside; name the disk with"
                " ',ro', or ',rw' if it is raw"
            )
        return _open_overlay(path, original) if mode == "overlay" else _open_temporary(disk)
    except BaseException:
        disk.close()
        raise


def _open_original(path: str, mode: Mode, wish: str | None) -> _Original:
    fd = _open_file(path, mode)
    try:
        length = _length(path, fd)
        form = image_format(path, os.pread(fd, HEAD_SIZE, 0), wish)
        if form != RAW and mode == "rw":
            raise Refusal(
                f"{path}: a {form} image is only read; leave ',rw' out, and what the guest writes"
                f" goes to {path}.overlay"
            )
        if mode != "ro":
            _lock(path, fd, fcntl.LOCK_EX if mode == "rw" else fcntl.LOCK_SH)
        if form == RAW:
            _check_raw(path, length)
            return _Original(HostFile(fd, path, length, mode != "rw"), _mtime_ns(fd), RAW)
    except BaseException:
        os.close(fd)
        raise
    # only here: it brings modules that starting without an image does not need
    from auberge.image.disk_image import open_image

    image = open_image(path, fd, form, lambda name: _open_beside(path, name, mode))
    return _Original(image, image.mtime_ns, form)


def _open_file(path: str, mode: Mode) -> int:
    # Not blocking: a FIFO must be refused, not waited for.
    flags = (os.O_RDWR if mode == "rw" else os.O_RDONLY) | os.O_NONBLOCK
    try:
        if mode == "rw" and stat.S_ISBLK(os.stat(path).st_mode):
            flags |= os.O_EXCL  # open(2): fails while the block device is mounted
        return os.open(path, flags)
    except FileNotFoundError:
        raise Refusal(f"{path}: does not exist; make it with 'truncate -s 1G {path}'") from None
    except IsADirectoryError:
        raise _wrong_kind(path, "a directory") from None
    except PermissionError:
        what = "read and write" if mode == "rw" else "read"
        raise Refusal(f"{path}: permission denied; be a user who may {what} it") from None


def _open_beside(path: str, name: str, mode: Mode) -> int:
    """Another file of the image at `path`, in its folder; never through a link."""
    place = os.path.join(os.path.dirname(path), name)
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise _refusal(place, error, f"it is a part of {path}") from error
    try:
        _length(place, fd)
        if mode != "ro":
            _lock(place, fd, fcntl.LOCK_SH)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _length(path: str, fd: int) -> int:
    kind = os.fstat(fd).st_mode
    if stat.S_ISDIR(kind):
        raise _wrong_kind(path, "a directory")
    if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
        raise _wrong_kind(path, "neither a file nor a block device")
    return os.lseek(fd, 0, os.SEEK_END)


def _check_raw(path: str, size: int) -> None:
    if size == 0:
        raise Refusal(f"{path}: is empty; give it a size with 'truncate -s 1G {path}'")
    if size % SECTOR:
        raise Refusal(
            f"{path}: {size} bytes are not a whole number of 512-byte sectors; "
            f"pad it with 'truncate -s %512 {path}' if it is a raw disk"
        )


def _mtime_ns(fd: int) -> int:
    """When the file was last written; a block device's node says nothing about its contents."""
    status = os.fstat(fd)
    return 0 if stat.S_ISBLK(status.st_mode) else status.st_mtime_ns


def _wrong_kind(path: str, what: str) -> Refusal:
    return Refusal(f"{path}: is {what}; name a disk image or a block device")


def _lock(path: str, fd: int, kind: int) -> None:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refusal(
            f"{path}: another machine uses it; stop that one, copy the disk, or name it '{path},ro'"
        ) from None


def _open_overlay(path: str, original: _Original) -> Overlay:
    place = overlay_place(path)
    try:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise _refusal(place, error, "make room for it, or name the disk with ',ro'") from error
    try:
        _lock(path, fd, fcntl.LOCK_EX)
        _prepare(path, place, fd, original)
        return Overlay(original.disk, fd, place)
    except OSError as error:
        os.close(fd)
        raise _refusal(place, error, "make room for it, or name the disk with ',ro'") from error
    except BaseException:
        os.close(fd)
        raise


class _Temporary(Overlay):
    """An overlay that is to survive nothing."""

    __slots__ = ()

    def flush(self) -> None:
        """Return at once."""


def _open_temporary(base: Base) -> Overlay:
    """An overlay in $TMPDIR, or /var/tmp, that even a kill of this process leaves nothing of."""
    folder = os.environ.get("TMPDIR") or "/var/tmp"
    try:
        fd = _nameless(folder)
        os.ftruncate(fd, file_size(base.size))  # nobody will look for a header
        return _Temporary(base, fd, folder)
    except OSError as error:
        raise _refusal(folder, error, "name a folder with room in TMPDIR") from error


def _nameless(folder: str) -> int:
    try:
        return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, EISDIR):
            raise
    # not every file system has such files (open(2))
    import tempfile

    fd, name = tempfile.mkstemp(dir=folder)
    os.unlink(name)
    return fd


def _prepare(path: str, place: str, fd: int, original: _Original) -> None:
    """Give a new overlay its header; refuse an old one that is not for the disk as it is now."""
    size = original.disk.size
    wanted = header_of(size, original.mtime_ns, original.format)
    found = read_header(fd, size)
    if found is None:
        write_header(fd, wanted, os.path.dirname(place))
        return
    old = found.format.rstrip(b"\0").decode("ascii", "replace") or RAW
    if found[:3] != wanted[:3] or old not in FORMATS:
        raise Refusal(f"{place}: is not an overlay of this version of auberge; move it away")
    if old != original.format:
        raise Refusal(
            f"{path}: is {original.format} now, and was {old} when its overlay was made; write"
            f" {path},format={old}, or delete {place} to begin again"
        )
    if found != wanted:
        raise Refusal(
            f"{path}: has changed since its overlay was made; delete {place} to begin again with "
            f"the disk as it is now, or put the disk back as it was"
        )
    if os.fstat(fd).st_size != file_size(size):
        raise Refusal(f"{place}: is truncated; restore it, or delete it to begin again")


def overlay_place(path: str) -> str:
    """Where the overlay of the disk at the absolute `path` is or will be: beside it, if it can."""
    beside = f"{path}.overlay"
    folder = os.path.dirname(path)
    if os.path.lexists(beside) or (
        os.access(folder, os.W_OK) and not f"{folder}/".startswith("/dev/")
    ):
        return beside
    import hashlib  # only here: it takes milliseconds

    home = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(home):  # the XDG Base Directory Specification has relative ones ignored
        home = os.path.expanduser("~/.local/state")
    name = os.path.basename(path)[:150]
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return os.path.join(home, "auberge", "overlays", f"{name}-{digest}.overlay")


def _refusal(path: str, error: OSError, advice: str) -> Refusal:
    return Refusal(f"{path}: {reason(error)}; {advice}")
