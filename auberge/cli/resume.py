"""`auberge resume`: have paused guests go on."""

import argparse

from auberge.cli.each import each
from auberge.monitor import roster
from auberge.refusal import Refusal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guests."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="by name or beginning of the id")


def run(args: argparse.Namespace) -> int:
    """Resume each; prints the names of those that go on."""

    def resume(name: str) -> None:
        seen, record, folder = roster.running(name)
        if seen.status != roster.PAUSED:
            raise Refusal(f"{seen.name}: it is {seen.status}, not paused")
        roster.guest(record, folder).resume()

    return each(args.names, resume)
