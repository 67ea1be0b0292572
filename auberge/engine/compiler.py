"""The compiler's own process: the one module that imports LLVM.

`python -m auberge.engine.compiler` builds the native interpreter for this host and writes it to
standard output as an entry of the cache. LLVM's fatal errors end the process they happen in, and
its memory is given back with it.
"""

from __future__ import annotations

import fcntl
import functools
import marshal
import os
import sys
import time
from collections.abc import Collection
from contextlib import suppress

import llvmlite.binding as llvm

from auberge.engine import cache
from auberge.engine.deadline import Deadline
from auberge.engine.describe import layout_of, reset_of, steady
from auberge.engine.explore import LIMIT, Explorer, Shape
from auberge.engine.host import Host
from auberge.engine.llvm_text import METADATA
from auberge.engine.lowering import Context
from auberge.engine.module import INTRINSICS, module
from auberge.engine.object_code import Code, machine_code
from auberge.engine.region import Region
from auberge.engine.region_file import RegionFile
from auberge.engine.region_record import Region as Compiled
from auberge.engine.region_record import digest_of
from auberge.engine.workshop import QUICK, SIZE, WELL
from auberge.isa.riscv.rv64 import rv64

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
NICE, NICEST = 5, 19  # guests go first
LONGEST = 20  # seconds for what a guest has left to be compiled
TOO_LONG = 60  # seconds for one region; whoever asked has given it up, or ended
EXPORTS = ("run", "prepare", "publish", "take_trap", "undecoded")


def compile_text(text: str, host: Host, level: int = 2) -> Code:
    """Machine code for `host` of LLVM text whose every reference is to itself.

    Raises RuntimeError if LLVM refuses the text, or the code would need a linker or data.
    """
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()  # the containers' stub makes system calls
    machine = llvm.Target.from_triple(TRIPLES[host.machine]).create_target_machine(
        cpu=host.cpu, features=",".join("+" + f for f in host.features), opt=level, reloc="pic",
        codemodel="small")  # fmt: skip
    parsed = llvm.parse_assembly(text)
    parsed.triple = TRIPLES[host.machine]
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    builder = llvm.create_pass_builder(machine, options)
    # Of LLVM's own list, what does something for handlers: a fifth of its time, for the same code.
    passes = llvm.create_new_module_pass_manager()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(parsed, builder)
    return machine_code(machine.emit_object(parsed))


class Regions:
    """Compiles regions, one after another: a fixed list of passes, and quick code generation.

    The quickest that is worth it: what LLVM does without optimising, but with the allocator of
    registers that it has when it does. That takes half the time of its level 1, whose code is
    better by a sixth where programs only compute; what stays hot is compiled so.
    """

    takes_in_calls = True  # those of good code

    def __init__(self, host: Host) -> None:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        _set_options()
        self.triple = TRIPLES[host.machine]
        target = llvm.Target.from_triple(self.triple)
        self.quick, self.machine = (
            target.create_target_machine(
                cpu=host.cpu, features=",".join("+" + f for f in host.features), opt=level,
                reloc="pic", codemodel="small")
            for level in (0, 1)
        )  # fmt: skip
        options = llvm.create_pipeline_tuning_options(speed_level=1)
        self.builder = llvm.create_pass_builder(self.machine, options)
        self.context = Context.of(rv64, layout_of(rv64), host.fuses)
        self.explorer = Explorer(rv64, self.context.watched, steady())

    def compile(
        self, page: bytes, entry: int, others: Collection[int] = (), level: int = WELL,
        limit: int = LIMIT,
    ) -> tuple[bytes, int, list[int]] | None:  # fmt: skip
        """The code of the region that begins there; of how many instructions; its neighbours.

        None if there is none.
        """
        shape = self.explorer.shape(
            page, entry, others, limit, calls=self.takes_in_calls and level == WELL
        )
        if not shape.steps:
            return None
        text = Region(self.context, self.explorer, shape, entry, "region", level == WELL).text
        code = self.code_of(page, entry, shape, text, level)
        return code, len(shape.steps), shape.neighbours()

    def code_of(self, page: bytes, entry: int, shape: Shape, text: str, level: int) -> bytes:
        """Machine code of this region's LLVM text; what else is said is for who shows it."""
        return self.compile_text(text, level)

    def compile_text(self, text: str, level: int = WELL) -> bytes:
        """Machine code of a region's LLVM text."""
        return self.emit(self.optimized(text), level)

    def optimized(self, text: str, name: str = "region") -> llvm.ModuleRef:
        """A module of its own, of LLVM text whose function `name` went through the passes."""
        parsed = llvm.parse_assembly(text + INTRINSICS + METADATA)
        parsed.triple = self.triple
        passes = llvm.create_new_function_pass_manager()
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
        passes.run(parsed.get_function(name), self.builder)
        return parsed

    def generator(self, level: int) -> llvm.TargetMachine:
        """What makes machine code of this level."""
        return self.quick if level == QUICK else self.machine

    def emit(self, module: llvm.ModuleRef, level: int = WELL) -> bytes:
        """Machine code of a region's module."""
        code = machine_code(self.generator(level).emit_object(module))
        if code.symbols["region"] != 0:
            raise RuntimeError("the code of a region does not begin with it")
        return code.text


