"""`auberge asm`: assembly text into instruction words."""

import argparse
import os
import sys

from auberge.cli.listing import address, print_listing
from auberge.isa.assembler import assembly
from auberge.isa.riscv.rv64 import rv64
from auberge.refusal import Refusal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the text comes from and where the code goes."""
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="`-` is stdin")
    parser.add_argument("-o", "--output", metavar="OUT", help="write raw code, not a listing")
    parser.add_argument(
        "--origin", metavar="ADDRESS", type=address, default=0, help="where the code will be run"
    )


def run(args: argparse.Namespace) -> int:
    """Assemble; print a listing, or write the code."""
    name = "stdin" if args.file == "-" else args.file
    result = assembly(rv64, read_text(args.file, name), args.origin, name=name)
    if args.output is None:
        print_listing(rv64, result.code, args.origin, result.symbols)
    elif args.output == "-":
        sys.stdout.buffer.write(result.code)
    else:
        write_whole(args.output, result.code)
    return 0


def read_text(file: str, name: str) -> str:
    """The text of a file, or of stdin for `-`."""
    try:
        if file == "-":
            return sys.stdin.buffer.read().decode()
        with open(file, encoding="utf-8") as text:
            return text.read()
    except UnicodeDecodeError as error:
        raise Refusal(f"{name}: not text: byte {error.start}; give assembly in UTF-8") from None


def write_whole(path: str, data: bytes) -> None:
    """Write a file so that there is never half of it."""
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe stays what it is
        with open(path, "wb") as file:
            file.write(data)
        return
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(new, "wb") as file:
            file.write(data)
        os.replace(new, path)
    except OSError:
        if os.path.exists(new):
            os.unlink(new)
        raise
