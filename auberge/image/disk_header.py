"""What the headers of disk images must say before a library is let near the rest.

The library trusts what it reads. Here is refused what it would misread, what would have it take
memory or time without bounds, and whatever says that the disk is also in a file nobody named.

Sources: docs/interop/qcow2.txt of QEMU; VMware's Virtual Disk Format 1.1; VDICore.h of VirtualBox;
[MS-VHDX].
"""

from collections.abc import Callable
from struct import Struct, error
from typing import NamedTuple
from uuid import UUID

from auberge.refusal import Refusal

SECTOR = 512
MOST_TABLE = 8 << 20
"""Bytes of one table of an image: enough for terabytes, and little enough to be in memory."""

Read = Callable[[int, int], bytes]
"""At an offset, so many bytes, or fewer where the file ends."""

_QCOW2 = Struct(">4sIQIIQIIQQIIQ QQQII B")
_LONGEST_NAME = 1023
_QCOW2_V2_SIZE = 72
_QCOW2_V3_SIZE = 104
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))

_VMDK = Struct("<4sIIQQQQIQQQ?4sH")
_VMDK_COMPRESSED = 1 << 16
_VMDK_DEFLATE = 1
_VMDK_AT_END = (1 << 64) - 1
_VMDK_ENTRIES = 512
MOST_DESCRIPTOR = 1 << 16
_LONGEST_LINE = 512

_VDI = Struct("<64x4sIII I256x II 16x4x QIIII 16x16x 16s16s")
_VDI_VERSION = 0x0001_0001
_VDI_NORMAL, _VDI_FIXED = 1, 2
VDI_BLOCK = 1 << 20

_VHDX_HEADER = Struct("<4sIQ16x16x16s")
_VHDX_REGIONS = Struct("<4sIII")
_VHDX_REGION = Struct("<16sQII")
_VHDX_METADATA = Struct("<8s2xH20x")
_VHDX_ITEM = Struct("<16sIIII")
_VHDX_MOST_ENTRIES = 2047
_VHDX_MOST_ITEMS = 64
_METADATA = UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E").bytes_le
_PARENT_LOCATOR = UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C").bytes_le
_FILE_PARAMETERS = UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B").bytes_le
_VIRTUAL_DISK_SIZE = UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8").bytes_le
_LOGICAL_SECTOR_SIZE = UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F").bytes_le
_HAS_PARENT = 2
_KIB64, _MIB = 1 << 16, 1 << 20


class Shape(NamedTuple):
    """`size` bytes of disk, in pieces of `unit` bytes each of which is to be read in one go."""

    size: int
    unit: int


class _Vmdk(NamedTuple):
    magic: bytes
    version: int
    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_size: int
    entries: int
    redundant: int
    directory: int
    overhead: int
    unclean: bool
    line_ends: bytes
    algorithm: int


class Grains(NamedTuple):
    """A sparse extent of a VMDK: its size, that of a grain, whether compressed, its descriptor."""

    size: int
    grain: int
    compressed: bool
    descriptor: str


def damaged(path: str, what: str) -> Refusal:
    """For what no program writes."""
    return Refusal(f"{path}: damaged: {what}; get an undamaged copy")


def unsupported(path: str, what: str) -> Refusal:
    """For what other programs can read."""
    return Refusal(
        f"{path}: {what}; make a plain disk of it with 'qemu-img convert -O raw {path} disk.img'"
    )


def elsewhere(path: str, name: bytes = b"") -> Refusal:
    """For a disk whose other half is in a file, called `name`, that its user has not named."""
    called = f", {name.decode(errors='replace')!r}" if name else ""
    return Refusal(
        f"{path}: is a difference to another file{called}, and only files you name are read;"
        f" if you trust it, make one disk of both with 'qemu-img convert -O raw {path} disk.img'"
    )