@functools.cache
def _set_options() -> None:
    """Have LLVM allocate registers as when it optimises; it takes an option but once.

    Loop strength reduction trades what x86-64 adds up in an address for registers that it lacks.
    """
    for option in ("-optimize-regalloc", "-regalloc=greedy", "-disable-lsr"):
        llvm.set_option("regions", option)


def build() -> cache.Entry:
    """The native interpreter for the host we run on."""
    host, layout = Host.ours(), layout_of(rv64)
    code = compile_text(module(rv64, layout, host), host)
    symbols = {name: code.symbols[name] for name in EXPORTS}
    return cache.Entry(code.text, symbols, layout.cells, reset_of(rv64), rv64.isa_string())


def be_nice(more: int) -> None:
    """Let others go first: also those of other sessions, where the host groups by them (sched(7)).

    We are in a session of our own, so that signals for the guest's terminal are none for us.
    """
    nice = os.nice(more)
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(nice))


def serve(regions: Regions, deadline: Deadline) -> None:
    """Compile the regions that are asked for on standard input, one after another.

    An answer begins with what it is the answer to.
    """
    be_nice(NICE)
    read, write = sys.stdin.buffer, os.fdopen(sys.stdout.fileno(), "wb", 0, closefd=False)
    while len(size := read.read(SIZE)) == SIZE:
        deadline.set(TOO_LONG)
        entry, others, page, level = marshal.loads(read.read(int.from_bytes(size, "little")))
        made = regions.compile(page, entry, others, level) or (b"", 0, [])
        body = marshal.dumps((digest_of(page), entry, level, *made))
        try:
            write.write(len(body).to_bytes(SIZE, "little") + body)
        except BrokenPipeError:  # our customer has ended
            break
        deadline.set(0)


def finish(regions: Regions, fd: int, deadline: Deadline) -> None:
    """Compile what a guest has left when it ended, for its next start; one process at a time.

    It is given LONGEST seconds of what the host has to spare.
    """
    with open(fd, "rb") as file:
        file.seek(0)
        data = file.read()
    if not data:
        return
    path, pages, orders = marshal.loads(data)
    be_nice(NICEST - NICE)
    deadline.set(2 * LONGEST)
    until = time.monotonic() + LONGEST
    try:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # another finishes, or the cache is gone
    kept = RegionFile(path, create=False)
    for digest, entry, others in orders:
        if time.monotonic() > until or not kept.keeps:
            break
        if not kept.level(digest, entry):
            made = regions.compile(pages[digest], entry, others, QUICK)
            if made is not None:
                code, count, neighbours = made
                kept.keep(digest, Compiled(entry, count, code, QUICK, tuple(neighbours)))
    kept.note()


def main() -> int:
    """Write the entry to standard output; or, called with `regions` and a file, compile those."""
    if sys.argv[1:2] == ["regions"]:
        regions, deadline = Regions(Host.ours()), Deadline()
        serve(regions, deadline)
        finish(regions, int(sys.argv[2]), deadline)
        return 0
    sys.stdout.buffer.write(cache.pack(build(), cache.key()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
