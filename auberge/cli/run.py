"""`auberge run`: one command in a guest made from an image."""

import argparse
import os
import sys

from auberge.cli.following import follow, signals
from auberge.cli.main import one_line
from auberge.cli.variables import files, merged, variables
from auberge.image.oci import mapped
from auberge.monitor.foreground import Foreground
from auberge.monitor.guest import NotStarted, choose
from auberge.monitor.guests import fresh_id
from auberge.monitor.options import CONTAINER, Options, bytes_of, check, millicpus_of
from auberge.refusal import Refusal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guest, as docker's users would write it."""
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="give it our standard input")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("-d", "--detach", action="store_true", help="leave it running, and print its name")
    add("--rm", action="store_true", help="remove it, and all it has changed, when it has ended")
    add("--name", metavar="NAME", default="", help="what other commands find it by")
    add("--label", metavar="NAME=VALUE", action="append", default=[], help="a note, for `ps`")
    add("-e", "--env", metavar="NAME[=VALUE]", action="append", default=[],
        help="a variable; without a value, it has ours")  # fmt: skip
    add("--env-file", metavar="FILE", action="append", default=[],
        help="variables, one a line, as -e has them")  # fmt: skip
    add("--entrypoint", metavar="PROGRAM",
        help="what runs with ARGs, instead of the image's own; '' is the first ARG")  # fmt: skip
    add("-w", "--workdir", metavar="FOLDER", default="", help="where it starts")
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="who it is, by name or number")
    add("-v", "--volume", metavar="HOST:GUEST[:ro]", action="append", default=[],
        help="show it a file or folder of this host")  # fmt: skip
    add("--tmpfs", metavar="PATH[:OPTIONS]", action="append", default=[],
        help="a folder in memory, as /tmp:size=64m,mode=1777")  # fmt: skip
    add("--memory", metavar="SIZE", help="at most so much, as 512M or 2G")
    add("--cpus", metavar="N", help="at most so many processors' time, as 1.5")
    add("--pids", metavar="N", type=int, default=0, help="at most so many processes and threads")
    add("--ulimit", metavar="NAME=SOFT[:HARD]", action="append", default=[],
        help="a limit of each process, as nofile=1024:2048")  # fmt: skip
    add("--net", metavar="none|host|user", default="",
        help="no network, the host's own, or the outside but not the host (user)")  # fmt: skip
    add(
        "-p",
        "--publish",
        metavar="[ADDRESS:]HOST:GUEST[/udp]",
        action="append",
        default=[],
        help="lead a port of this host, of 127.0.0.1 unless ADDRESS is given, to one of it",
    )
    add("--hostname", metavar="NAME", default="", help="what it calls itself")
    add("--add-host", metavar="NAME:ADDRESS", action="append", default=[],
        help="a line more in its /etc/hosts")  # fmt: skip
    add("--dns", metavar="ADDRESS", action="append", default=[],
        help="a server of names, instead of this host's")  # fmt: skip
    add("--stop-signal", metavar="SIGNAL", default="",
        help="what `auberge stop` sends it, instead of what the image says")  # fmt: skip
    add("--read-only", action="store_true", help="let it change nothing in its image's files")
    add("--cap-add", metavar="NAME", action="append", default=[],
        help="a capability more than usual, or ALL")  # fmt: skip
    add("--cap-drop", metavar="NAME", action="append", default=[], help="one less, or ALL")
    add(
        "--isolation",
        metavar="container|machine",
        default="",
        help="its walls: namespaces, or a machine (container; another architecture, machine)",
    )
    add("image", metavar="IMAGE", help="NAME or NAME:ARCH, see `auberge image ls`")
    add("command", metavar="ARG", nargs=argparse.REMAINDER,
        help="the command, instead of the image's own")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run it; the status is the command's."""
    options, why = choose(check(options_of(args)))
    if why:
        print(f"auberge: {one_line(why)}", file=sys.stderr)
    if options.isolation == CONTAINER and (advice := mapped.advice()):
        print(f"auberge: {one_line(advice)}", file=sys.stderr)
    try:
        if args.detach:
            from auberge.monitor.supervisor import start_detached

            print(start_detached(options, _size()))
            return 0
        return _in_front(options)
    except NotStarted as refusal:
        print(f"auberge: {one_line(str(refusal))}", file=sys.stderr)
        return refusal.status


def options_of(args: argparse.Namespace) -> Options:
    """What was asked for; raises Refusal for what is no image's."""
    if "/" in args.image or args.isolation == "process":
        raise Refusal(
            f"{args.image}: a program, and those are not run yet, but images alone; name one, "
            "as debian, and show it the program with -v"
        )
    return Options(
        fresh_id(),
        args.image,
        tuple(args.command),
        args.name,
        args.isolation,
        merged((*files(args.env_file), *variables(args.env))),
        args.workdir,
        args.user,
        tuple(map(_volume, args.volume)),
        bytes_of(args.memory) if args.memory else 0,
        millicpus_of(args.cpus) if args.cpus else 0,
        args.pids,
        args.net,
        tuple(args.publish),
        args.hostname,
        args.read_only,
        tuple(args.cap_add),
        tuple(args.cap_drop),
        dict(map(_label, args.label)),
        args.tty,
        args.interactive,
        args.rm,
        entrypoint=() if args.entrypoint is None else (args.entrypoint,),
        stop_signal=args.stop_signal,
        tmpfs=tuple(args.tmpfs),
        ulimits=tuple(args.ulimit),
        hosts=tuple(args.add_host),
        dns=tuple(args.dns),
    )


def _in_front(options: Options) -> int:
    """Run it as a child of ours, on our own streams."""
    if options.terminal and options.interactive and not os.isatty(0):
        raise Refusal("-t: standard input is no terminal; leave -t out")
    with signals() as heard:
        guest = Foreground(options)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            master = guest.start((0 if options.interactive else null, 1, 2))
        finally:
            os.close(null)
        try:
            follow(guest.guest, heard, master, options.interactive)
        finally:
            status = guest.end()
    return status


def _size() -> tuple[int, int] | None:
    try:
        columns, rows = os.get_terminal_size(0)
    except OSError:
        return None
    return rows, columns


def _volume(text: str) -> str:
    """A path of the host that holds wherever a supervisor is."""
    return text if text.startswith("/") else os.path.join(os.getcwd(), text)


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise Refusal(f"--label: {text!r} is not NAME=VALUE; write it so")
    return name, value
