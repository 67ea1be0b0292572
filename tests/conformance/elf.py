"""A static ELF file without a linker. Source: System V ABI, chapters 4 and 5; RISC-V ELF psABI."""

import struct

PAGE = 0x1000
HEADER, PROGRAM, SECTION, SYMBOL = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ", "<IBBHQQ"
EXEC, RISCV, LOAD, RWX, SYMTAB, STRTAB, ABSOLUTE = 2, 243, 1, 7, 2, 3, 0xFFF1
DOUBLE_FLOAT_AND_RVC = 5  # e_flags


def static_elf(
    start: int, contents: bytes, entry: int, size: int, symbols: dict[str, int] | None = None
) -> bytes:
    """A program of one segment: `contents` at `start`, then zeros up to `size` bytes in all."""
    names, table = b"\0", bytes(struct.calcsize(SYMBOL))
    for name, value in (symbols or {}).items():
        table += struct.pack(SYMBOL, len(names), 0, 0, ABSOLUTE, value, 8)
        names += name.encode() + b"\0"
    at = PAGE + len(contents)
    sections = [
        bytes(struct.calcsize(SECTION)),
        struct.pack(SECTION, 0, SYMTAB, 0, 0, at, len(table), 2, 0, 8, 24),
        struct.pack(SECTION, 0, STRTAB, 0, 0, at + len(table), len(names), 0, 0, 1, 0),
    ]
    after = at + len(table) + len(names)
    identity = b"\x7fELF" + bytes((2, 1, 1))  # 64 bits, little-endian, version 1
    header = struct.pack(
        HEADER, identity, EXEC, RISCV, 1, entry, 64, after, DOUBLE_FLOAT_AND_RVC, 64, 56, 1, 64,
        len(sections), 2,
    )  # fmt: skip
    program = struct.pack(PROGRAM, LOAD, RWX, PAGE, start, start, len(contents), size, PAGE)
    return (header + program).ljust(PAGE, b"\0") + contents + table + names + b"".join(sections)
