"""`auberge stats`: what guests use: processor, memory, network, disks."""

import argparse
import json
import os
import sys
import time

from auberge.cli.table import print_table, size
from auberge.monitor import roster
from auberge.monitor.guest import Guest, Usage
from auberge.refusal import Refusal

TITLES = ("NAME", "CPU", "MEMORY / LIMIT", "MEM", "NETWORK IN / OUT", "DISK READ / WRITE", "PIDS")
INTERVAL = 1.0
"""Seconds between two looks; the processor's use is of the time between."""
CLEAR = "\x1b[H\x1b[J"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guests, and for how long."""
    add = parser.add_argument
    add("names", metavar="NAME", nargs="*", help="guests that run; all of them if none is named")
    add("--no-stream", action="store_true", help="once, instead of every second")
    add("--json", action="store_true", help="a list of objects a line, for programs")


def run(args: argparse.Namespace) -> int:
    """Print a table each second, until the named guests have ended."""
    before = look(args.names)
    while before or not args.names:
        time.sleep(INTERVAL)
        now = look(args.names, quietly=True)
        rows = [
            described(name, guest.usage, since.usage, guest.when - since.when)
            for name, guest in now.items()
            if (since := before.get(name)) is not None
        ]
        if args.json:
            print(json.dumps(rows), flush=True)
        else:
            if not args.no_stream and sys.stdout.isatty():
                print(CLEAR, end="")
            print_table(TITLES, [row(values) for values in rows])
            sys.stdout.flush()
        if args.no_stream:
            break
        before = now
    return 0


class Look:
    """What a guest used until a time."""

    def __init__(self, guest: Guest) -> None:
        self.usage = guest.stats()
        self.when = time.monotonic()


def look(names: list[str], quietly: bool = False) -> dict[str, Look]:
    """What each uses now; of those that were not named, and `quietly`, only what runs. Raises
    Refusal."""
    found: dict[str, Look] = {}
    for name in names or [seen.name for seen in roster.all_guests() if seen.record is not None]:
        try:
            seen, record, folder = roster.running(name)
            found[seen.name] = Look(roster.guest(record, folder))
        except Refusal:
            if names and not quietly:
                raise
    return found


def described(name: str, now: Usage, before: Usage, seconds: float) -> dict[str, object]:
    """A guest's use for programs; null is what nobody counts."""
    share = None
    if now.cpu_seconds is not None and before.cpu_seconds is not None and seconds > 0:
        share = round(100 * max(0.0, now.cpu_seconds - before.cpu_seconds) / seconds, 2)
    return {"name": name, "cpu_percent": share, **now._asdict()}


def row(values: dict[str, object]) -> list[str]:
    """The same for people."""

    def number(key: str) -> int | None:
        value = values[key]
        return value if isinstance(value, int) else None

    share, memory = values["cpu_percent"], number("memory")
    whole = number("memory_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        str(values["name"]),
        "-" if share is None else f"{share:.2f}%",
        f"{size(memory)} / {size(whole)}",
        "-" if memory is None else f"{100 * memory / whole:.2f}%",
        f"{size(number('received'))} / {size(number('sent'))}",
        f"{size(number('read'))} / {size(number('written'))}",
        "-" if number("pids") is None else str(number("pids")),
    ]
