"""`auberge rm`: remove guests that have ended, and all that they have changed."""

import argparse

from auberge.cli.each import each
from auberge.monitor import roster
from auberge.refusal import Refusal

ENDED = ("exited",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guests."""
    add = parser.add_argument
    add("names", metavar="NAME", nargs="+", help="by name or beginning of the id")
    add("-f", "--force", action="store_true", help="also those that run, or are damaged")


def run(args: argparse.Namespace) -> int:
    """Remove each; prints the names of those that are gone."""

    def remove(name: str) -> None:
        seen = roster.find(name)
        if seen.folder is None:
            roster.kept(name)  # which refuses
            return
        if seen.status not in ENDED and not args.force:
            raise Refusal(f"{seen.name}: it is {seen.status}; stop it first, or use --force")
        roster.remove(seen.folder)
        if seen.record is not None and not roster.gone(seen.record):
            pid = seen.record.supervisor.pid
            raise Refusal(f"{seen.name}: removed, but its supervisor, process {pid}, still runs")

    return each(args.names, remove)
