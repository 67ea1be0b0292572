"""How `asm` and `disasm` show code, and how they read addresses."""

import argparse

from auberge.isa.disassembler import lines
from auberge.isa.spec import Isa

ADDRESSES = 1 << 64


def address(text: str) -> int:
    """An address of a command line, in any of Python's notations."""
    try:
        value = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; write 0x80000000") from None
    if not 0 <= value < ADDRESSES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a 64-bit address")
    return value


def print_listing(isa: Isa, code: bytes, origin: int, symbols: dict[str, int]) -> None:
    """One line per instruction: address, word, text; a line of its own for each label."""
    labels: dict[int, list[str]] = {}
    for name, value in symbols.items():
        labels.setdefault(value, []).append(name)
    for line in lines(isa, code, origin, aliases=True):
        for name in labels.get(line.address, ()):
            print(f"{name}:")
        word = f"{line.word:0{2 * line.length}x}"
        print(f"{line.address:8x}:  {word:8}  {line.text}")
