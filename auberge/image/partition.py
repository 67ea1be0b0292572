"""A partition table in a disk's first sector: boot loaders look for a file system behind one.

The layout is that of the IBM PC ("master boot record"; UEFI specification, 5.2.1).
"""

import struct

SECTOR = 512
FIRST = 2048
"""Where the partition starts, in sectors: 1 MiB, as partitioning programs have it."""

ACTIVE, LINUX = 0x80, 0x83
NO_CHS = b"\xfe\xff\xff"
"""Cylinder, head and sector for what does not fit them: the sector numbers count."""

DISK_ID = 0x61756265
ENTRY = struct.Struct("<B3sB3sII")


def one_partition(size: int) -> bytes:
    """The first sector of a disk of `size` bytes with one Linux partition, up to its end."""
    entry = ENTRY.pack(ACTIVE, NO_CHS, LINUX, NO_CHS, FIRST, size // SECTOR - FIRST)
    return bytes(440) + struct.pack("<IH", DISK_ID, 0) + entry + bytes(48) + b"\x55\xaa"
