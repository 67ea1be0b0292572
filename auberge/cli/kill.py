"""`auberge kill`: send guests a signal, KILL unless another is named."""

import argparse

from auberge.cli.each import each
from auberge.container.processes import SIGKILL
from auberge.container.signals import signal_number
from auberge.monitor import client, roster

PATIENCE = 10.0
"""Seconds for a killed guest to be gone."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guests and the signal."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="by name or beginning of the id")
    parser.add_argument("-s", "--signal", default="KILL", help="by name or number (KILL)")


def run(args: argparse.Namespace) -> int:
    """Send it to each guest's first process; prints the names of those that got it."""
    number = signal_number(args.signal)

    def kill(name: str) -> None:
        seen, record, folder = roster.running(name)
        guest = roster.guest(record, folder)
        guest.signal(number)
        if number == SIGKILL:
            if seen.status == roster.PAUSED:
                guest.resume()  # in v1, what is frozen hears it when thawed
            client.wait(folder, record, PATIENCE)
            roster.tidy(folder, record)

    return each(args.names, kill)
