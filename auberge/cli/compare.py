"""`auberge compare`: two engines in lockstep, and the first instruction on which they differ."""

import argparse

from auberge.api.machine import memory_size, repeatable_entropy
from auberge.cli.boot import chosen_image
from auberge.engine.choose import choose
from auberge.engine.lockstep import Difference, first_difference
from auberge.isa.disassembler import disassemble
from auberge.machine.machine import Configuration, Machine, Outside
from auberge.machine.stepping import Stepped
from auberge.refusal import Refusal

DIFFERENT = 1
MOST_SHOWN = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is run, and on which engines."""
    add = parser.add_argument
    add("image", metavar="IMAGE", nargs="?", help="what `auberge image build` made")
    add("--kernel", metavar="FILE", help="an Image, or an ELF file, instead of IMAGE")
    add("--initrd", metavar="FILE", help="an initramfs, instead of IMAGE's")
    add("--append", metavar="TEXT", default="", help="the kernel's command line")
    add("--memory", metavar="SIZE", default="64M", help="as 64M (64M)")
    add(
        "--engines", metavar="A,B", default="reference,interpreter",
        help="the two (reference,interpreter)",
    )  # fmt: skip
    add("--insns", metavar="N", type=int, default=100_000, help="how many instructions (100000)")
    parser.set_defaults(board="virt", firmware=None)


def run(args: argparse.Namespace) -> int:
    """Run both; 0 if they agree, 1 if not."""
    names = args.engines.split(",")
    if len(names) != 2:
        raise Refusal(
            f"--engines {args.engines}: that is not two names; write reference,interpreter"
        )
    if args.insns < 1:
        raise Refusal(f"--insns {args.insns}: nothing to compare; give at least 1")
    image = chosen_image(args)
    configuration = Configuration(
        kernel=args.kernel if image is None else image.kernel,
        initrd=args.initrd or (image and image.initrd),
        append=args.append,
        memory=memory_size(args.memory),
        icount=True,
    )
    made: list[Machine] = []

    def make(name: str) -> Stepped:
        outside = Outside(lambda printed: None, repeatable_entropy(), lambda: 0)
        made.append(Machine(configuration, choose(name), outside))
        return Stepped(made[-1])

    try:
        found = first_difference(lambda: make(names[0]), lambda: make(names[1]), args.insns, 4096)
        ran = min(machine.vcpus[0].hart["spent"] for machine in made[-2:])
    finally:
        for machine in made:
            machine.close()
    if found is None:
        print(f"{names[0]} and {names[1]} agree on {ran:,} instructions")
        return 0
    print("\n".join(lines(found, names)))
    return DIFFERENT


def lines(found: Difference, names: list[str]) -> list[str]:
    """The difference for a person: where, which instruction, what each engine made of it."""
    from auberge.isa.riscv.rv64 import rv64  # only to disassemble

    what = (
        disassemble(rv64, found.word, found.pc) if found.word else "(not at its physical address)"
    )
    shown = [
        f"{names[0]} and {names[1]} differ after {found.instructions:,} instructions, in",
        f"    {found.pc:#x}: {what}",
    ]
    for name, values in list(found.values.items())[:MOST_SHOWN]:
        one, two = (f"{v:#x}" if isinstance(v, int) else str(v) for v in values)
        shown.append(f"    {name:20} {names[0]} {one:20} {names[1]} {two}")
    return shown
