"""`auberge stop`: end guests, politely at first."""

import argparse
import signal

from auberge.cli.each import each
from auberge.container.signals import stop_number
from auberge.monitor import client, roster
from auberge.monitor.guests import EXITED, Folder, Record
from auberge.monitor.roster import Seen
from auberge.refusal import Refusal

PATIENCE = 10.0
"""Seconds for a guest whose processes are all killed."""
LONGEST = 1e6
"""Seconds that poll(2) can wait for; who says more will not see them."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guests, and how long they are asked."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="by name or beginning of the id")
    parser.add_argument(
        "-t", "--time", metavar="SECONDS", type=float, default=10.0,
        help="send the image's stop signal (TERM), and KILL after that long (10)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Stop one after the other; prints the names of those that have stopped."""
    return each(args.names, lambda name: stop(roster.kept(name), args.time))


def stop(found: tuple[Seen, Record, Folder], seconds: float) -> None:
    """End a guest; nothing to do if it has ended. Raises Refusal."""
    seen, record, folder = found
    if seen.status == EXITED:
        return
    guest = roster.guest(record, folder)
    try:
        guest.signal(stop_number(record.stop_signal))
        if seen.status == roster.PAUSED:
            guest.resume()
        if client.wait(folder, record, min(max(0.0, seconds), LONGEST)) is not None:
            roster.tidy(folder, record)
            return
        guest.signal(signal.SIGKILL)
        if guest.paused:
            guest.resume()
    except Refusal:
        if roster.look(folder).status in (roster.RUNNING, roster.PAUSED):
            raise
    if client.wait(folder, record, PATIENCE) is None:
        raise Refusal(f"{record.name}: still runs after KILL; see `auberge top {record.name}`")
    roster.tidy(folder, record)
