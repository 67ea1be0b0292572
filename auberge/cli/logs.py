"""`auberge logs`: what a guest has written."""

import argparse
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from auberge.cli.table import moment
from auberge.monitor import roster
from auberge.monitor.log import Entry, follow
from auberge.refusal import Refusal

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_DIGITS = 18  # of a number of lines; int() refuses thousands


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the guest, and which part of it."""
    add = parser.add_argument
    add("name", metavar="NAME", help="a guest, by name or the beginning of its id")
    add("-f", "--follow", action="store_true", help="go on with what it writes, until its end")
    add("-n", "--tail", metavar="N", default="all", help="the last N lines alone")
    add("-t", "--timestamps", action="store_true", help="each line begins with its time")
    add(
        "--since", metavar="TIME",
        help="what was written since: as 2026-11-23T11:20:00Z, or 90s, 10m, 2h, 3d ago",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print it: output to stdout, errors to stderr."""
    _, record, folder = roster.kept(args.name)
    tail = None if args.tail == "all" else number(args.tail)
    since = None if args.since is None else parse_since(args.since)
    beginning: dict[str, bool] = {}

    def show(found: Iterable[Entry | None]) -> None:
        for entry in found:
            if entry is None or not (since is None or _is_since(entry, since)):
                continue
            stamp = f"{entry.time} ".encode() if beginning.get(entry.stream, True) else b""
            beginning[entry.stream] = entry.data.endswith(b"\n")
            write(
                2 if entry.stream == "stderr" else 1,
                (stamp if args.timestamps else b"") + entry.data,
            )

    def goes_on() -> bool:
        try:
            return args.follow and folder.load().lives
        except Refusal:  # removed meanwhile
            return False

    found = follow(folder.path, goes_on)
    if tail is not None:  # what there is now; then what follows
        show(last(list(takewhile(lambda entry: entry is not None, found)), tail))
    show(found)
    return 0


def number(text: str) -> int:
    """How many lines; raises Refusal."""
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise Refusal(f"--tail {text}: not a number of lines; write 10, or all")
    return int(text)


def parse_since(text: str) -> datetime:
    """A time, or how long ago; raises Refusal."""
    try:
        if text[-1:] in UNITS and float(text[:-1]) >= 0:
            return datetime.now(UTC) - timedelta(seconds=float(text[:-1]) * UNITS[text[-1]])
        if text.replace(".", "", 1).isdecimal():
            return datetime.fromtimestamp(float(text), UTC)
        return moment(text)
    except (ValueError, OverflowError, OSError):
        raise Refusal(f"--since {text}: not a time; write 2026-11-23T11:20:00Z, or 10m") from None


def _is_since(entry: Entry, since: datetime) -> bool:
    try:
        return moment(entry.time) >= since
    except ValueError:
        return False


def last(all_of_them: list[Entry | None], count: int) -> list[Entry]:
    """The last lines, of which a line may be several entries."""
    found = [entry for entry in all_of_them if entry is not None]
    ends = [at for at, entry in enumerate(found, 1) if entry.data.endswith(b"\n")]
    if found and (not ends or ends[-1] < len(found)):
        ends.append(len(found))  # a last line without an end is a line, too
    begins = [0, *ends[:-1]]
    return found[begins[-count] :] if 0 < count <= len(ends) else found if count else []


def write(fd: int, data: bytes) -> None:
    """Write all of it, past any buffer: output and errors stay in order."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
