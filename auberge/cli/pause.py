"""`auberge pause`: stop everything in guests until `auberge resume`."""

import argparse

from auberge.cli.each import each
from auberge.monitor import roster
from auberge.refusal import Refusal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guests."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="by name or beginning of the id")


def run(args: argparse.Namespace) -> int:
    """Pause each; prints the names of those that are paused now."""

    def pause(name: str) -> None:
        seen, record, folder = roster.running(name)
        if seen.status == roster.PAUSED:
            raise Refusal(f"{seen.name}: it is paused; resume it with `auberge resume`")
        roster.guest(record, folder).pause()

    return each(args.names, pause)
