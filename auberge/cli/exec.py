"""`auberge exec`: run one more command in a guest that runs."""

import argparse
import os
import sys

from auberge.cli.following import follow, signals
from auberge.cli.main import one_line
from auberge.cli.variables import variables
from auberge.monitor import roster
from auberge.monitor.guest import Guest, NotStarted
from auberge.refusal import Refusal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guest and the command."""
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="give it our standard input")
    add("-d", "--detach", action="store_true", help="leave it running, and wait for nothing")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("-e", "--env", metavar="NAME[=VALUE]", action="append", default=[],
        help="a variable; without a value, it has ours")  # fmt: skip
    add("-w", "--workdir", metavar="FOLDER", default="", help="where it starts")
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="who it is, by name or number")
    add("name", metavar="NAME", help="a guest, by name or the beginning of its id")
    add("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="and its arguments")


def run(args: argparse.Namespace) -> int:
    """Run it; the status is the command's: 126 if it cannot be executed, 127 if there is none."""
    if not args.command:
        raise Refusal(f"exec: no command; write `auberge exec {args.name} COMMAND`")
    if args.tty and args.interactive and not os.isatty(0):
        raise Refusal("-t: standard input is no terminal; leave -t out")
    if args.detach and (args.tty or args.interactive):
        raise Refusal("-d: what is left alone has neither input nor terminal; leave -i, -t out")
    seen, record, folder = roster.running(args.name)
    if seen.status == roster.PAUSED:
        raise Refusal(f"{seen.name}: it is paused; `auberge resume {seen.name}` first")
    guest = roster.guest(record, folder)
    if args.detach and guest.isolation == "machine":
        raise Refusal(
            f"-d: {seen.name}: what runs in a machine ends with who waits for it; leave -d out"
        )
    try:
        if args.detach:
            return leave(guest, args)
        with signals() as heard:
            return execute(guest, args, heard)
    except NotStarted as refusal:
        print(f"auberge: {one_line(str(refusal))}", file=sys.stderr)
        return refusal.status


def execute(guest: Guest, args: argparse.Namespace, heard: int) -> int:
    """Run the command, and pass on to it what `heard` gives of signals; its status."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        command = guest.execute(
            args.command,
            (0 if args.interactive else null, 1, 2),
            variables(args.env),
            args.workdir,
            args.user,
            args.tty,
        )
    finally:
        os.close(null)
    follow(command, heard, command.terminal, args.interactive)
    status = command.wait()
    assert status is not None
    return status


def leave(guest: Guest, args: argparse.Namespace) -> int:
    """Start the command without streams, and leave it: it is the container's from now on."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        guest.execute(
            args.command, (null, null, null), variables(args.env), args.workdir, args.user
        )
    finally:
        os.close(null)
    return 0
