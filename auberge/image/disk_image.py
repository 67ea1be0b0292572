"""Disk images of other programs, read: qcow2, VMDK, VDI and VHDX.

The one module that imports dissect.hypervisor, which is optional. It is given bytes, never a path,
so it opens nothing, and only after `disk_header` has let an image pass; it is asked for one piece
at a time, each within what the format stores as one; and whatever it does not survive is an error
of the disk.
"""

import os
import stat
from collections.abc import Callable, Sequence
from errno import EINVAL, EIO
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

from auberge.image.disk_header import (
    MOST_DESCRIPTOR,
    MOST_TABLE,
    SECTOR,
    Shape,
    check_qcow2,
    check_size,
    check_vdi,
    check_vhdx,
    check_vmdk_descriptor,
    check_vmdk_extent,
    damaged,
    elsewhere,
    unsupported,
)
from auberge.refusal import Refusal

KEPT = 16 << 20
"""Bytes of decompressed pieces that are kept for the next read."""

TABLES = 32 << 20
"""Bytes that tables of a qcow2 image may take in memory, about."""

FLAT_PIECE = 1 << 20
NO_PARENT = "ffffffff"
ACCESS = ("RW ", "RDONLY ", "NOACCESS ")


class DiskImage:
    """A disk of `size` bytes in the files of an image, last written at `mtime_ns`; to be closed."""

    __slots__ = ("path", "size", "mtime_ns", "_extents", "_files", "_pieces", "_most")

    def __init__(
        self, path: str, extents: Sequence["Extent"], files: Sequence["ImageFile"]
    ) -> None:
        self.path = path
        self.size = sum(extent.shape.size for extent in extents)
        self.mtime_ns = max(file.mtime_ns for file in files)
        self._files = files
        self._extents: list[tuple[int, Extent]] = []
        start = 0
        for extent in extents:
            self._extents.append((start, extent))
            start += extent.shape.size
        self._pieces: dict[int, bytes] = {}
        self._most = max(2, KEPT // max(extent.shape.unit for extent in extents))

    def readv(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill `views`, one after the other, with what is at `offset`; may raise OSError."""
        piece, left = memoryview(b""), 0
        for view in views:
            done = 0
            while done < view.nbytes:
                if not left:
                    piece = self._rest_of_piece(offset)
                    left = piece.nbytes
                count = min(left, view.nbytes - done)
                view[done : done + count] = piece[:count]
                piece = piece[count:]
                left -= count
                done += count
                offset += count

    def close(self) -> None:
        for file in self._files:
            os.close(file.fd)

    def _rest_of_piece(self, offset: int) -> memoryview:
        """What there is from `offset` to the end of the piece it is in."""
        start, extent = next(each for each in reversed(self._extents) if each[0] <= offset)
        unit = extent.shape.unit
        begin = (offset - start) // unit * unit
        key = start + begin
        piece = self._pieces.pop(key, None)
        if piece is None:
            piece = self._read(extent, begin, min(unit, extent.shape.size - begin))
        self._pieces[key] = piece  # the newest is last
        if len(self._pieces) > self._most:
            del self._pieces[next(iter(self._pieces))]
        return memoryview(piece)[offset - key :]

    def _read(self, extent: "Extent", begin: int, size: int) -> bytes:
        try:
            piece = extent.read(begin, size)
        except OSError as failure:
            failure.filename = self.path
            raise
        except Exception as failure:  # of the library, or of what it is built on
            raise OSError(EIO, f"damaged at {begin:#x} ({_said(failure)})", self.path) from None
        if len(piece) != size:
            raise OSError(EIO, f"truncated: nothing is there for {begin:#x}", self.path)
        return piece


class Extent(NamedTuple):
    """A part of a disk: `read(offset, size)` within a piece may raise anything, or bring less."""

    shape: Shape
    read: Callable[[int, int], bytes]


class ImageFile:
    """The bytes of file `fd` to a library that wants a file object, `most` bytes at a time.

    `mtime_ns` is 0 for a block device, whose node does not say when its contents changed.
    """

    __slots__ = ("fd", "size", "most", "mtime_ns", "_at")

    def __init__(self, fd: int, most: int = MOST_TABLE) -> None:
        self.fd = fd
        self.size = os.lseek(fd, 0, os.SEEK_END)
        self.most = most
        status = os.fstat(fd)
        self.mtime_ns = status.st_mtime_ns if stat.S_ISREG(status.st_mode) else 0
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file object's."""
        at = offset + (0, self._at, self.size)[whence]
        if at < 0:
            raise OSError(EINVAL, "an offset before the beginning")
        self._at = at
        return at

    def tell(self) -> int:
        """As a file object's."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As a file object's; more than `most` bytes at once are an OSError."""
        if size < 0:
            size = self.size - self._at
        if size > self.most:
            raise OSError(EIO, f"{size} bytes at once")
        data = self.read_at(self._at, size)
        self._at += len(data)
        return data

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes at an offset; fewer than `size` where the file ends."""
        size = min(size, self.size - offset)
        return os.pread(self.fd, size, offset) if size > 0 else b""


class _Stream(Protocol):
    """A disk as the library has it."""

    def seek(self, offset: int) -> int: ...
    def read(self, size: int) -> bytes: ...


def open_image(path: str, fd: int, kind: str, open_beside: Callable[[str], int]) -> DiskImage:
    """The disk in the `kind` of image at `path`, open as `fd`; raises Refusal.

    `open_beside` opens another file, by name, in the same folder. The image owns `fd` from now on.
    """
    files = [ImageFile(fd)]
    try:
        extents = _extents(path, files, kind, open_beside)
        return DiskImage(path, extents, files)
    except Refusal:
        _close(files)
        raise
    except ImportError:
        _close(files)
        raise Refusal(
            f"{path}: a {kind} image is read with a library that is not installed;"
            " pip install 'auberge[disks]'"
        ) from None
    except Exception as failure:  # of the library
        _close(files)
        raise damaged(path, _said(failure)) from None


def _extents(
    path: str, files: list[ImageFile], kind: str, open_beside: Callable[[str], int]
) -> list[Extent]:
    file = files[0]
    if kind == "qcow2":
        return [_qcow2(path, file)]
    if kind == "vdi":
        return [_vdi(path, file)]
    if kind == "vhdx":
        return [_vhdx(path, file)]
    if file.read_at(0, 4) == b"KDMV":
        return [_vmdk_sparse(path, file, None)]
    return _vmdk_described(path, files, open_beside)


def _qcow2(path: str, file: ImageFile) -> Extent:
    shape = check_qcow2(path, file.read_at)
    from dissect.hypervisor.disk import qcow2

    try:
        image = qcow2.QCow2(file)
    except RuntimeError:  # what it says without zstd, which the extra brings along
        raise ImportError from None
    # The library's own cache has 128 tables, whatever their size; an entry takes 40 bytes in it.
    image.l2_table = lru_cache(max(2, TABLES // (5 * image.cluster_size)))(
        partial(qcow2.L2Table, image)
    )
    return Extent(shape, partial(_read_stream, image.open()))


def _vdi(path: str, file: ImageFile) -> Extent:
    shape = check_vdi(path, file.read_at)
    from dissect.hypervisor.disk.vdi import VDI

    return Extent(shape, partial(_read_stream, VDI(file).open()))


def _vhdx(path: str, file: ImageFile) -> Extent:
    shape = check_vhdx(path, file.read_at)
    from dissect.hypervisor.disk.vhdx import VHDX

    return Extent(shape, partial(_read_stream, VHDX(file)))


def _read_stream(stream: _Stream, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _vmdk_sparse(path: str, file: ImageFile, size: int | None) -> Extent:
    """A sparse extent; of `size` bytes if a descriptor says so."""
    grains = check_vmdk_extent(path, file.read_at, file.size)
    if size is not None and size > grains.size:
        raise damaged(path, f"{grains.size} bytes where the descriptor has {size}")
    from dissect.hypervisor.disk.vmdk import DiskDescriptor, SparseDisk

    if grains.descriptor:
        attributes = DiskDescriptor.parse(grains.descriptor).attr
        if attributes.get("parentCID", NO_PARENT).lower() != NO_PARENT:
            raise elsewhere(path)
    disk = SparseDisk(file)
    if grains.compressed:
        # What unpacks to a thousand times its size is not longer than this at least.
        file.most = grains.grain + 4096

    def read(offset: int, size: int) -> bytes:
        data: bytes = disk.read_sectors(offset // SECTOR, -(-size // SECTOR))
        return data

    size = grains.size if size is None else size
    return Extent(Shape(size, max(grains.grain, 1 << 16)), read)


def _vmdk_described(
    path: str, files: list[ImageFile], open_beside: Callable[[str], int]
) -> list[Extent]:
    """The extents that a descriptor's file lists: files named like it, with `-flat` or a number."""
    text = check_vmdk_descriptor(path, files[0].read_at(0, MOST_DESCRIPTOR + 1))
    from dissect.hypervisor.disk.vmdk import DiskDescriptor

    descriptor = DiskDescriptor.parse(text)
    if descriptor.attr.get("parentCID", NO_PARENT).lower() != NO_PARENT:
        raise elsewhere(path)
    lines = text.split("\n")
    if len(descriptor.extents) != sum(line.lstrip().startswith(ACCESS) for line in lines):
        raise damaged(path, "an extent that is not described as one")
    extents = []
    for each in descriptor.extents:
        size = int(each.sectors) * SECTOR
        if each.type == "ZERO":
            extents.append(Extent(Shape(size, FLAT_PIECE), lambda offset, size: bytes(size)))
            continue
        if each.type not in ("FLAT", "VMFS", "SPARSE") or each.access_mode == "NOACCESS":
            raise unsupported(path, f"has an extent of type {each.access_mode} {each.type}")
        name = str(each.filename or "")
        if not _is_own(os.path.basename(path), name):
            raise unsupported(
                path, f"is described as partly in {name[:80]!r}, which is not named like it"
            )
        file = ImageFile(open_beside(name))
        files.append(file)
        place = os.path.join(os.path.dirname(path), name)
        if each.type == "SPARSE":
            extents.append(_vmdk_sparse(place, file, size))
        else:
            extents.append(_vmdk_flat(place, file, size, int(each.start_sector or 0) * SECTOR))
    if not extents or not all(extent.shape.size for extent in extents):
        raise damaged(path, "no extents, or an empty one")
    check_size(path, sum(extent.shape.size for extent in extents))
    return extents


def _vmdk_flat(path: str, file: ImageFile, size: int, start: int) -> Extent:
    if start + size > file.size:
        raise damaged(path, f"{file.size} bytes where the descriptor has {start + size}")
    return Extent(
        Shape(size, FLAT_PIECE), lambda offset, count: file.read_at(start + offset, count)
    )


def _is_own(descriptor: str, name: str) -> bool:
    """Whether `name` is one that VMware gives: NAME-flat.vmdk, NAME-s001.vmdk, NAME-f001.vmdk."""
    stem = descriptor.rpartition(".")[0]
    middle = name.removeprefix(f"{stem}-").removesuffix(".vmdk")
    if f"{stem}-{middle}.vmdk" != name:
        return False
    digits = middle[1:]
    return middle == "flat" or (
        middle[:1] in ("s", "f") and digits.isascii() and digits.isdecimal() and len(digits) < 6
    )


def _said(failure: Exception) -> str:
    """An exception of the library in a few words, safe to print."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(failure)[:80])
    return f"{type(failure).__name__}: {text}"


def _close(files: Sequence[ImageFile]) -> None:
    for file in files:
        os.close(file.fd)
