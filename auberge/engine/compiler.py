"""The compiler's own process: the one module that imports LLVM.

`python -m auberge.engine.compiler` builds the native interpreter for this host and writes it to
standard output as an entry of the cache. LLVM's fatal errors end the process they happen in, and
its memory is given back with it.
"""

from __future__ import annotations

import io
import sys
from typing import NamedTuple

import llvmlite.binding as llvm
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from auberge.engine import cache
from auberge.engine.describe import layout_of, reset_of
from auberge.engine.host import Host
from auberge.engine.module import module
from auberge.isa.riscv.rv64 import rv64

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
EXPORTS = ("run", "prepare", "take_trap")
WRITABLE, ALLOCATED = 1, 2  # sh_flags of ELF sections


class Code(NamedTuple):
    """Position-independent machine code, and where in it its functions begin."""

    text: bytes
    symbols: dict[str, int]


def compile_text(text: str, host: Host, level: int = 2) -> Code:
    """Machine code for `host` of LLVM text whose every reference is to itself.

    Raises RuntimeError if LLVM refuses the text, or the code would need a linker or data.
    """
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLES[host.machine]).create_target_machine(
        cpu=host.cpu, features=",".join("+" + f for f in host.features), opt=level, reloc="pic",
        codemodel="small")  # fmt: skip
    parsed = llvm.parse_assembly(text)
    parsed.triple = TRIPLES[host.machine]
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return _text_of(machine.emit_object(parsed))


def _text_of(obj: bytes) -> Code:
    elf = ELFFile(io.BytesIO(obj))
    text = elf.get_section_by_name(".text")
    index = elf.get_section_index(".text")
    if text is None or index is None:
        raise RuntimeError("LLVM gave no code")
    for section in elf.iter_sections():
        flags, size, name = section["sh_flags"], section["sh_size"], section.name
        if flags & ALLOCATED and size and name not in (".text", ".eh_frame"):
            raise RuntimeError(f"the code needs data of its own, in {name} ({size} bytes)")
        if section["sh_type"] in ("SHT_RELA", "SHT_REL") and name.endswith(".text") and size:
            raise RuntimeError(f"the code needs a linker: {size} bytes of relocations")
    symbols: dict[str, int] = {}
    table = elf.get_section_by_name(".symtab")
    if isinstance(table, SymbolTableSection):
        for symbol in table.iter_symbols():
            if symbol["st_shndx"] == index and symbol.name:
                symbols[symbol.name] = symbol["st_value"]
    return Code(text.data(), symbols)


def build() -> cache.Entry:
    """The native interpreter for the host we run on."""
    host, layout = Host.ours(), layout_of(rv64)
    code = compile_text(module(rv64, layout, host), host)
    symbols = {name: code.symbols[name] for name in EXPORTS}
    return cache.Entry(code.text, symbols, layout.cells, reset_of(rv64), rv64.isa_string())


def main() -> int:
    """Write the entry to standard output."""
    sys.stdout.buffer.write(cache.pack(build(), cache.key()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
