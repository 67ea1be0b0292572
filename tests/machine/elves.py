"""ELF files made by hand, so that each field can be wrong."""

import struct

BASE = 0x8000_0000


def elf(
    segments=((BASE, b"\x13\0\0\0"),),
    entry=BASE,
    symbols=(),
    machine=243,
    kind=2,
    bits=2,
    vaddr=None,
):
    """A 64-bit little-endian executable: (paddr, contents[, memory size]) per segment."""
    count = len(segments)
    at = 64 + 56 * count
    headers, body = b"", b""
    for paddr, data, *memory in segments:
        size = memory[0] if memory else len(data)
        virtual = paddr if vaddr is None else vaddr
        headers += struct.pack(
            "<IIQQQQQQ", 1, 7, at + len(body), virtual, paddr, len(data), size, 4096
        )
        body += data
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _ in symbols)
    table = bytes(24)
    for name, value in symbols:
        table += struct.pack("<IBBHQQ", names.index(name.encode() + b"\0"), 16, 0, 1, value, 8)
    at_table = at + len(body)
    at_names = at_table + len(table)
    at_sections = at_names + len(names)
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, at_table, len(table), 2, 1, 8, 24)
    sections += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, at_names, len(names), 0, 0, 1, 0)
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        b"\x7fELF", bits, 1, 1, 0, kind, machine, 1, entry, 64, at_sections, 0, 64, 56, count,
        64, 3, 2,
    )  # fmt: skip
    return header + headers + body + table + names + sections
