"""`auberge trace`: the instructions that a hart executes, or what the translator makes of them."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from auberge.api.disks import Disks
from auberge.api.machine import memory_size, repeatable_entropy
from auberge.cli.blocks import print_json, print_regions
from auberge.cli.boot import OUT_OF_TIME, chosen_image, seconds
from auberge.cli.events import Json, Shown, Text
from auberge.engine.choose import Kind, choose
from auberge.engine.counting import Counting
from auberge.image.store import Boot, boot_options
from auberge.machine.debug.tracing import run_on, trace
from auberge.machine.machine import Configuration, Machine, Outside
from auberge.machine.outcome import Faulted, Outcome, Paused, PoweredOff, TimedOut
from auberge.machine.symbols import Symbols
from auberge.machine.vcpu import Vcpu
from auberge.machine.virt import MOST_HARTS
from auberge.refusal import Refusal

INSTRUCTIONS = 100
RUN = 100_000_000  # instructions, to see what becomes hot
TOP = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is run, and which of its instructions are shown."""
    add = parser.add_argument
    add("image", metavar="IMAGE", nargs="?", help="what `auberge image build` made")
    add("--kernel", metavar="FILE", help="an Image, or an ELF file, instead of IMAGE")
    add("--initrd", metavar="FILE", help="an initramfs, instead of IMAGE's")
    add("--firmware", metavar="FILE", help="what runs in machine mode and starts the kernel")
    add("--append", metavar="TEXT", default="", help="the kernel's command line")
    add("--memory", metavar="SIZE", help="as 512M or 2G (512M, or what IMAGE asks for)")
    add("--cpus", metavar="N", type=int, default=1, help="harts (1)")
    add(
        "--insns", metavar="N", type=int,
        help=f"how many instructions ({INSTRUCTIONS}; with --blocks, {RUN:,})",
    )  # fmt: skip
    add(
        "--blocks", action="store_true",
        help="show regions instead that were translated and entered meanwhile, most often entered"
        " first: guest code, LLVM IR, host code",
    )  # fmt: skip
    add("--top", metavar="K", type=int, help=f"with --blocks, how many regions ({TOP})")
    add(
        "--from", metavar="ADDRESS|SYMBOL", dest="start",
        help="begin where a hart first comes to this virtual address",
    )  # fmt: skip
    add("--skip", metavar="M", type=int, default=0, help="begin M instructions later (0)")
    add("--hart", metavar="H", type=int, help="the hart (0, or the first that comes to --from)")
    add("--registers", action="store_true", help="show all integer registers first and last")
    add("--json", action="store_true", help="print each line as a JSON object")
    add("--timeout", metavar="SECONDS", type=seconds, help="end with status 124 after that long")
    parser.set_defaults(board="virt")


def run(args: argparse.Namespace) -> int:
    """Trace; the status is 0, also if the guest ended before all were shown."""
    if args.blocks and args.registers:
        raise Refusal("--registers: not with --blocks, which shows code; leave out one of them")
    if args.top is not None and not args.blocks:
        raise Refusal("--top: says how many regions; give --blocks too")
    insns = args.insns if args.insns is not None else RUN if args.blocks else INSTRUCTIONS
    top = args.top if args.top is not None else TOP
    for name, value, least in (("insns", insns, 1), ("skip", args.skip, 0), ("top", top, 1)):
        if value < least:
            raise Refusal(f"--{name} {value}: too few; give at least {least}")
    if not 1 <= args.cpus <= MOST_HARTS:
        raise Refusal(f"--cpus {args.cpus}: not possible; choose 1 to {MOST_HARTS}")
    if args.hart is not None and not 0 <= args.hart < args.cpus:
        raise Refusal(f"--hart {args.hart}: there is none; the first is 0 of {args.cpus}")
    image = chosen_image(args)
    wish = Boot() if image is None else boot_options(image)
    kernel = args.kernel or (image and image.kernel)
    symbols = Symbols(kernel or args.firmware)
    start = None if args.start is None else symbols.address(args.start)
    configuration = Configuration(
        kernel=kernel,
        initrd=args.initrd or (image and not args.kernel and image.initrd) or None,
        append=" ".join(filter(None, (wish.append, args.append))),
        memory=memory_size(args.memory or wish.memory or "512M"),
        cpus=args.cpus,
        icount=args.cpus == 1,  # so that the same command shows the same
        firmware=args.firmware,
    )
    if not args.blocks:
        with opened(configuration, choose("auto"), wish.disks) as machine:
            return status(show_instructions(args, machine, insns, start, symbols))
    from tempfile import TemporaryDirectory  # for those who look at regions

    with TemporaryDirectory(prefix="auberge-") as folder, closing(Counting(folder, insns)) as kind:
        with opened(configuration, kind, wish.disks) as machine:
            outcome = run_on(
                machine, lambda vcpu: kind.begin(), insns, args.hart, start, args.skip, args.timeout
            )
            show_regions(args, kind, top, symbols)
    return status(outcome)


@contextmanager
def opened(configuration: Configuration, kind: Kind, wanted: Sequence[str]) -> Iterator[Machine]:
    """The machine with these disks, until both are closed."""
    outside = Outside(lambda printed: None, repeatable_entropy(), lambda: 0)
    disks = Disks(wanted)
    try:
        machine = Machine(configuration, kind, outside, disks.devices)
        try:
            yield machine
        finally:
            machine.close()
    finally:
        disks.close()


def show_regions(args: argparse.Namespace, kind: Counting, top: int, symbols: Symbols) -> None:
    """What the translator made, and how often it was entered."""
    entered = kind.entered(args.hart)
    chosen = entered[:top]
    explained = kind.explain([region.order for region in chosen])
    if not chosen:
        why = "nothing was hot enough to be translated; try more --insns"
        if kind.lost:
            why = "the compiler of regions does not work here; `auberge doctor` may say why"
        print(f"auberge: {why}", file=sys.stderr)
    elif args.json:
        print_json(chosen, explained)
    else:
        print_regions(chosen, explained, len(entered), symbols)


def show_instructions(
    args: argparse.Namespace, machine: Machine, insns: int, start: int | None, symbols: Symbols
) -> Outcome:
    """Each instruction as it is executed."""
    shown: Shown = Json() if args.json else Text(symbols)
    traced: list[Vcpu] = []

    def begin(vcpu: Vcpu) -> None:
        traced.append(vcpu)
        if args.registers:
            shown.registers(vcpu)

    outcome = trace(machine, begin, shown.event, insns, args.hart, start, args.skip, args.timeout)
    if args.registers and traced:
        shown.registers(traced[0])
    return outcome


def status(outcome: Outcome) -> int:
    """Say on stderr how the guest ended, if it did, and the exit status for that."""
    match outcome:
        case Paused():
            return 0
        case TimedOut():
            return OUT_OF_TIME
        case PoweredOff(code):
            why = f"the guest switched off with {code}"
        case Faulted(message):
            why = f"guest: {message}"
        case _:
            why = "the guest was reset"
    print(f"auberge: {why}", file=sys.stderr)
    return 0