def check_qcow2(path: str, read: Read) -> Shape:
    """The header of a qcow2 image; raises Refusal."""
    raw = read(0, _QCOW2.size).ljust(_QCOW2.size, b"\0")
    (
        _, version, backing, backing_size, cluster_bits, size, encrypted, l1_size, _, _, _, _, _,
        incompatible, _, _, _, header_size, compression,
    ) = _QCOW2.unpack(raw)  # fmt: skip
    if version not in (2, 3):
        raise unsupported(path, f"is qcow2 of version {version}; 2 and 3 are read")
    if version == 2 and any(raw[_QCOW2_V2_SIZE:]):
        raise unsupported(path, "is qcow2 of version 2 with extensions")
    if version == 3 and header_size < _QCOW2_V3_SIZE:
        raise damaged(path, f"a header of {header_size} bytes")
    if backing or incompatible & _DATA_FILE:
        raise elsewhere(path, read(backing, min(backing_size, _LONGEST_NAME)) if backing else b"")
    if encrypted:
        raise unsupported(path, "is encrypted")
    if incompatible & _CORRUPT:
        raise damaged(path, "it is marked as corrupt")
    if incompatible & ~(_DIRTY | _COMPRESSION):
        raise unsupported(path, f"uses features ({incompatible:#x}) that are not read here")
    if header_size <= _QCOW2_V3_SIZE:
        compression = 0
    if compression > 1 or bool(incompatible & _COMPRESSION) != (compression == 1):
        raise unsupported(path, f"uses compression {compression}; zlib and zstd are read")
    if not 9 <= cluster_bits <= 21:
        raise damaged(path, f"clusters of 2^{cluster_bits} bytes")
    check_size(path, size)
    tables = -(-size >> 2 * cluster_bits - 3)
    if not tables <= l1_size <= MOST_TABLE // 8:
        raise damaged(path, f"{l1_size} level 1 entries for {size} bytes")
    return Shape(size, max(1 << cluster_bits, _KIB64))


