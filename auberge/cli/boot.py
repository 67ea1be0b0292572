"""`auberge boot`: a whole computer, with its console on stdin and stdout."""

import argparse
import os
import sys

from auberge.api.machine import Machine
from auberge.cli.patience import patience
from auberge.cli.terminal import Guest, Terminal
from auberge.engine.choose import NAMES
from auberge.image.store import Boot, Image, boot_options, find, parse_reference
from auberge.machine.outcome import Faulted, Outcome, PoweredOff, TimedOut
from auberge.refusal import Refusal

BOARDS = {"virt": "riscv64"}  # and the architecture of its guests
OUT_OF_TIME = 124  # as timeout(1)
FAILED = 125
FIRST_START = "generating code for this host, which is kept: some seconds"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the computer is made of."""
    add = parser.add_argument
    add("image", metavar="IMAGE", nargs="?", help="what `auberge image build` made")
    add(
        "--kernel", metavar="FILE",
        help="an Image, or an ELF file, instead of IMAGE's kernel and initramfs",
    )  # fmt: skip
    add(
        "--firmware", metavar="FILE",
        help="what begins in machine mode, as OpenSBI, a raw binary or an ELF file; the kernel,"
        " which may then be a raw binary too, as U-Boot, is put behind it",
    )  # fmt: skip
    add("--initrd", metavar="FILE", help="an initramfs, instead of IMAGE's")
    add("--append", metavar="TEXT", default="", help="the kernel's command line")
    add(
        "--disk", metavar="FILE[,rw|,ro][,format=NAME]", action="append", default=[],
        help="a disk, raw or as its name ends (.qcow2 .vmdk .vdi .vhdx); what is written goes to"
        " FILE.overlay, or with `,rw` to FILE itself, which then is raw",
    )  # fmt: skip
    add("--memory", metavar="SIZE", help="as 512M or 2G (512M, or what IMAGE asks for)")
    add("--cpus", metavar="N", type=int, default=1, help="harts (1)")
    add("--engine", choices=NAMES, default="auto", help="what executes instructions (auto)")
    add("--board", choices=sorted(BOARDS), default="virt", help="the parts list (virt)")
    add(
        "--gdb", metavar="[HOST:]PORT",
        help="start stopped, and let GDB connect there (HOST is 127.0.0.1)",
    )  # fmt: skip
    add(
        "--net", metavar="none|user",
        help="a network without root (user; with --icount, none), or no such device at all;"
        " `user,host-loopback` also makes 10.0.2.2 this host's 127.0.0.1; `user,passt` and"
        " `user,builtin` say what carries packets to other hosts (passt where it works)",
    )  # fmt: skip
    add(
        "-p", metavar="[ADDRESS:]HOST:GUEST[/udp]", dest="ports", action="append", default=[],
        help="lead a port of this host, of 127.0.0.1 unless ADDRESS is given, to one of the guest",
    )  # fmt: skip
    add(
        "-v", metavar="HOST:GUEST[:ro]", dest="volumes", action="append", default=[],
        help="share a folder of this host with the guest, whose init mounts it at GUEST",
    )  # fmt: skip
    add("--name", metavar="NAME", help="what `auberge inspect` finds it by")
    add("--timeout", metavar="SECONDS", type=seconds, help="end with status 124 after that long")
    add("--icount", action="store_true", help="instructions are the clock: runs repeat exactly")
    add("--dumpdtb", metavar="FILE", help="write the device tree and do not boot")
    add("--stats", action="store_true", help="afterwards, print what was counted to stderr")


def seconds(text: str) -> float:
    """A time of a command line."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; write 10 or 0.5")
    return value


def run(args: argparse.Namespace) -> int:
    """Boot; the status is the guest's."""
    image = chosen_image(args)
    wish = Boot() if image is None else boot_options(image)
    terminal = Terminal()
    if args.volumes:
        from auberge.machine.share.shares import allow_descriptors

        allow_descriptors()
    with patience(FIRST_START):
        machine = Machine.virt(
            kernel=args.kernel or (image and image.kernel),
            # an image's initramfs has the modules of the image's kernel
            initrd=args.initrd or (image and not args.kernel and image.initrd) or None,
            append=command_line(args.append, wish.append, terminal, image),
            memory=args.memory or wish.memory or "512M",
            cpus=args.cpus,
            engine=args.engine,
            disks=[*wish.disks, *args.disk],
            icount=args.icount,
            console=terminal.write,
            measured=args.stats,
            net=args.net or ("none" if args.icount else "user"),
            ports=args.ports,
            volumes=args.volumes,
            firmware=args.firmware,
            name=args.name,
        )
    with machine:
        if args.dumpdtb is not None:
            with open(args.dumpdtb, "wb") as file:
                file.write(machine.device_tree)
            return 0
        if args.gdb is not None:
            print(
                f"auberge: GDB can connect: target remote {machine.gdb(args.gdb)}", file=sys.stderr
            )
        with terminal.serving(as_guest(machine), args.timeout):
            outcome = machine.run(timeout=args.timeout)
        if args.stats:
            print("\n".join(machine.statistics().lines()), file=sys.stderr)
    if terminal.failure is not None:
        raise terminal.failure
    return status(outcome, terminal.signal)


def as_guest(machine: Machine) -> Guest:
    """The machine as a terminal sees it."""

    def leave() -> None:
        machine.pause()

    console = machine.console
    return Guest(console.feed, lambda: console.untaken, machine.resize, leave)


def chosen_image(args: argparse.Namespace) -> Image | None:
    """The image that IMAGE names, if it names one."""
    if args.image is None:
        if args.kernel is None and args.firmware is None:
            raise Refusal("boot: nothing to boot; name an IMAGE, as tiny, or give --kernel FILE")
        return None
    ours = BOARDS[args.board]
    name, arch = parse_reference(args.image, ours)
    if arch != ours:
        raise Refusal(f"{name}:{arch}: not for the board {args.board}, which runs {ours}")
    image = find(name, arch)
    if image is None:
        what = args.image
        raise Refusal(f"{what}: no such image; make it with `auberge image build {what}`")
    return image


def command_line(append: str, wish: str, terminal: Terminal, image: Image | None) -> str:
    """What an image asks for, `append`, and what the image's init wants to know of the terminal."""
    words = [wish, append]
    size = terminal.size()
    if image is not None and terminal.is_terminal and size is not None:
        kind = os.environ.get("TERM", "")
        words += terminal_words(image, size, kind)
    return " ".join(filter(None, words))


def terminal_words(image: Image, size: tuple[int, int], kind: str) -> list[str]:
    """A terminal's size and kind, for the /init of `tiny`, or as systemd(1) takes them."""
    columns, rows = size
    is_plain = kind.replace("-", "").replace(".", "").isalnum()
    if image.name == "tiny":
        return [f"auberge.size={columns}x{rows}", f"TERM={kind}" if is_plain else ""]
    words = [f"systemd.tty.columns.ttyS0={columns}", f"systemd.tty.rows.ttyS0={rows}"]
    return [*words, f"systemd.tty.term.ttyS0={kind}" if is_plain else ""]


def status(outcome: Outcome, signal: int) -> int:
    """The exit status that says how the run ended."""
    match outcome:
        case PoweredOff(code):
            return code & 0xFF or (1 if code else 0)
        case TimedOut():
            return OUT_OF_TIME
        case Faulted(message):
            print(f"auberge: guest: {message}", file=sys.stderr)
            return FAILED
        case _:  # someone left: by a signal, or by Ctrl-A X
            return 128 + signal if signal else 0
