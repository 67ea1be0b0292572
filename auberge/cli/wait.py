"""`auberge wait`: wait for the end of guests, and print their exit statuses."""

import argparse
import sys

from auberge.cli.main import FAILED
from auberge.monitor import client, roster


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guests."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="by name or beginning of the id")


def run(args: argparse.Namespace) -> int:
    """Wait for one after the other; a line each."""
    status = 0
    for seen, record, folder in [roster.kept(name) for name in args.names]:
        end = client.wait(folder, record)
        if end is None or end.status is None:
            print(f"auberge: {seen.name}: has ended, and nobody has seen how", file=sys.stderr)
            status = FAILED
        else:
            print(end.status, flush=True)
    return status
