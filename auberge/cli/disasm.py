"""`auberge disasm`: instruction words, raw code or ELF files into assembly."""

import argparse
import os
import sys

from auberge.cli.listing import address, print_listing
from auberge.isa.riscv.rv64 import rv64
from auberge.refusal import Refusal

ELF_MAGIC = b"\x7fELF"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is disassembled and where it stands."""
    parser.add_argument(
        "what", metavar="FILE|WORD", nargs="*", help="a file (`-` is stdin) or words in hexadecimal"
    )
    parser.add_argument(
        "--origin", metavar="ADDRESS", type=address, help="where the code stands; an ELF file knows"
    )


def run(args: argparse.Namespace) -> int:
    """Print what each instruction is."""
    what = args.what or ["-"]
    if what == ["-"]:
        code = sys.stdin.buffer.read()
    elif len(what) == 1 and os.path.exists(what[0]):
        with open(what[0], "rb") as file:
            code = file.read()
        if code.startswith(ELF_MAGIC):
            return disassemble_elf(what[0], args.origin)
    else:
        code = b"".join(map(word, what))
    print_listing(rv64, code, args.origin or 0, {})
    return 0


def word(text: str) -> bytes:
    """An instruction as it lies in memory: two bytes if its low bits say that it is compressed."""
    try:
        value = int(text, 16)
    except ValueError:
        raise Refusal(f"{text}: neither a file nor a word in hexadecimal; check it") from None
    if not 0 <= value < 1 << 32:
        raise Refusal(f"{text}: more than 32 bits; separate words by spaces")
    return value.to_bytes(2 if value & 3 != 3 and value < 1 << 16 else 4, "little")


def disassemble_elf(path: str, origin: int | None) -> int:
    """Print each section of code under its name."""
    from auberge.machine.elf_code import code_sections  # pyelftools is slow to import

    if origin is not None:
        raise Refusal(f"{path}: an ELF file knows where its code stands; leave out --origin")
    for section in code_sections(path):
        print(f"{section.name}:")
        print_listing(rv64, section.code, section.address, section.symbols)
    return 0
