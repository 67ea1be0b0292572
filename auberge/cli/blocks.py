"""How `trace --blocks` shows regions: guest code, LLVM text, and the code of the host."""

import json
import os

from auberge.engine.counting import Entered, Explained
from auberge.isa.disassembler import disassemble
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.symbols import Symbols

PAGE = 4096


def print_regions(
    regions: list[Entered], explained: list[Explained], total: int, symbols: Symbols
) -> None:
    """Those that were chosen of `total`, one after another."""
    for n, (region, parts) in enumerate(zip(regions, explained, strict=True), 1):
        count = len(parts.offsets)
        print(f"region {n} of {total}: entered {region.times:,} times, {count} instructions")
        print(f"virtual address {_hex(region.gva)}, physical address {_hex(region.gpa)}")
        print("guest code:")
        before = None
        for offset, address, length, word, text in instructions(region, parts):
            if before not in (None, offset):
                print("    ...")
            before = offset + length
            for name in symbols.at(address):
                print(f"  {name}:")
            print(f"    {address:8x}:  {word:8}  {text}")
        print("LLVM IR:")
        print("\n".join(f"    {line}".rstrip() for line in parts.ir.splitlines()))
        print(f"host code ({os.uname().machine}, level {parts.level}):")
        print("\n".join(f"    {line}" for line in parts.assembly.splitlines()))
        print()


def print_json(regions: list[Entered], explained: list[Explained]) -> None:
    """A JSON object a line; addresses are text, since not every reader keeps 64 bits exact."""
    for region, parts in zip(regions, explained, strict=True):
        guest = [
            {"address": hex(address), "word": word, "text": text}
            for _, address, _, word, text in instructions(region, parts)
        ]
        shown: dict[str, object] = {
            "entered": region.times,
            "gva": None if region.gva is None else hex(region.gva),
            "gpa": None if region.gpa is None else hex(region.gpa),
            "guest": guest,
            "ir": parts.ir.splitlines(),
            "host": {
                "machine": os.uname().machine,
                "level": parts.level,
                "assembly": parts.assembly.splitlines(),
            },
        }
        print(json.dumps(shown))


def instructions(region: Entered, parts: Explained) -> list[tuple[int, int, int, str, str]]:
    """Of each: its offset in the page, address, length, word, and text."""
    at = next((each for each in (region.gva, region.gpa) if each is not None), 0)
    base = at & -PAGE
    found = []
    for offset in parts.offsets:
        word = int.from_bytes(parts.page[offset : offset + 4], "little")
        length = 4 if word & 3 == 3 else 2
        word &= (1 << 8 * length) - 1
        text = disassemble(rv64, word, base + offset, aliases=True)
        found.append((offset, base + offset, length, f"{word:0{2 * length}x}", text))
    return found


def _hex(address: int | None) -> str:
    return "unknown" if address is None else f"{address:#x}"