def check_vmdk_extent(path: str, read: Read, file_size: int) -> Grains:
    """The header of a sparse extent (monolithicSparse, streamOptimized); raises Refusal."""
    fields = _vmdk_header(path, read(0, _VMDK.size))
    if fields.directory == _VMDK_AT_END:  # then a copy of the header knows where
        fields = _vmdk_header(path, read(max(0, file_size - 1024), _VMDK.size))
    compressed = bool(fields.flags & _VMDK_COMPRESSED)
    if compressed and fields.algorithm != _VMDK_DEFLATE:
        raise unsupported(path, f"uses compression {fields.algorithm}; deflate is read")
    if fields.entries != _VMDK_ENTRIES:
        raise damaged(path, f"grain tables of {fields.entries} entries")
    grain = fields.grain
    if grain & grain - 1 or not 8 <= grain <= (128 if compressed else 2048):
        raise damaged(path, f"grains of {grain} sectors")
    check_size(path, fields.capacity * SECTOR)
    if fields.capacity > grain * _VMDK_ENTRIES * (MOST_TABLE // 4):
        raise damaged(path, f"{fields.capacity} sectors in grains of {grain}")
    if fields.descriptor_size * SECTOR > MOST_DESCRIPTOR:
        raise damaged(path, f"a descriptor of {fields.descriptor_size} sectors")
    text = read(fields.descriptor * SECTOR, fields.descriptor_size * SECTOR)
    descriptor = check_vmdk_descriptor(path, text)
    return Grains(fields.capacity * SECTOR, grain * SECTOR, compressed, descriptor)


def _vmdk_header(path: str, raw: bytes) -> _Vmdk:
    if len(raw) < _VMDK.size:
        raise damaged(path, "it ends in its header")
    fields = _Vmdk._make(_VMDK.unpack(raw))
    if fields.magic != b"KDMV":
        raise damaged(path, "a footer that is none")
    if fields.version not in (1, 2, 3):
        raise unsupported(path, f"is a VMDK extent of version {fields.version}; 1 to 3 are read")
    return fields


def check_vmdk_descriptor(path: str, text: bytes) -> str:
    """The text of a VMDK's descriptor, short enough to be parsed; raises Refusal."""
    text = text.split(b"\0", 1)[0]
    if len(text) > MOST_DESCRIPTOR or any(len(line) > _LONGEST_LINE for line in text.split(b"\n")):
        raise damaged(path, "a descriptor too long to be one")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise unsupported(path, "has a descriptor that is not in UTF-8") from None


def check_vdi(path: str, read: Read) -> Shape:
    """The header of a VDI; raises Refusal."""
    try:
        (
            _, version, _, kind, _, _, _, size, block, extra, blocks, _, link, parent,
        ) = _VDI.unpack(read(0, _VDI.size))  # fmt: skip
    except error:
        raise damaged(path, "it ends in its header") from None
    if version != _VDI_VERSION:
        raise unsupported(path, f"is VDI of version {version:#x}; 1.1 is read")
    if kind not in (_VDI_NORMAL, _VDI_FIXED) or any(link) or any(parent):
        raise elsewhere(path)
    if block != VDI_BLOCK or extra:
        raise unsupported(path, f"has blocks of {block} + {extra} bytes; 1 MiB is what is read")
    check_size(path, size)
    if not -(-size // block) <= blocks <= MOST_TABLE // 4:
        raise damaged(path, f"{blocks} blocks for {size} bytes")
    return Shape(size, block)


def check_vhdx(path: str, read: Read) -> Shape:
    """The headers, regions and metadata of a VHDX; raises Refusal."""
    try:
        return _check_vhdx(path, read)
    except error:
        raise damaged(path, "it ends in its headers") from None


def _check_vhdx(path: str, read: Read) -> Shape:
    headers = [_VHDX_HEADER.unpack(read(at, _VHDX_HEADER.size)) for at in (_KIB64, 2 * _KIB64)]
    # The library chooses the same: the newer by sequence number.
    signature, _, _, log = headers[0] if headers[0][2] > headers[1][2] else headers[1]
    if signature != b"head":
        raise damaged(path, "no header is current")
    if any(log):
        raise unsupported(path, "was not closed: its log is to be replayed")
    signature, _, count, _ = _VHDX_REGIONS.unpack(read(3 * _KIB64, _VHDX_REGIONS.size))
    other = _VHDX_REGIONS.unpack(read(4 * _KIB64, _VHDX_REGIONS.size))
    if signature != b"regi" or max(count, other[2]) > _VHDX_MOST_ENTRIES:
        raise damaged(path, f"{count} regions")
    regions = {}
    for index in range(count):
        at = 3 * _KIB64 + _VHDX_REGIONS.size + index * _VHDX_REGION.size
        name, offset, _, _ = _VHDX_REGION.unpack(read(at, _VHDX_REGION.size))
        regions[name] = offset
    if _METADATA not in regions:
        raise damaged(path, "no metadata")
    items = _vhdx_items(path, read, regions[_METADATA])
    if _PARENT_LOCATOR in items:
        raise elsewhere(path)
    try:
        block, flags = Struct("<II").unpack(read(items[_FILE_PARAMETERS], 8))
        (size,) = Struct("<Q").unpack(read(items[_VIRTUAL_DISK_SIZE], 8))
        (sector,) = Struct("<I").unpack(read(items[_LOGICAL_SECTOR_SIZE], 4))
    except KeyError:
        raise damaged(path, "its metadata is not complete") from None
    if flags & _HAS_PARENT:
        raise elsewhere(path)
    if block & block - 1 or not _MIB <= block <= 256 * _MIB or sector not in (512, 4096):
        raise damaged(path, f"blocks of {block} bytes, sectors of {sector}")
    check_size(path, size)
    return Shape(size, _KIB64)


def _vhdx_items(path: str, read: Read, at: int) -> dict[bytes, int]:
    signature, count = _VHDX_METADATA.unpack(read(at, _VHDX_METADATA.size))
    if signature != b"metadata" or count > _VHDX_MOST_ITEMS:
        raise damaged(path, f"{count} items of metadata")
    items = {}
    for index in range(count):
        entry = read(at + _VHDX_METADATA.size + index * _VHDX_ITEM.size, _VHDX_ITEM.size)
        name, offset, *_ = _VHDX_ITEM.unpack(entry)
        items[name] = at + offset
    return items


def check_size(path: str, size: int) -> None:
    """A disk's size; raises Refusal for what no disk has."""
    if not size or size % SECTOR or size >= 1 << 56:
        raise damaged(path, f"a disk of {size} bytes")
