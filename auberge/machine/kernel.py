"""Kernels: what a file is, by its header, and how it gets into RAM.

Sources: Documentation/arch/riscv/boot-image-header.rst and boot.rst of Linux; RFC 1952 (gzip);
drivers/firmware/efi/libstub/zboot-header.S of Linux (EFI zboot).
"""

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from io import FileIO
from typing import NamedTuple

from auberge.memory.ram import Ram
from auberge.refusal import Refusal, reason

# code0 code1 text_offset image_size flags version res1 res2 magic magic2 res3
IMAGE_HEADER = struct.Struct("<IIQQQIIQ8s4sI")
IMAGE_MAGIC2 = b"RSC\x05"
BIG_ENDIAN = 1
IMAGE_ALIGNMENT = 1 << 21  # boot.rst: "must be aligned to a PMD boundary (2MB)"

ELF_MAGIC = b"\x7fELF"
GZIP_MAGIC = b"\x1f\x8b"
ZBOOT_HEADER = struct.Struct("<2s2x4sII8x32s")  # MZ, zimg, payload offset and size, compression

_AS_GZIP = 31  # window bits of zlib, plus 16: a gzip header is expected
_CHUNK = 1 << 18

OTHERS = (
    (0x38, b"ARM\x64", "an arm64 kernel"),
    (0x202, b"HdrS", "an x86 kernel"),
    (0, b"\xfd7zXZ\x00", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (0, b"\x42\x5a\x68", "compressed with bzip2"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree"),
    (0, b"070701", "an initramfs"),
)
"""What people give by mistake: (offset, magic, what it is)."""


class Kernel(NamedTuple):
    """A program that fits its place in RAM: it covers `start` to `end` and begins at `entry`.

    `machine_mode` says who it expects to be; `tohost` is the word by which a test program ends.
    """

    path: str
    entry: int
    start: int
    end: int
    machine_mode: bool
    tohost: int | None
    load: Callable[[Ram], None]


class Room(NamedTuple):
    """`size` bytes of RAM at `base`, of which what is below `lowest` is taken."""

    base: int
    size: int
    lowest: int


def open_kernel(path: str, base: int, size: int, firmware_end: int | None = None) -> Kernel:
    """What `path` holds, to be run in `size` bytes of RAM at `base`; raises Refusal.

    After a firmware it may be any program that runs where it is put, as boot loaders do.
    """
    length, head = read_head(path)
    if not head:
        raise Refusal(f"{path}: empty; give a RISC-V kernel")
    lowest = base if firmware_end is None else round_up(firmware_end)
    if head.startswith(ELF_MAGIC):
        from auberge.machine.elf import open_elf  # pyelftools is slow to import

        return open_elf(path, base, size, max(lowest, base + IMAGE_ALIGNMENT))
    room = Room(base, size, lowest)
    zboot = _zboot_payload(path, head, length)
    if zboot is not None:
        return _open_gzip(path, *zboot, room)
    if head.startswith(GZIP_MAGIC):
        return _open_gzip(path, 0, length, room)
    if firmware_end is not None and not is_image(head) and mistake(head) is None:
        return open_binary(path, length, lowest, base, size)
    start, end = _place_image(path, head, length, room)
    _check_not_truncated(path, head, length)

    def load(ram: Ram) -> None:
        read_file(path, ram, start, length)  # the rest is .bss, which the kernel clears itself

    return Kernel(path, start, start, end, False, None, load)


def round_up(address: int) -> int:
    """The first address from here on where a kernel may be."""
    return -(-address // IMAGE_ALIGNMENT) * IMAGE_ALIGNMENT


def open_binary(path: str, length: int, start: int, base: int, size: int) -> Kernel:
    """A program without a header, to be put at `start` and entered there; raises Refusal."""
    end = start + length
    if end > base + size:
        raise too_little_memory(f"{path}: needs", end - base, size)

    def load(ram: Ram) -> None:
        read_file(path, ram, start, length)

    return Kernel(path, start, start, end, False, None, load)


def is_image(head: bytes) -> bool:
    """Whether a file that begins so is an Image for RISC-V."""
    return len(head) >= IMAGE_HEADER.size and head[0x38:0x3C] == IMAGE_MAGIC2


def mistake(head: bytes) -> str | None:
    """What a file is that begins so, if it is something else that people have around."""
    for offset, magic, what in OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return what
    return None


def read_head(path: str) -> tuple[int, bytes]:
    """The length of a regular file, and its first page; raises Refusal."""
    with open_file(path) as file:
        return os.fstat(file.fileno()).st_size, file.read(4096)


def open_file(path: str) -> FileIO:
    """Open a regular file for reading; raises Refusal."""
    try:
        file = FileIO(path)
    except OSError as error:
        raise Refusal(f"{path}: {reason(error)}; check the path") from None
    except ValueError:  # a NUL
        raise Refusal(f"{path!r}: not a path; check it") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Refusal(f"{path}: not a regular file; copy it into one")
    return file


def file_size(path: str) -> int:
    """The length of a regular file; raises Refusal."""
    with open_file(path) as file:
        return os.fstat(file.fileno()).st_size


def read_file(path: str, ram: Ram, gpa: int, size: int, offset: int = 0) -> None:
    """Read `size` bytes of a file into RAM, which must have room; raises Refusal."""
    # Through a buffer and the memfd, not by the mapping, whose every page would fault first: a
    # kernel of 30 MB is there in half the time.
    piece = memoryview(bytearray(min(size, _CHUNK)))
    at, end = gpa - ram.base, gpa - ram.base + size
    with open_file(path) as file:
        file.seek(offset)
        while at < end:
            try:
                count = file.readinto(piece[: end - at])
            except OSError as error:
                raise Refusal(f"{path}: {reason(error)}; check the disk it is on") from None
            if not count:
                raise Refusal(f"{path}: became shorter while it was read; try again")
            at += os.pwrite(ram.fd, piece[:count], at)


def _place_image(path: str, head: bytes, length: int, room: Room) -> tuple[int, int]:
    """Where a raw Image with this header starts and ends, its .bss included."""
    if not is_image(head):
        what = mistake(head) or "not a kernel"
        raise Refusal(f"{path}: {what}; give a RISC-V Image (raw or gzip) or ELF file")
    _, _, text_offset, image_size, flags, *_ = IMAGE_HEADER.unpack_from(head)
    if flags & BIG_ENDIAN:
        raise Refusal(f"{path}: a big-endian kernel; give a little-endian one")
    if text_offset % IMAGE_ALIGNMENT:
        raise Refusal(
            f"{path}: text_offset {text_offset:#x} is not a multiple of 2 MiB; rebuild it"
        )
    if image_size and length > image_size:
        raise Refusal(
            f"{path}: {length} bytes, but its header says {image_size}; get an undamaged copy"
        )
    start = max(room.base + text_offset, room.lowest)
    end = start + max(image_size, length)
    if end > room.base + room.size:
        raise too_little_memory(f"{path}: needs", end - room.base, room.size)
    return start, end


def _check_not_truncated(path: str, head: bytes, length: int) -> None:
    """An Image that is also an EFI program says where its sections end in the file."""
    at = int.from_bytes(head[0x3C:0x40], "little")
    if not head.startswith(b"MZ") or head[at : at + 4] != b"PE\0\0":
        return
    sections, optional = struct.unpack_from("<6xH12xH", head, at)
    table = at + 24 + optional
    for header in range(table, min(table + 40 * sections, len(head) - 39), 40):
        raw_size, raw_start = struct.unpack_from("<16xII", head, header)
        if raw_start + raw_size > length:
            raise Refusal(
                f"{path}: truncated: {length} bytes of {raw_start + raw_size};"
                " get an undamaged copy"
            )


def _zboot_payload(path: str, head: bytes, length: int) -> tuple[int, int] | None:
    """Where a self-decompressing EFI kernel keeps its gzip stream."""
    if len(head) < ZBOOT_HEADER.size:
        return None
    mz, zimg, offset, size, compression = ZBOOT_HEADER.unpack_from(head)
    if mz != b"MZ" or zimg != b"zimg":
        return None
    kind = compression.partition(b"\0")[0].decode("ascii", "replace")
    if kind != "gzip":
        raise Refusal(f"{path}: compressed with {kind}; give a raw Image or one in gzip")
    if offset + size > length:
        raise Refusal(
            f"{path}: truncated: {length} bytes of {offset + size}; get an undamaged copy"
        )
    return offset, size


def _open_gzip(path: str, offset: int, packed: int, room: Room) -> Kernel:
    """An Image in gzip at `offset`: its header is looked at now, `load` unpacks it into RAM."""
    head = bytearray()
    with open_file(path) as file:
        file.seek(offset)
        for data in _unpack(path, file, packed):
            head += data
            if len(head) >= IMAGE_HEADER.size:
                break
    start, end = _place_image(path, bytes(head), IMAGE_HEADER.size, room)

    def load(ram: Ram) -> None:
        at = start
        with open_file(path) as file:
            file.seek(offset)
            for data in _unpack(path, file, packed):
                if at + len(data) > end:
                    raise Refusal(
                        f"{path}: unpacks to more than the {end - start} bytes of its header;"
                        " get an undamaged copy"
                    )
                ram.write(at, data)
                at += len(data)

    return Kernel(path, start, start, end, False, None, load)


def _unpack(path: str, file: FileIO, packed: int) -> Iterator[bytes]:
    """The contents of a gzip stream of `packed` bytes, in pieces of bounded size."""
    stream = zlib.decompressobj(_AS_GZIP)
    damaged = Refusal(f"{path}: its gzip data is damaged; get an undamaged copy")
    while packed > 0 and not stream.eof:
        data = file.read(min(_CHUNK, packed))
        if not data:
            break
        packed -= len(data)
        while data and not stream.eof:
            try:
                piece = stream.decompress(data, _CHUNK)
            except zlib.error:
                raise damaged from None
            data = stream.unconsumed_tail
            yield piece
    if not stream.eof:
        raise damaged


def too_little_memory(need: str, bytes_needed: int, size: int) -> Refusal:
    """A refusal that says how much memory would do."""
    megabytes = 1 << max(0, (bytes_needed - 1).bit_length() - 20)
    return Refusal(
        f"{need} {bytes_needed >> 20} MiB of memory and there are {size >> 20};"
        f" give the machine {megabytes}M or more"
    )
